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
