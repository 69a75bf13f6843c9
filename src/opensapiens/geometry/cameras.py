"""Cameras. Camera coordinates are x right, y down, z forward, as in OpenCV; depth is z."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

DISTORTION_COUNTS = (0, 4, 5, 8, 12, 14)  # of OpenCV's coefficients: k1, k2, p1, p2, k3, …
UNDISTORTION = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)


@dataclass(frozen=True)
class PinholeCamera:
    """Focal lengths and principal point in pixels; integer pixel coordinates are pixel centers."""

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


def fitted_camera(points_HW3: np.ndarray) -> PinholeCamera | None:
    """The camera that sees the points of a map at their pixels, by least squares; None where they do not tell.

    points_HW3: camera coordinates, NaN where nothing is known. Without turned axes or lens distortion, of which a map
    of a whole picture has none.
    """
    rows, columns = np.nonzero(np.isfinite(points_HW3).all(axis=-1) & (points_HW3[..., 2] > 0))
    if len(rows) < 3:
        return None
    x, y, z = points_HW3[rows, columns].astype(np.float64).T
    focal = []
    for rays, pixels in ((x / z, columns), (y / z, rows)):
        spread = rays - rays.mean()
        if not (spread**2).sum() > np.finfo(np.float64).eps * len(rays):
            return None
        focal.append(float((spread * pixels).sum() / (spread**2).sum()))
    if min(focal) <= 0:
        return None
    centers = (columns.mean() - focal[0] * (x / z).mean(), rows.mean() - focal[1] * (y / z).mean())
    return PinholeCamera(focal[0], focal[1], float(centers[0]), float(centers[1]))


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation (3, 3), world to camera, of a level camera at `position` (3,) that looks at `target` (3,).

    The world's z points up; the camera must not look straight up or down.
    """
    ahead = (target - position) / np.linalg.norm(target - position)
    right = np.cross(ahead, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(ahead, right), ahead])


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """One camera of a calibrated rig, in OpenCV's conventions.

    matrix (3, 3): focal lengths and principal point in pixels; integer coordinates are pixel centers. rotation (3, 3)
    and translation (3,), in the world's unit: camera coordinates are `rotation @ point + translation`. distortion: 0,
    4, 5, 8, 12 or 14 coefficients (k1, k2, p1, p2, k3, …). size: (height, width) of its images in pixels, or None.
    """

    name: str
    matrix: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    distortion: np.ndarray
    size: tuple[int, int] | None = None

    @property
    def extrinsics(self) -> np.ndarray:
        """[rotation | translation] (3, 4)."""
        return np.concatenate([self.rotation, self.translation[:, None]], axis=1)

    @property
    def position(self) -> np.ndarray:
        """The camera's position in the world (3,)."""
        return -self.rotation.T @ self.translation

    @property
    def focal(self) -> float:
        """The geometric mean of both focal lengths, pixels."""
        return float(np.sqrt(self.matrix[0, 0] * self.matrix[1, 1]))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World (..., 3) -> camera coordinates (..., 3)."""
        return points @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """World (..., 3) -> distorted pixels (..., 2).

        NaN for points behind the camera, or so far outside its view that the distortion polynomial folds them back into
        the image.
        """
        local = self.to_camera(np.asarray(points, np.float64))
        flat = local.reshape(-1, 3)
        pixels = np.full((len(flat), 2), np.nan)
        in_front = np.flatnonzero(flat[:, 2] > 0)
        if len(in_front):
            rays = flat[in_front] / flat[in_front, 2:]
            projected = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), self.matrix, self._coefficients())[0][:, 0]
            if self.distortion.any():
                error = np.abs(self.rays(projected) - rays[:, :2]).max(-1)
                projected[~(error < 1e-3 * (1 + np.abs(rays[:, :2]).max(-1)))] = np.nan
            pixels[in_front] = projected
        return pixels.reshape(*local.shape[:-1], 2)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Distorted pixels (..., 2) -> x / z and y / z in camera coordinates (..., 2); NaN stays NaN."""
        flat = np.asarray(pixels, np.float64).reshape(-1, 2)
        rays = np.full_like(flat, np.nan)
        known = np.flatnonzero(np.isfinite(flat).all(-1))
        if len(known):
            rays[known] = cv2.undistortPointsIter(
                flat[known, None], self.matrix, self._coefficients(), np.eye(3), np.eye(3), UNDISTORTION
            )[:, 0]
        return rays.reshape(np.shape(pixels))

    def in_picture(self, pixels: np.ndarray) -> np.ndarray:
        """Which pixels (..., 2) are inside the image (...); if its size is unknown, all finite ones."""
        finite = np.isfinite(pixels).all(-1)
        if self.size is None:
            return finite
        height, width = self.size
        with np.errstate(invalid="ignore"):
            return finite & (pixels >= -0.5).all(-1) & (pixels < np.array([width, height]) - 0.5).all(-1)

    def _coefficients(self) -> np.ndarray:
        return np.zeros(5) if len(self.distortion) == 0 else self.distortion.astype(np.float64)
