from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from opensapiens.annotation.agreement import REASONS, Agreement, Measured, agree
from opensapiens.annotation.association import Detection, Following, associate
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.labels.keypoints import COCO_17

Ring = Callable[..., list[CalibratedCamera]]


def measure(
    cameras: list[CalibratedCamera], bodies: np.ndarray, noise: float = 1.0, seed: int = 0
) -> tuple[Measured, np.ndarray]:
    """What the cameras see of bodies (I, 17, 3), all of one person, with noise in pixels; and the true pixels."""
    truth = np.stack([camera.project(bodies) for camera in cameras], 1)
    points = truth + np.random.default_rng(seed).normal(0, noise, truth.shape)
    boxes = np.concatenate([truth.min(2) - 15, truth.max(2) + 15], -1)
    return Measured(points, np.full(points.shape[:3], 0.9), boxes, np.ones(len(bodies), int)), truth


@pytest.fixture
def bodies(standing: np.ndarray) -> np.ndarray:
    """Four frames of somebody who walks about."""
    steps = np.array([[0, 0, 0], [0.2, 0.1, 0], [0.1, 0.4, 0], [-0.3, 0.2, 0]])
    return standing + steps[:, None]


def test_noise_is_averaged_and_nobody_is_asked(ring: Ring, bodies: np.ndarray) -> None:
    measured, truth = measure(ring(8), bodies, noise=3)
    found = agree(ring(8), measured, COCO_17)
    before = np.linalg.norm(measured.points - truth, axis=-1)
    after = np.linalg.norm(found.projected - truth, axis=-1)
    assert np.median(after) < 0.6 * np.median(before)
    assert np.median(np.linalg.norm(found.points - bodies, axis=-1)) < 0.012
    assert (found.reason == 0).mean() > 0.97 and not found.left_out.any()
    assert found.agreeing.mean() > 0.9
    np.testing.assert_allclose(found.errors, np.linalg.norm(found.projected - measured.points, axis=-1))


def test_wrong_points_are_put_right_by_the_other_views(ring: Ring, bodies: np.ndarray) -> None:
    measured, truth = measure(ring(8), bodies)
    rng = np.random.default_rng(1)
    wrong = rng.random(measured.scores.shape) < 0.15
    measured.points[wrong] += rng.choice([-1, 1], (wrong.sum(), 2)) * rng.uniform(80, 160, (wrong.sum(), 2))
    found = agree(ring(8), measured, COCO_17)
    kept = np.broadcast_to((found.reason == 0)[:, None], wrong.shape)
    assert kept.mean() > 0.95
    assert np.linalg.norm(found.projected - truth, axis=-1)[wrong & kept].max() < 10
    assert not found.agreeing[wrong].any() and (found.errors[wrong & kept] > 50).mean() > 0.95


def test_missed_points_are_filled_in(ring: Ring, bodies: np.ndarray) -> None:
    measured, truth = measure(ring(8), bodies)
    measured.scores[:, 2, 9] = 0.1  # a wrist that camera 2 never sees, and places anywhere
    measured.points[:, 2, 9] = 5
    measured.points[:, 3], measured.scores[:, 3], measured.boxes[:, 3] = np.nan, 0, np.nan  # nobody found
    found = agree(ring(8), measured, COCO_17)
    for v, k in ((2, [9]), (3, range(17))):
        assert np.linalg.norm(found.projected - truth, axis=-1)[:, v][:, list(k)].max() < 8
    assert np.isnan(found.errors[:, 3]).all() and np.isnan(found.errors[:, 2, 9]).all()
    assert (found.reason == 0).all()


def test_exchanged_sides_are_exchanged_back(ring: Ring, bodies: np.ndarray) -> None:
    measured, _ = measure(ring(8), bodies)
    measured.points[1, 5] = measured.points[1, 5][COCO_17.flip_indices]
    found = agree(ring(8), measured, COCO_17)
    side = COCO_17.flip_indices != np.arange(17)
    limbs = side & (np.arange(17) >= 5)  # in a view from the side both eyes are in one place
    assert found.swapped[1, 5, limbs].mean() > 0.8
    assert not np.delete(found.swapped[:, :, limbs], 5, axis=1).any() and not found.swapped[0].any()
    assert found.agreeing[1, 5, limbs].mean() > 0.8


@pytest.mark.parametrize("moved", [True, False])
def test_a_camera_that_was_knocked_is_left_out(ring: Ring, bodies: np.ndarray, moved: bool) -> None:
    cameras = ring(8)
    real = list(cameras)
    if moved:
        turn = cv2.Rodrigues(np.deg2rad([0.0, 1.5, 0.5]))[0]
        real[3] = replace(real[3], rotation=turn @ real[3].rotation, translation=turn @ real[3].translation)
    measured, _ = measure(real, bodies)
    found = agree(cameras, measured, COCO_17)
    assert np.flatnonzero(found.left_out).tolist() == ([3] if moved else [])
    assert np.median(np.linalg.norm(found.points - bodies, axis=-1)) < 0.006
    assert not found.agreeing[:, 3].any() or not moved


def reasons(found: Agreement, point: int) -> set[str]:
    return {REASONS[reason] for reason in found.reason[:, point]}


