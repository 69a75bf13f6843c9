"""Surface normals: +x right, +y up, +z towards the camera."""

from __future__ import annotations

import numpy as np

EPSILON = 1e-5


def normalize(normals: np.ndarray, axis: int = -1) -> np.ndarray:
    """Vectors along `axis` divided by their length + 1e-5; zero stays zero. Source: the published normal demo."""
    parts = np.moveaxis(normals, axis, 0)
    length = np.sqrt(sum(part * part for part in parts)) + EPSILON
    unit = np.empty_like(normals)
    # Component by component: numpy is slow along an axis of three.
    for part, target in zip(parts, np.moveaxis(unit, axis, 0), strict=True):
        np.divide(part, length, out=target)
    return unit


def angular_error_degrees(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    """The angle between vectors of any length along `axis`, in degrees; NaN where one of them is zero."""
    # Twice the angle between difference and sum of the unit vectors: exact for small angles too, where arccos is not.
    with np.errstate(invalid="ignore"):
        a = a / np.linalg.norm(a, axis=axis, keepdims=True)
        b = b / np.linalg.norm(b, axis=axis, keepdims=True)
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=axis), np.linalg.norm(a + b, axis=axis)))


def flip_normals(normals_HW3: np.ndarray) -> np.ndarray:
    """The normal map of the mirrored image: columns reversed, x negated."""
    return np.ascontiguousarray(normals_HW3[:, ::-1] * np.array([-1, 1, 1], dtype=normals_HW3.dtype))
