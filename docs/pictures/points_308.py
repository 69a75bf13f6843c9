"""Draws points_308_body.webp and points_308_face.webp: where the 308 points lie, with their numbers and names.

$ python docs/pictures/points_308.py

The points are those of the project's synthetic body (a neutral adult at rest), as every label of synthetic data is;
needs the extra "synthetic". "Left" and "right" are the person's own.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.synthetic.anatomy import load_anatomy
from opensapiens.synthetic.body import TIGHTS, BodyModel

PANEL = 480
LINE = 15
LIST_WIDTH = 290
SKIN = np.array([226, 214, 204])
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Panel:
    """Some points seen from one side: title, numbers, the directions towards the viewer and up, columns of names."""

    title: str
    points: tuple[int, ...]
    towards: tuple[float, float, float]
    up: tuple[float, float, float] = (0, 0, 1)
    columns: int = 1
    margin: float = 0.15


def numbers(*spans: tuple[int, int]) -> tuple[int, ...]:
    """All numbers of spans, both ends included."""
    return tuple(number for first, last in spans for number in range(first, last + 1))


FRONT = (0.0, -1.0, 0.0)
HAND = (0.0, 0.0, 0.0)
"""Not a direction: a hand is looked at flat, see axes_of."""
BODY = [
    Panel("Body", (*numbers((0, 14)), 41, 62, *numbers((63, 69))), FRONT, margin=0.06),
    Panel("Feet", numbers((15, 20)), (0, -1, 0.8)),
    Panel("Right hand", numbers((21, 41)), HAND),
    Panel("Left hand", numbers((42, 62)), HAND),
]
FACE = [
    Panel("Middle of the face", numbers((70, 77)), FRONT, margin=0.3),
    Panel("Nose", numbers((178, 187)), FRONT),
    Panel("Lips", numbers((188, 219)), FRONT, columns=2),
    Panel("Right eyebrow", numbers((78, 86)), FRONT),
    Panel("Right upper lid", numbers((120, 143)), FRONT),
    Panel("Right lower lid", numbers((161, 177)), FRONT),
    Panel("Right iris and pupil", numbers((281, 289), (299, 307)), FRONT),
    Panel("Left eyebrow", numbers((87, 95)), FRONT),
    Panel("Left upper lid", numbers((96, 119)), FRONT),
    Panel("Left lower lid", numbers((144, 160)), FRONT),
    Panel("Left iris and pupil", numbers((272, 280), (290, 298)), FRONT),
    Panel("Right ear", numbers((246, 271)), (-1, -0.25, 0)),
    Panel("Left ear", numbers((220, 245)), (1, -0.25, 0)),
]


def axes_of(panel: Panel, points: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Rows: right in the picture, up, towards the viewer. A hand is seen flat, from the side away from the body."""
    if panel.towards != HAND:
        towards = np.array(panel.towards, float)
        up = np.array(panel.up, float)
    else:
        _, _, directions = np.linalg.svd(points - points.mean(0))
        towards = directions[2] * np.sign(directions[2] @ (points.mean(0) - center) or 1)
        up = points[:-1].mean(0) - points[-1]  # the last is the wrist
    towards = towards / np.linalg.norm(towards)
    right = np.cross(up, towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards])


def draw_panel(panel: Panel, vertices: np.ndarray, faces: np.ndarray, keypoints: np.ndarray) -> Image.Image:
    """The body in gray with the panel's points and numbers on it, and the names beside."""
    chosen = keypoints[list(panel.points)]
    axes = axes_of(panel, chosen, vertices.mean(0))
    flat = chosen @ axes.T
    low, high = flat[:, :2].min(0), flat[:, :2].max(0)
    scale = PANEL / ((high - low).max() * (1 + 2 * panel.margin))
    middle = (low + high) / 2

    def place(points: np.ndarray) -> np.ndarray:
        seen = points @ axes.T
        return np.stack([seen[..., 0] - middle[0], middle[1] - seen[..., 1]], -1) * scale + PANEL / 2

    canvas = np.full((PANEL, PANEL, 3), 255, np.uint8)
    corners = vertices[faces]
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = facing @ axes[2] / (np.linalg.norm(facing, axis=1) + 1e-12)
    pixels, depth = place(corners), (corners @ axes[2]).mean(1)
    near = (pixels.max(1) > 0).all(1) & (pixels.min(1) < PANEL).all(1) & (facing > 0)
    for index in np.flatnonzero(near)[np.argsort(depth[near])]:
        color = SKIN * (0.75 + 0.25 * facing[index])
        cv2.fillConvexPoly(canvas, (pixels[index] * 16).astype(np.int32), color.tolist(), cv2.LINE_AA, 4)

    lines = -(-len(panel.points) // panel.columns)
    height = max(PANEL + 30, 30 + lines * LINE + 10)
    sheet = Image.new("RGB", (PANEL + panel.columns * LIST_WIDTH, height), "white")
    sheet.paste(Image.fromarray(canvas), (0, 30))
    draw = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(12), ImageFont.load_default(18)
    draw.text((8, 4), panel.title, "black", large)
    spots = place(chosen) + (0, 30)
    for x, y in spots:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(200, 30, 30))
    for number, corner in zip(panel.points, label_corners(spots), strict=True):
        draw.text(tuple(corner), str(number), (0, 40, 140), small, stroke_width=2, stroke_fill="white")
    for place_in_list, number in enumerate(panel.points):
        column, line = divmod(place_in_list, lines)
        left, top = PANEL + 12 + column * LIST_WIDTH, 30 + line * LINE
        draw.text((left, top), f"{number}", (0, 40, 140), small)
        draw.text((left + 30, top), SAPIENS_308.names[number], "black", small)
    return sheet


def label_corners(spots: np.ndarray) -> list[np.ndarray]:
    """Where each number's upper left corner goes: beside its point, where it covers least of the others."""
    size = np.array([22, 13])
    around = [np.array(offset) for offset in ((5, -14), (5, 2), (-25, -14), (-25, 2), (-10, -20), (-10, 6), (7, -6))]
    taken: list[np.ndarray] = []

    def covered(corner: np.ndarray) -> float:
        dots = ((spots > corner - 3) & (spots < corner + size + 3)).all(1).sum()
        labels = sum(np.prod(np.clip(size - abs(corner - other), 0, None)) for other in taken)
        return 100 * dots + float(labels)

    for spot in spots:
        taken.append(min((spot + offset for offset in around), key=covered))
    return taken


def stacked(sheets: list[Image.Image], columns: int) -> Image.Image:
    """Sheets in rows of some columns."""
    rows = [sheets[i : i + columns] for i in range(0, len(sheets), columns)]
    widths = [sum(sheet.width for sheet in row) for row in rows]
    heights = [max(sheet.height for sheet in row) for row in rows]
    whole = Image.new("RGB", (max(widths), sum(heights)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for sheet in row:
            whole.paste(sheet, (left, top))
            left += sheet.width
        top += height
    return whole


def main() -> None:
    """Draw both pictures."""
    anatomy = load_anatomy()
    vertices = BodyModel().rest
    keypoints = anatomy.keypoints(vertices)
    faces = anatomy.faces[(anatomy.faces < TIGHTS[0]).all(1)]
    for name, panels, columns in (("body", BODY, 2), ("face", FACE, 3)):
        sheets = [draw_panel(panel, vertices, faces, keypoints) for panel in panels]
        stacked(sheets, columns).save(HERE / f"points_308_{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
