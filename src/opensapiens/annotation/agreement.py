"""What calibrated views of the same people agree on: points in space, which views are wrong, and what needs a look.

Axes: I instances (a person in a frame), V views, K keypoints. Points are pixels, NaN where a view has none.

Errors are judged in spreads: a spread is how far apart human annotators place a point (the set's sigmas times the
person's size, Ronchi and Perona, ICCV 2017). How many spreads a network is off is measured on the data itself, per
point (for points seen only a few times, per group: body, hands, face, …), so there is no tolerance to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opensapiens.geometry.boxes import person_area
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.geometry.triangulation import ABSENT, ray_errors, refine, robust_triangulation
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.storage.progress import progress

SURE = 0.3  # a point of a lower score counts as missed, as in drawings
WIDE, NARROW = 2.0, 3.5  # the first threshold, in spreads, and the second, in measured errors
LEAST_FACTOR, LARGEST_FACTOR = 0.05, 1.5  # bounds of a measured error in spreads
PRIOR = 8  # the weight of a group's error in the error of each point, in measurements
RAYLEIGH_MEDIAN = 1.1774  # of the length of a 2D error of unit deviation
BAD_CAMERA = 2.5  # times the median error of the cameras
LEAST_INSTANCES = 3  # to judge a camera: in a single one the network may have mistaken somebody's back for the front
QUARTER = 25  # percentile: all errors of a bad camera are large, of a view from behind only those of hidden points
LEAST_VIEWS = 3  # two views can agree by chance: an outlier along the epipolar line is not seen
LEAST_SHARE = 0.5  # of the confidence in a point that must come from views that agree
REASONS = ("", "unseen", "few views", "views disagree", "uncertain")


@dataclass(frozen=True, eq=False)
class Measured:
    """points (I, V, K, 2), scores (I, V, K), boxes (I, V, 4) xyxy, all NaN (scores 0) where a view has no such person;
    person (I,): whose instance it is."""

    points: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    person: np.ndarray


@dataclass(frozen=True, eq=False)
class Agreement:
    """points (I, K, 3) in the world's unit, NaN where there are none; deviation (I, K): of their worst direction;
    scores (I, K): mean confidence of the agreeing views times their share; projected (I, V, K, 2): back in each view;
    errors (I, V, K): pixels between the two, NaN where nothing was measured; relative (I, V, K): the same over the
    person's size in the view; agreeing, swapped (I, V, K) bool: measurements that agree, and those that do so as
    their mirrored point; reason (I, K): index into REASONS, 0 where nobody needs to look; camera_error (V,): lower
    quartile of each in expected errors; left_out (V,) bool: cameras whose calibration does not fit the others."""

    points: np.ndarray
    deviation: np.ndarray
    scores: np.ndarray
    projected: np.ndarray
    errors: np.ndarray
    relative: np.ndarray
    agreeing: np.ndarray
    swapped: np.ndarray
    reason: np.ndarray
    camera_error: np.ndarray
    left_out: np.ndarray


def agree(
    cameras: Sequence[CalibratedCamera], measured: Measured, keypoint_set: KeypointSet, seed: int = 0
) -> Agreement:
    """Triangulate every point robustly and judge which measurements agree.

    The first pass takes the spread of human annotators as the expected error and measures the size of each person, the
    error of each point, and which cameras do not fit. The second uses these, without the cameras that do not fit, and
    swaps left and right back where a view has exchanged them.
    """
    instances, _, count = measured.scores.shape
    rays = np.stack([camera.rays(measured.points[:, v]) for v, camera in enumerate(cameras)], 1)
    confidence = np.where(measured.scores >= SURE, measured.scores, 0.0)
    extrinsics = np.stack([camera.extrinsics for camera in cameras])
    focal = np.array([camera.focal for camera in cameras])
    side = np.sqrt(person_area(measured.boxes))  # (I, V) pixels
    spread = np.einsum("iv,k->ivk", side / focal, keypoint_set.sigmas)
    points = np.empty((instances, count, 3))
    covariance = np.empty((instances, count, 3, 3))
    agreeing = np.empty(confidence.shape, bool)
    for i in progress(range(instances), "first triangulation"):
        first = robust_triangulation(rays[i], extrinsics, spread[i], confidence[i], WIDE, seed)
        points[i], agreeing[i] = first.points, first.agreeing
    size, depth = _sizes(points, side / focal, extrinsics, measured.person)
    spread = np.einsum("iv,k->ivk", size[:, None] / depth, keypoint_set.sigmas)
    supported = agreeing.sum(1) >= LEAST_VIEWS
    factors, left_out = _factors(points, supported, rays, extrinsics, spread, confidence, keypoint_set)
    expected = spread * factors
    confidence = np.where(left_out[:, None], 0.0, confidence)
    swapped = np.zeros(confidence.shape, bool)
    mirror = keypoint_set.flip_indices
    for i in progress(range(instances), "second triangulation"):
        second = robust_triangulation(rays[i], extrinsics, expected[i], confidence[i], NARROW, seed)
        swapped[i] = _swapped(second.points, rays[i], extrinsics, expected[i], confidence[i], mirror)
        if swapped[i].any():
            rays[i] = np.where(swapped[i, ..., None], rays[i][:, mirror], rays[i])
            confidence[i] = np.where(swapped[i], confidence[i][:, mirror], confidence[i])
            second = refine(second.points, rays[i], extrinsics, expected[i], confidence[i], NARROW)
        points[i], agreeing[i], covariance[i] = second.points, second.agreeing, second.covariance

    known = np.asarray(np.isfinite(covariance).all((-1, -2)))
    largest = np.linalg.eigvalsh(np.where(known[..., None, None], covariance, 0))[..., 2]
    deviation = np.where(known, np.sqrt(largest.clip(0)), np.nan)
    projected = np.stack([camera.project(points) for camera in cameras], 1)
    unswapped = np.where(swapped[..., None], measured.points[:, :, mirror], measured.points)
    errors = np.where(measured.scores >= SURE, np.linalg.norm(projected - unswapped, axis=-1), np.nan)
    pixels = focal[:, None] / depth[..., None] * size[:, None, None]  # of the person in each view
    views_seen, views_agreeing = (confidence > 0).sum(1), agreeing.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        agreeing_confidence = (confidence * agreeing).sum(1)
        share = np.where(views_seen > 0, agreeing_confidence / confidence.sum(1), 0)
        mean = np.where(views_agreeing > 0, agreeing_confidence / views_agreeing, 0)
        in_expected = errors / (expected * focal[:, None])
        camera_error = np.array([_median(in_expected[:, v], QUARTER) for v in range(len(cameras))])
        uncertain = ~(deviation <= keypoint_set.sigmas * size[:, None])
    conditions = [views_seen == 0, views_agreeing < LEAST_VIEWS, share < LEAST_SHARE, uncertain]
    reason = np.select(conditions, [1, 2, 3, 4], default=0).astype(np.uint8)
    return Agreement(
        points, deviation, mean * share, projected, errors, errors / pixels, agreeing, swapped, reason, camera_error,
        left_out,
    )  # fmt: skip


def _sizes(
    points: np.ndarray, side: np.ndarray, extrinsics: np.ndarray, person: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The size of each instance's person in the world (I,), the median over all its boxes, and depths (I, V).

    side: the size of the boxes in rays. Boxes of people whom the frame cuts are too small, hence the median.
    """
    center = np.array([[_median(axis) for axis in instance.T] for instance in points]).reshape(-1, 3)
    depth = np.einsum("vj,ij->iv", extrinsics[:, 2, :3], center) + extrinsics[:, 2, 3]
    depth = np.where(depth > 0, depth, np.nan)
    size = np.full(len(points), np.nan)
    for number in np.unique(person):
        size[person == number] = _median((side * depth)[person == number])
    return size, depth


