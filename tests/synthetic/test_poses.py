"""Poses: rotations within reach, hands where gestures want them, limbs that do not pass through bodies."""

import numpy as np
import pytest

from opensapiens.synthetic.capsules import ALLOWED_DEPTH, segment_distance
from opensapiens.synthetic.people_renderer import PeopleRenderer
from opensapiens.synthetic.poses import PoseSampler, _tables


@pytest.fixture(scope="module")
def sampler(renderer: PeopleRenderer) -> PoseSampler:
    """That of the body model."""
    return renderer.model.poses


def overlap(sampler: PoseSampler, pose: np.ndarray) -> float:
    return sampler.capsules.overlap(sampler.forward(pose)[1])


def test_poses_are_rotations_of_all_kinds(sampler: PoseSampler) -> None:
    rng = np.random.default_rng(0)
    seen, depths = set(), []
    for _ in range(120):
        activity, attitude, pose = sampler.draw(rng)
        seen.add((activity, attitude))
        np.testing.assert_allclose(pose @ pose.transpose(0, 2, 1), np.broadcast_to(np.eye(3), pose.shape), atol=1e-9)
        assert (np.linalg.det(pose) > 0).all()
        depths.append(overlap(sampler, pose))
    assert len({activity for activity, _ in seen}) > 10
    assert {"up", "seat", "floor"} <= {attitude for _, attitude in seen}
    assert np.mean(np.array(depths) < ALLOWED_DEPTH) > 0.97


def test_an_arm_through_the_body_is_seen(sampler: PoseSampler) -> None:
    pose = np.repeat(np.eye(3)[None], len(sampler.index), 0)
    assert overlap(sampler, pose) < ALLOWED_DEPTH
    gesture = {**_tables()[2]["heart"], "y": "0.0", "spread": "0"}  # inside the chest
    turns, places = sampler.forward(pose)
    sampler._reach_for(pose, "L", turns, places, gesture, np.random.default_rng(0))
    assert overlap(sampler, pose) > ALLOWED_DEPTH


@pytest.mark.parametrize("side", ["L", "R"])
def test_wrists_are_where_gestures_want_them(sampler: PoseSampler, side: str) -> None:
    sign = 1.0 if side == "L" else -1.0
    for name in ("heart", "chin", "hips", "phone", "clasp", "behind"):
        row = {**_tables()[2][name], "spread": "0"}
        pose = np.repeat(np.eye(3)[None], len(sampler.index), 0)
        turns, places = sampler.forward(pose)
        goal = places[sampler.index[row["bone"]]] + np.array([sign * float(row["x"]), float(row["y"]), float(row["z"])])
        sampler._reach_for(pose, side, turns, places, row, np.random.default_rng(1))
        fresh = sampler.forward(pose)[1]
        assert np.linalg.norm(fresh[sampler.index[f"wrist.{side}"]] - goal) < 0.03, name
        np.testing.assert_allclose(places[sampler.index[f"wrist.{side}"]], fresh[sampler.index[f"wrist.{side}"]])


def test_soles_are_level_where_people_stand(sampler: PoseSampler) -> None:
    rng, tilts = np.random.default_rng(2), []
    row = next(row for row in _tables()[0] if row["activity"] == "sitting" and row["attitude"] == "seat")
    for _ in range(20):
        pose = np.repeat(np.eye(3)[None], len(sampler.index), 0)
        sampler._lower_body(pose, row, rng)
        turns, _ = sampler.forward(pose)
        tilts += [(turns[sampler.index[f"foot.{side}"]] @ [0, -1.0, 0])[2] for side in "LR"]
    assert np.abs(tilts).max() < 0.3


def test_distances_of_segments_are_the_least() -> None:
    rng = np.random.default_rng(3)
    a, b, c, d = rng.normal(size=(4, 30, 3))
    t = np.linspace(0, 1, 80)[:, None, None]
    first, second = a + t * (b - a), c + t * (d - c)
    brute = np.linalg.norm(first[:, None] - second[None], axis=-1).min((0, 1))
    np.testing.assert_allclose(segment_distance(a, b, c, d), brute, atol=0.02)
