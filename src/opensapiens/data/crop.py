"""Crops, flips, resizes, rotates and cuts a sample with all its labels.

Images are resampled linearly (borders black, as published), labels by their nearest pixel, unless their kind blends.
Each `LabelKind` says how mirroring and rotation change its values, and its value outside the picture.
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from opensapiens.data.label_kinds import PARTS, Move
from opensapiens.data.sample import Sample
from opensapiens.geometry.location import moved_picture
from opensapiens.geometry.person_crop import transform_points, udp_warp_matrix, warp
from opensapiens.geometry.view import View, resized_labels
from opensapiens.labels.parts import IGNORED

LabelMove = Callable[[np.ndarray, float, bool], np.ndarray]
"""A label map, its value outside the picture, whether it blends -> the moved map."""


def crop_sample(
    sample: Sample,
    size_hw: tuple[int, int],
    center: np.ndarray,
    scale: np.ndarray,
    rotation_degrees: float = 0.0,
    flip: bool = False,
) -> Sample:
    """The sample in a crop of `size_hw` pixels.

    center (2,), scale (2,) (w, h): in pixels of the sample's image, from `geometry.boxes.center_and_scale`.
    rotation_degrees: of the content, clockwise. flip: mirrors the result. Points outside the crop keep their
    visibility.
    """
    matrix = udp_warp_matrix(center, scale, size_hw, rotation_degrees)
    if flip:
        mirror = np.array([[-1, 0, size_hw[1] - 1], [0, 1, 0], [0, 0, 1]], np.float64)
        matrix = (mirror[:2] @ np.vstack([matrix.astype(np.float64), [0, 0, 1]])).astype(np.float32)
    return _warped(sample, matrix, size_hw, rotation_degrees, flip)


def view_sample(sample: Sample, view: View) -> Sample:
    """The sample as seen by a network, for validation and evaluation."""
    matrix = view.matrix.astype(np.float32)
    return _moved(sample, view.pixels(sample.image), view.labels, matrix)


def flip_sample(sample: Sample) -> Sample:
    """The mirrored picture: column x becomes column width - 1 - x."""
    matrix = np.array([[-1, 0, sample.image.shape[1] - 1], [0, 1, 0]], np.float32)

    def mirrored(array: np.ndarray, _border: float = 0, _blended: bool = False) -> np.ndarray:
        return np.ascontiguousarray(array[:, ::-1])

    return _moved(sample, mirrored(sample.image), mirrored, matrix, flip=True)


def resize_sample(sample: Sample, size_hw: tuple[int, int], interpolation: int = cv2.INTER_LINEAR) -> Sample:
    """The picture at another size, aspect not kept, with coinciding corners, as OpenCV resizes; interpolation: of the
    picture."""
    height, width = size_hw
    step_x, step_y = width / sample.image.shape[1], height / sample.image.shape[0]
    matrix = np.array([[step_x, 0, (step_x - 1) / 2], [0, step_y, (step_y - 1) / 2]], np.float32)

    def resized(array: np.ndarray, _border: float, blended: bool) -> np.ndarray:
        return resized_labels(array, size_hw, blended)

    image = cv2.resize(sample.image, (width, height), interpolation=interpolation)
    return _moved(sample, image, resized, matrix)


def rotate_sample(sample: Sample, degrees: float, border: int = 0) -> Sample:
    """The picture turned clockwise about its center, in a frame of its own size; border: of 255, the gray around it."""
    height, width = sample.image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) * 0.5, (height - 1) * 0.5), -degrees, 1.0)
    return _warped(sample, matrix, (height, width), degrees, border=border)


def cut_sample(sample: Sample, window: tuple[int, int, int, int]) -> Sample:
    """The pixels x1 <= x < x2, y1 <= y < y2 of a window (x1, y1, x2, y2) inside the picture."""
    left, top, right, bottom = window

    def cut(array: np.ndarray, _border: float = 0, _blended: bool = False) -> np.ndarray:
        return array[top:bottom, left:right]

    matrix = np.array([[1, 0, -left], [0, 1, -top]], np.float32)
    return _moved(sample, cut(sample.image), cut, matrix)


def pad_sample(sample: Sample, size_hw: tuple[int, int], left: int = 0, top: int = 0) -> Sample:
    """The picture at a place in a larger black one of `size_hw`. Labels are unknown around it, parts 255."""
    height, width = sample.image.shape[:2]
    around = (top, size_hw[0] - height - top, left, size_hw[1] - width - left)

    def padded(array: np.ndarray, border: float = 0, _blended: bool = False) -> np.ndarray:
        return cv2.copyMakeBorder(array, *around, cv2.BORDER_CONSTANT, value=(border,) * 4)

    matrix = np.array([[1, 0, left], [0, 1, top]], np.float32)
    moved = _moved(sample, padded(sample.image), padded, matrix)
    if sample.parts is not None:
        moved.labels[PARTS] = padded(sample.parts, IGNORED)
    return moved


def _warped(
    sample: Sample, matrix: np.ndarray, size_hw: tuple[int, int], degrees: float, flip: bool = False, border: float = 0
) -> Sample:
    def warped(array: np.ndarray, border: float, blended: bool) -> np.ndarray:
        return warp(array, matrix, size_hw, interpolation="linear" if blended else "nearest", border=border)

    image = warp(sample.image, matrix, size_hw, border=border)
    return _moved(sample, image, warped, matrix.astype(np.float32), degrees, flip)


def _moved(
    sample: Sample, image: np.ndarray, move: LabelMove, matrix: np.ndarray, degrees: float = 0.0, flip: bool = False
) -> Sample:
    """The sample with the moved image and its labels moved likewise; `matrix` (2, 3) moves pixels like `move`."""
    labels = {}
    for kind, values in sample.labels.items():
        pixels = values.view(np.uint8) if values.dtype == bool else values  # OpenCV has no booleans
        moved = move(pixels, kind.outside, kind.blends).view(values.dtype)
        labels[kind] = kind.move(moved, Move(degrees, flip), sample.part_set)
    return replace(
        sample,
        image=image,
        box=None if sample.box is None else _move_box(sample.box, matrix),
        people=None if sample.people is None else _move_people(sample.people, matrix),
        keypoints=None if sample.keypoints is None else _move_keypoints(sample, matrix, flip),
        labels=labels,
        picture=moved_picture(sample.surroundings, matrix),
    )


def _move_box(box: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The upright box around the moved corners."""
    corners = transform_points(box[[[0, 1], [2, 1], [2, 3], [0, 3]]], matrix)
    return np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)


def _move_people(people: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    moved = [[*_move_box(row[:4], matrix), row[4]] for row in people]
    return np.array(moved, np.float32).reshape(-1, 5)


def _move_keypoints(sample: Sample, matrix: np.ndarray, flip: bool) -> np.ndarray:
    assert sample.keypoints is not None
    keypoints = sample.keypoints.astype(np.float32, copy=True)
    keypoints[:, :2] = transform_points(keypoints[:, :2], matrix)
    return keypoints[sample.keypoint_set.flip_indices] if flip else keypoints