def _factors(
    points: np.ndarray,
    supported: np.ndarray,
    rays: np.ndarray,
    extrinsics: np.ndarray,
    spread: np.ndarray,
    confidence: np.ndarray,
    keypoint_set: KeypointSet,
) -> tuple[np.ndarray, np.ndarray]:
    """How many spreads measurements are off, per point (K,), and which cameras (V,) are off by far more than the rest.

    Only `supported` points (I, K), on which three views or more agree, tell; a camera is bad if it is so in nearly all
    instances."""
    errors = np.empty(spread.shape)
    for i in range(len(points)):
        errors[i] = ray_errors(points[i], rays[i], extrinsics, spread[i])
    errors = np.where((confidence > 0) & supported[:, None] & (errors < ABSENT), errors, np.nan)
    within = np.where(errors <= WIDE, errors, np.nan)
    groups = np.array(keypoint_set.groups)
    factors = np.ones(len(groups))
    for group in dict.fromkeys(keypoint_set.groups):
        usual = _median(within[..., groups == group])
        for k in np.flatnonzero(groups == group) if np.isfinite(usual) else ():
            count = int(np.isfinite(within[..., k]).sum())
            point = _median(within[..., k]) if count else usual
            factors[k] = np.exp((count * np.log(point) + PRIOR * np.log(usual)) / (count + PRIOR)) / RAYLEIGH_MEDIAN
    factors = factors.clip(LEAST_FACTOR, LARGEST_FACTOR)
    per_view = np.array([[_median(view / factors, QUARTER) for view in instance] for instance in errors])
    per_view = per_view.reshape(-1, rays.shape[1])
    per_camera = np.array([_median(values, QUARTER) for values in per_view.T])
    bad = (per_camera > BAD_CAMERA * _median(per_camera)) & (np.isfinite(per_view).sum(0) >= LEAST_INSTANCES)
    if (~bad).sum() < LEAST_VIEWS:
        bad[:] = False
    return factors, bad


def _swapped(
    points: np.ndarray,
    rays: np.ndarray,
    extrinsics: np.ndarray,
    expected: np.ndarray,
    confidence: np.ndarray,
    mirror: np.ndarray,
) -> np.ndarray:
    """Which measurements (V, K) of one instance are their mirrored points: exchanged both agree, as they are not."""
    seen = np.where((confidence > 0)[..., None], rays, np.nan)
    as_is, exchanged = (
        np.nan_to_num(ray_errors(points, order, extrinsics, expected), nan=ABSENT) for order in (seen, seen[:, mirror])
    )
    better = np.maximum(exchanged, exchanged[:, mirror]) <= NARROW
    worse = np.maximum(as_is, as_is[:, mirror]) > NARROW
    return better & worse & (mirror != np.arange(len(mirror)))


def _median(values: np.ndarray, percent: int = 50) -> np.float64:
    """The median (or another percentile) of what is finite, NaN of nothing."""
    values = values[np.isfinite(values)]
    return np.percentile(values, percent) if len(values) else np.float64(np.nan)
