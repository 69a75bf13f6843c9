"""Overlays, legends and sheets of pictures. Images are H×W×3 uint8 RGB arrays."""

from opensapiens.drawing.dense import depth_colors, draw_depth, draw_normals, draw_parts, normal_colors
from opensapiens.drawing.sheet import legend, sheet
from opensapiens.drawing.skeleton import draw_box, draw_keypoints
from opensapiens.drawing.tags import draw_tags, person_color, side_by_side

__all__ = [
    "depth_colors",
    "draw_box",
    "draw_depth",
    "draw_keypoints",
    "draw_normals",
    "draw_parts",
    "draw_tags",
    "legend",
    "normal_colors",
    "person_color",
    "sheet",
    "side_by_side",
]
