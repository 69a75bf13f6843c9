"""Draws mesh_points.jpg: the 308 points on the synthetic body. Needs the extra "synthetic".

$ python docs/pictures/mesh_points.py
"""

from pathlib import Path

import cv2
import numpy as np

from opensapiens.drawing.sheet import sheet
from opensapiens.synthetic.anatomy import VERTEX_COUNT, Anatomy, load_anatomy
from opensapiens.synthetic.body import BodyModel
from opensapiens.synthetic.materials import Material
from opensapiens.synthetic.rasterizer import Camera, Light, Materials, Mesh, render, vertex_normals
from opensapiens.synthetic.rotations import UP, rotation_about

LEFT, RIGHT, MIDDLE = (255, 140, 0), (60, 130, 255), (255, 255, 255)
"""Colors of points of the person's left, right and middle."""
VIEWS = {
    "front": ("", 0.0, 1.95),
    "back": ("", 180.0, 1.95),
    "face": ("nose", 0.0, 0.27),
    "left side of the head": ("left_ear", 90.0, 0.3),
    "left hand": ("left_middle_finger_third_joint", 100.0, 0.25),
    "feet": ("", 0.0, 0.75),
}
"""Title: the point in the center ("" for the body's center), yaw of the camera in degrees, width of the view in
meters."""


def mesh_points_picture(vertices: np.ndarray, size: int = 560) -> np.ndarray:
    """The points on a body (VERTEX_COUNT, 3) at rest, from six sides (H, W, 3) uint8; hidden points are left out."""
    anatomy = load_anatomy()
    points = dict(zip(anatomy.keypoint_names, anatomy.keypoints(vertices), strict=True))
    pictures = []
    for title, (middle, turn, across) in VIEWS.items():
        target = points[middle] if middle else (vertices.min(0) + vertices.max(0)) / 2
        if title == "feet":
            target = np.mean([points[f"{side}_{toe}"] for side in ("left", "right") for toe in ("ankle", "big_toe")], 0)
        pictures.append(_view(anatomy, vertices, target, turn, across, size))
    return sheet(pictures, list(VIEWS), height=size, columns=3)


def _view(
    anatomy: Anatomy, vertices: np.ndarray, target: np.ndarray, turn: float, across: float, size: int
) -> np.ndarray:
    flat = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    rotation = flat @ rotation_about(UP, -turn)
    distance, middle = 6.0, (size - 1) / 2
    camera = Camera(rotation, target + rotation[2] * distance, size * distance / across, (middle, middle), (size, size))
    faces, count = anatomy.faces, len(anatomy.faces)
    mesh = Mesh(
        vertices,
        vertex_normals(vertices, faces),
        vertices,
        np.zeros((len(vertices), 4), np.float32),
        np.ones(len(vertices), np.float32),
        faces,
        np.zeros(count, int),
        anatomy.face_parts,
        np.ones(count, int),
    )
    skin = Material(np.full(3, 0.35), np.full(3, 0.35), frequency=1.0, gloss=0.0)
    light = Light(rotation[2] + [0, 0, 0.5], np.full(3, 0.5), np.full(3, 0.25), np.full(3, 0.2), 1.0)
    rendering = render(mesh, Materials([skin]), camera, light, None)
    picture = np.full((size, size, 3), 24, np.uint8)
    seen = rendering.triangle >= 0
    picture[seen] = np.rint(255 * np.clip(rendering.color[seen], 0, 1) ** (1 / 2.2))
    for i, (x, y, depth) in enumerate(camera.project(anatomy.keypoints(vertices).astype(np.float32))):
        column, row = round(float(x)), round(float(y))
        inside = 0 <= column < size and 0 <= row < size and seen[row, column]
        margin = 0.004 if anatomy.keypoint_is_surface[i] else 0.08  # joints are shown through the body
        if inside and depth - rendering.depth[row, column] < anatomy.keypoint_radius[i] + margin:
            dot = 5 if not anatomy.keypoint_is_surface[i] else 3
            cv2.circle(picture, (column, row), dot, _side_color(anatomy.keypoint_names[i]), -1, cv2.LINE_AA)
    return picture


def _side_color(name: str) -> tuple[int, int, int]:
    words = set(name.split("_"))
    return LEFT if words & {"l", "left"} else RIGHT if words & {"r", "right"} else MIDDLE


if __name__ == "__main__":
    vertices = BodyModel().rest[:VERTEX_COUNT].astype(np.float32)
    cv2.imwrite(str(Path(__file__).parent / "mesh_points.jpg"), mesh_points_picture(vertices)[..., ::-1])
