"""One place that moves a sample into a person crop: image and every label by the same matrix."""

import cv2
import numpy as np

from opensapiens.data.sample import Sample
from opensapiens.geometry.person_crop import transform_points, udp_warp_matrix, warp
from opensapiens.labels.keypoints import KEYPOINT_SETS
from opensapiens.labels.parts import PART_SETS

IGNORED_PART = 255


def crop_sample(
    sample: Sample,
    size_hw: tuple[int, int],
    center: np.ndarray,
    scale: np.ndarray,
    rotation_degrees: float = 0.0,
    flip: bool = False,
) -> Sample:
    """The sample in the coordinates of a crop of `size_hw` pixels.

    `center` (2,) and `scale` (2,) (w, h) are in pixels of the sample's image, as `geometry.boxes.center_and_scale`
    gives them. The image is resampled linearly (border black, as published); labels take their nearest pixel, since a
    mixture of two classes, depths or normals is none. Rotation turns the normals too. `flip` mirrors the finished
    crop: left and right labels change places and the x of normals its sign. Outside the picture parts are 0, depth
    and normals NaN. Visibility is left as it is for points that fall outside the crop.
    """
    matrix = udp_warp_matrix(center, scale, size_hw, rotation_degrees)
    if flip:
        mirror = np.array([[-1, 0, size_hw[1] - 1], [0, 1, 0], [0, 0, 1]], np.float64)
        matrix = (mirror[:2] @ np.vstack([matrix.astype(np.float64), [0, 0, 1]])).astype(np.float32)

    def nearest(array: np.ndarray, border: float) -> np.ndarray:
        return warp(array, matrix, size_hw, interpolation="nearest", border=border)

    return Sample(
        image=warp(sample.image, matrix, size_hw, interpolation="linear"),
        key=sample.key,
        box=None if sample.box is None else _move_box(sample.box, matrix),
        keypoints=None if sample.keypoints is None else _move_keypoints(sample, matrix, flip),
        parts=None if sample.parts is None else _swap_parts(nearest(sample.parts, 0), sample.part_set, flip),
        depth=None if sample.depth is None else nearest(sample.depth, np.nan),
        normals=None
        if sample.normals is None
        else _turn_normals(nearest(sample.normals, np.nan), rotation_degrees, flip),
        mask=None if sample.mask is None else nearest(sample.mask.astype(np.uint8), 0).astype(bool),
        keypoint_set=sample.keypoint_set,
        part_set=sample.part_set,
    )


def _move_box(box: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The upright box around the moved corners."""
    corners = transform_points(box[[[0, 1], [2, 1], [2, 3], [0, 3]]], matrix)
    return np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)


def _move_keypoints(sample: Sample, matrix: np.ndarray, flip: bool) -> np.ndarray:
    assert sample.keypoints is not None
    keypoints = sample.keypoints.astype(np.float32, copy=True)
    keypoints[:, :2] = transform_points(keypoints[:, :2], matrix)
    return keypoints[KEYPOINT_SETS[sample.keypoint_set].flip_indices] if flip else keypoints


def _swap_parts(parts: np.ndarray, part_set: str, flip: bool) -> np.ndarray:
    if not flip:
        return parts
    table = np.arange(256, dtype=np.uint8)
    swapped = PART_SETS[part_set].flip_indices
    table[: len(swapped)] = swapped
    return table[parts]


def _turn_normals(normals: np.ndarray, rotation_degrees: float, flip: bool) -> np.ndarray:
    """Turns normals with the picture. Their y points up and the picture's down, so the picture's clockwise turn
    (x, y) -> (x cos - y sin, x sin + y cos) is (x cos + y sin, y cos - x sin) for them."""
    if not (rotation_degrees or flip):
        return normals
    cos, sin = np.cos(np.deg2rad(rotation_degrees)), np.sin(np.deg2rad(rotation_degrees))
    side = -1 if flip else 1
    return cv2.transform(normals, np.array([[side * cos, side * sin, 0], [-sin, cos, 0], [0, 0, 1]]))
