"""A pinhole camera. Camera coordinates are x right, y down, z forward; depth is z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PinholeCamera:
    """Focal lengths and principal point in pixels; integer pixel coordinates are pixel centres."""

    fx: float
    fy: float
    cx: float
    cy: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Camera coordinates (..., 3) -> pixels (..., 2); NaN for points that are not in front of the camera."""
        depth = points[..., 2:]
        in_front = np.where(depth > 0, depth, np.nan)
        return points[..., :2] / in_front * np.array([self.fx, self.fy]) + np.array([self.cx, self.cy])

    def unproject(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) at `depth` (...) -> camera coordinates (..., 3)."""
        rays = (pixels - np.array([self.cx, self.cy])) / np.array([self.fx, self.fy])
        return np.concatenate([rays * depth[..., None], depth[..., None]], axis=-1)
