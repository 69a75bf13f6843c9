"""The picture that a crop is from: (3,) float32, x, y of its center and its diagonal, in pixels of the crop."""

import numpy as np

from opensapiens.geometry.person_crop import transform_points


def whole_picture(size_hw: tuple[int, int]) -> np.ndarray:
    """A picture of (height, width) in its own pixels."""
    height, width = size_hw
    return np.array([(width - 1) / 2, (height - 1) / 2, np.hypot(height, width)], np.float32)


def moved_picture(picture_3: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The picture under an affine map (2, 3) of pixels; the diagonal is scaled by the geometric mean of both axes."""
    center = transform_points(picture_3[None, :2], matrix)[0]
    return np.array([*center, picture_3[2] * np.sqrt(abs(np.linalg.det(matrix[:, :2])))], np.float32)
