"""Skeletons drawn over a photo."""

import cv2
import numpy as np

from opensapiens.labels.keypoints import KeypointSet

_SHIFT = 4  # cv2 draws at 1/16 pixel: dots of a small face do not snap to a grid
_FINE_GROUPS = ("face", "hand")  # hundreds of points close together: dots, not joints
_OUTLINE = (20, 20, 20)


def draw_keypoints(
    image: np.ndarray,
    points: np.ndarray,
    scores: np.ndarray,
    keypoint_set: KeypointSet,
    threshold: float = 0.3,
    person_size: float | None = None,
) -> np.ndarray:
    """One person's limbs and joints over a copy of the image.

    points: K×2 pixels; scores: K. A point scoring below the threshold is not drawn, nor is any limb that ends in it.
    person_size: the person's height in pixels, which sets the line width; by default the extent of the drawn points.
    Body joints are dots on the limbs; points of faces and hands are small dots. Raises ValueError on a wrong number of
    points.
    """
    if len(points) != len(keypoint_set) or len(scores) != len(keypoint_set):
        raise ValueError(
            f"{keypoint_set.name} has {len(keypoint_set)} points, got {len(points)} with {len(scores)} scores"
        )
    drawn = (np.asarray(scores) >= threshold) & np.isfinite(points).all(axis=-1)
    canvas = np.ascontiguousarray(image).copy()
    if not drawn.any():
        return canvas
    if person_size is None:
        person_size = float(np.ptp(points[drawn], axis=0).max())
    # An outlier must not make the lines wider than the picture: no person is taller than its diagonal.
    width = max(1.0, min(person_size, float(np.hypot(*image.shape[:2]))) / 110)
    fine = np.array([any(word in group for word in _FINE_GROUPS) for group in keypoint_set.groups])
    head = np.array([name == "nose" or name.endswith(("_eye", "_ear")) for name in keypoint_set.names])

    for (start, end), color in zip(keypoint_set.limbs, keypoint_set.limb_colors, strict=True):
        if drawn[start] and drawn[end]:
            limb_width = width * (0.5 if (head[start] and head[end]) or fine[start] or fine[end] else 1.0)
            _limb(canvas, points[start], points[end], color, limb_width)
    for index in np.flatnonzero(drawn):
        if fine[index]:
            # Dots of hands and faces are small, but at least a pixel wide.
            _dot(canvas, points[index], keypoint_set.colors[index], max(0.6, width * 0.22))
        else:
            _dot(canvas, points[index], _OUTLINE, width * 0.95 + 0.8)
            _dot(canvas, points[index], keypoint_set.colors[index], width * 0.95)
    return canvas


def draw_box(image: np.ndarray, box: np.ndarray, color: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """An xyxy box in pixels, as a thin outlined frame over a copy of the image."""
    canvas = np.ascontiguousarray(image).copy()
    width = max(1, round(max(image.shape[:2]) / 600))
    corners = [(round(float(x)), round(float(y))) for x, y in np.asarray(box, dtype=float).reshape(2, 2)]
    cv2.rectangle(canvas, corners[0], corners[1], _OUTLINE, width + 2, cv2.LINE_AA)
    cv2.rectangle(canvas, corners[0], corners[1], color, width, cv2.LINE_AA)
    return canvas


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(np.asarray(point, dtype=float), -1e5, 1e5) * (1 << _SHIFT)
    return round(x), round(y)


def _limb(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: np.ndarray, width: float) -> None:
    lines = [(tuple(map(int, color)), width)]
    if width >= 1.5:  # on a small person the outline would hide the color
        lines.insert(0, (_OUTLINE, width + 1.5))
    for line_color, line_width in lines:
        cv2.line(canvas, _fixed(start), _fixed(end), line_color, max(1, round(line_width)), cv2.LINE_AA, _SHIFT)


def _dot(canvas: np.ndarray, point: np.ndarray, color: tuple[int, int, int] | np.ndarray, radius: float) -> None:
    cv2.circle(
        canvas, _fixed(point), round(radius * (1 << _SHIFT)), tuple(map(int, color)), cv2.FILLED, cv2.LINE_AA, _SHIFT
    )
