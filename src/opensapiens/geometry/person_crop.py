"""The crop of one person that a network sees, and the way back to the image.

It follows UDP ("unbiased data processing", Huang et al., CVPR 2020): a crop of W pixels spans W - 1 units, from the
center of the first pixel to that of the last. `center` and `scale` are those of boxes.center_and_scale.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

Interpolation = Literal["linear", "cubic", "nearest"]
# No "area": cv2.warpAffine silently takes INTER_AREA for INTER_LINEAR.
CV2_FLAGS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "nearest": cv2.INTER_NEAREST}
CV2_CHANNELS = 4  # the most that cv2.warpAffine takes
CV2_SIDE = 32766  # the longest side of an image that cv2.warpAffine takes


def udp_warp_matrix(
    center: np.ndarray, scale: np.ndarray, size_hw: tuple[int, int], rotation_degrees: float = 0.0
) -> np.ndarray:
    """The affine map (2, 3) float32 from image pixels to the pixels of a crop of `size_hw`.

    center (2,) and scale (2,) (width, height): the region in image pixels. `rotation_degrees` turns its content
    clockwise about the center. Source: the published pose code's UDP warp.
    """
    height, width = size_hw
    center, scale = np.asarray(center, dtype=np.float64), np.asarray(scale, dtype=np.float64)
    angle = np.deg2rad(rotation_degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    zoom = (np.array([width, height]) - 1) / scale
    offset = scale / 2 - rotation @ center
    return (zoom[:, None] * np.column_stack([rotation, offset])).astype(np.float32)


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse (2, 3), same dtype, of an affine map (2, 3). Raises numpy.linalg.LinAlgError if there is none."""
    linear = np.linalg.inv(matrix[:, :2].astype(np.float64))
    return np.column_stack([linear, -linear @ matrix[:, 2]]).astype(matrix.dtype)


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) under the affine map `matrix` (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(
    image: np.ndarray,
    matrix: np.ndarray,
    size_hw: tuple[int, int],
    interpolation: Interpolation = "linear",
    border: float = 0,
) -> np.ndarray:
    """The crop (h, w[, C]) of `image` (H, W[, C]) under `matrix` (2, 3) image -> crop, filled with `border`.

    uint8, int16, uint16, float32, float64 or bool, any number of channels; the dtype is kept. ValueError for an unknown
    interpolation.
    """
    if interpolation not in CV2_FLAGS:
        raise ValueError(f"interpolation {interpolation!r}: expected one of {', '.join(CV2_FLAGS)}")
    if image.dtype == bool:
        return warp(image.astype(np.uint8), matrix, size_hw, interpolation, border).astype(bool)
    if image.ndim == 3 and image.shape[2] == 1:  # cv2 drops a single channel's axis
        return warp(image[:, :, 0], matrix, size_hw, interpolation, border)[:, :, None]
    if image.ndim == 3 and image.shape[2] > CV2_CHANNELS:
        groups = [image[:, :, i : i + CV2_CHANNELS] for i in range(0, image.shape[2], CV2_CHANNELS)]
        return np.concatenate([warp(group, matrix, size_hw, interpolation, border) for group in groups], axis=2)
    if max(image.shape[:2]) > CV2_SIDE:
        image, matrix = _within_cv2(image, matrix, size_hw)
    return cv2.warpAffine(
        np.ascontiguousarray(image),
        matrix,
        (size_hw[1], size_hw[0]),
        flags=CV2_FLAGS[interpolation],
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(border,) * CV2_CHANNELS,
    )


def _within_cv2(image: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image that a crop shows, subsampled if it is still too large for cv2, and the map from there."""
    x1, y1, x2, y2 = _footprint(matrix, size_hw, image.shape[:2])
    corner = np.array([max(x1 - 1, 0), max(y1 - 1, 0)])
    part = image[corner[1] : y2 + 1, corner[0] : x2 + 1]
    if part.size == 0:  # the crop is beside the image
        return image[:1, :1], np.array([[1, 0, -9], [0, 1, -9]], matrix.dtype)
    steps = np.array([-(-side // CV2_SIDE) for side in part.shape[1::-1]])
    linear = matrix[:, :2].astype(np.float64)
    offset = linear @ corner + matrix[:, 2]
    return part[:: steps[1], :: steps[0]], np.column_stack([linear * steps, offset])


def crop_points_to_image(
    points: np.ndarray, center: np.ndarray, scale: np.ndarray, size_hw: tuple[int, int]
) -> np.ndarray:
    """Keypoints (..., 2) of heatmaps.decode_heatmaps in a crop of `size_hw` -> image pixels (..., 2).

    Divides by the crop's width and height, by which decode_heatmaps multiplies, and not by those minus one, as the
    inverse of the warp would. For other points use transform_points with invert. Source: the published pose estimator.
    """
    size = np.array([size_hw[1], size_hw[0]], dtype=np.float32)
    return points / size * scale + center - 0.5 * scale


def _footprint(
    matrix: np.ndarray, crop_size_hw: tuple[int, int], image_size_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The bounds x1 <= x < x2, y1 <= y < y2 of the image pixels that fall on the crop."""
    height, width = crop_size_hw
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    in_image = transform_points(corners, invert(matrix.astype(np.float64)))
    limits = np.array([image_size_hw[1], image_size_hw[0]])
    x1, y1 = np.clip(np.floor(in_image.min(axis=0)), 0, limits).astype(int)
    x2, y2 = np.clip(np.ceil(in_image.max(axis=0)) + 1, 0, limits).astype(int)
    return int(x1), int(y1), int(x2), int(y2)
