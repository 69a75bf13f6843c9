"""A ring of cameras, and points of an invented person in the middle of it."""

from collections.abc import Callable

import numpy as np
import pytest

from opensapiens.geometry.cameras import CalibratedCamera, look_at


def make_ring(count: int, lens: bool = True, size: tuple[int, int] = (720, 1280)) -> list[CalibratedCamera]:
    """Cameras 4 m from the origin that look at a point 0.9 m above it."""
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * i / count
        position = np.array([4 * np.cos(angle), 4 * np.sin(angle), 0.6 + 0.7 * (i % 3)])
        rotation = look_at(position, np.array([0, 0, 0.9]))
        matrix = np.array([[1000.0, 0, 640], [0, 1005, 350], [0, 0, 1]])
        distortion = np.array([-0.2, 0.05, 0.001, -0.002, 0.01]) if lens else np.zeros(0)
        cameras.append(CalibratedCamera(f"cam_{i:02d}", matrix, rotation, -rotation @ position, distortion, size))
    return cameras


@pytest.fixture
def ring() -> Callable[..., list[CalibratedCamera]]:
    return make_ring


# COCO's 17 points of somebody who stands and looks along -y: x to the person's left, z up, meters.
STANDING = np.array([
    [0, -0.12, 1.60], [0.03, -0.1, 1.63], [-0.03, -0.1, 1.63], [0.08, 0, 1.60], [-0.08, 0, 1.60],
    [0.19, 0, 1.40], [-0.19, 0, 1.40], [0.28, 0.02, 1.12], [-0.28, 0.02, 1.12], [0.30, -0.1, 0.88], [-0.30, -0.1, 0.88],
    [0.13, 0, 0.92], [-0.13, 0, 0.92], [0.14, -0.02, 0.50], [-0.14, -0.02, 0.50],
    [0.14, 0.03, 0.08], [-0.14, 0.03, 0.08],
])  # fmt: skip


@pytest.fixture
def standing() -> np.ndarray:
    return STANDING.copy()