def test_who_is_asked_about_what(ring: Ring, bodies: np.ndarray) -> None:
    measured, _ = measure(ring(8), bodies)
    rng = np.random.default_rng(2)
    measured.scores[:, :, 0] = 0.05  # the nose: no view is sure
    measured.scores[:, 2:, 1] = 0.05  # the left eye: two views
    low, high = measured.boxes[:, :6, None, :2], measured.boxes[:, :6, None, 2:]
    measured.points[:, :6, 9:10] = rng.uniform(low, high)  # the left wrist: three views in four anywhere
    measured.points[:, 3:, 10:11] = rng.uniform(
        *(measured.boxes[:, 3:, None, corner] for corner in (slice(2), slice(2, 4)))
    )
    found = agree(ring(8), measured, COCO_17)
    assert reasons(found, 10) == {"views disagree"}, "the right wrist: three views of eight agree"
    assert reasons(found, 0) == {"unseen"}
    assert reasons(found, 1) == {"few views"}
    assert reasons(found, 9) <= {"few views", "views disagree"}
    assert reasons(found, 5) == reasons(found, 16) == {""}


def test_a_narrow_base_is_uncertain(standing: np.ndarray, ring: Ring) -> None:
    camera = ring(8)[0]
    cameras = [replace(camera, name=str(k), translation=camera.translation + [0.004 * k, 0, 0]) for k in range(4)]
    measured, _ = measure(cameras, standing[None], noise=0.7)
    found = agree(cameras, measured, COCO_17)
    assert (found.reason == REASONS.index("uncertain")).mean() > 0.8
    assert np.nanmedian(found.deviation) > 0.1


def test_the_order_of_the_cameras_does_not_matter(ring: Ring, bodies: np.ndarray) -> None:
    measured, _ = measure(ring(6), bodies, noise=4)
    order = np.array([3, 1, 5, 0, 2, 4])
    mixed = Measured(measured.points[:, order], measured.scores[:, order], measured.boxes[:, order], measured.person)
    one, other = agree(ring(6), measured, COCO_17), agree([ring(6)[v] for v in order], mixed, COCO_17)
    np.testing.assert_allclose(one.points, other.points, atol=1e-6)
    assert (one.reason == other.reason).all()


def test_nobody_is_no_error(ring: Ring) -> None:
    nobody = Measured(np.zeros((0, 3, 17, 2)), np.zeros((0, 3, 17)), np.zeros((0, 3, 4)), np.zeros(0, int))
    found = agree(ring(3), nobody, COCO_17)
    assert found.points.shape == (0, 17, 3) and not found.left_out.any()


def crowd(cameras: list[CalibratedCamera], standing: np.ndarray) -> tuple[list[list[Detection]], list[list[int]]]:
    """Three people close together, in each view in another order; and who is who."""
    turned = standing * [-1, -1, 1]
    people = [standing, turned + [0.7, 0.3, 0], standing * [1.1, 1, 0.8] + [-0.4, 0.6, 0]]
    rng = np.random.default_rng(4)
    detections, whose = [], []
    for camera in cameras:
        order = rng.permutation(3).tolist()
        row = []
        for person in order:
            points = camera.project(people[person]) + rng.normal(0, 3, (17, 2))
            box = np.concatenate([points.min(0) - 15, points.max(0) + 15])
            row.append(Detection(points, np.full(17, 0.8), box, 1.0, len(row) + 1))
        detections.append(row)
        whose.append(order)
    return detections, whose


def test_people_are_told_apart_over_the_views(ring: Ring, standing: np.ndarray) -> None:
    cameras = ring(6)
    detections, whose = crowd(cameras, standing)
    detections[4].pop(1)  # one view misses somebody
    missed = whose[4].pop(1)
    found = associate(cameras, detections, COCO_17)
    names = [{whose[v][d] for v, d in person.items()} for person in found]
    assert sorted(names, key=min) == [{0}, {1}, {2}]
    assert sorted(len(person) for person in found) == [5, 6, 6]
    assert len(found[-1]) == 5 and names[-1] == {missed}


def test_a_stranger_in_one_view_stays_alone(ring: Ring, standing: np.ndarray) -> None:
    cameras = ring(5)
    detections, _ = crowd(cameras, standing)
    points = cameras[0].project(standing + [0, 0, 2.2])
    stranger = Detection(points, np.ones(17), np.concatenate([points.min(0), points.max(0)]))
    detections[0].append(stranger)
    assert {0: 3} in associate(cameras, detections, COCO_17)


def test_somebody_whose_sides_are_exchanged_is_the_same(ring: Ring, standing: np.ndarray) -> None:
    cameras = ring(5)
    detections, whose = crowd(cameras, standing)
    one = detections[2][0]
    mirror = COCO_17.flip_indices
    detections[2][0] = replace(one, points=one.points[mirror], scores=one.scores[mirror])
    names = [{whose[v][d] for v, d in person.items()} for person in associate(cameras, detections, COCO_17)]
    assert sorted(names, key=min) == [{0}, {1}, {2}]


def test_people_keep_their_numbers(standing: np.ndarray) -> None:
    following = Following()
    left, right = standing - [1, 0, 0], standing + [1, 0, 0]
    assert following.numbers(0, [(left, 0.8), (right, 0.8)]) == [1, 2]
    assert following.numbers(1, [(right + 0.1, 0.8), (left + 0.1, 0.8)]) == [2, 1]
    assert following.numbers(2, [(standing + [0, 5, 0], 0.8), (left, 0.8)]) == [3, 1]
    assert following.numbers(9, [(right, 0.8)]) == [2], "out of sight for a while"
    assert following.numbers(80, [(right, 0.8)]) == [4], "and for too long"


def test_the_nearest_keeps_the_number(standing: np.ndarray) -> None:
    following = Following()
    following.numbers(0, [(standing, 0.8)])
    assert following.numbers(1, [(standing + [0.5, 0, 0], 0.8), (standing + [0.1, 0, 0], 0.8)]) == [2, 1]
