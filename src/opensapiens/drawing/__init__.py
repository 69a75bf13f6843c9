"""Overlays, legends and sheets of pictures. Images are H×W×3 uint8 RGB arrays."""

from opensapiens.drawing.dense import depth_colors, draw_depth, draw_normals, draw_parts, normal_colors
from opensapiens.drawing.sheet import legend, sheet
from opensapiens.drawing.skeleton import draw_box, draw_keypoints

__all__ = [
    "depth_colors",
    "draw_box",
    "draw_depth",
    "draw_keypoints",
    "draw_normals",
    "draw_parts",
    "legend",
    "normal_colors",
    "sheet",
]
