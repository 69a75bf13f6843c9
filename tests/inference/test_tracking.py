import json

import numpy as np
import pytest

from opensapiens.inference.results import Person
from opensapiens.inference.tracking import OneEuro, Tracker
from opensapiens.inference.video import boxes_between

SIGMAS = np.full(4, 0.05)


def person(x: float, points: float | None = None, width: float = 20) -> Person:
    """Somebody at x with four points around `points`."""
    box = np.array([x, 0, x + width, 40], np.float32)
    if points is None:
        return Person(0, box, 1.0, np.zeros((1, 1), bool))
    keypoints = np.array([[points + i, 10 * i] for i in range(4)], np.float32)
    return Person(0, box, 1.0, np.zeros((1, 1), bool), keypoints, np.ones(4, np.float32), tuple("abcd"))


def ids(tracker: Tracker, frame: int, people: list[Person], cut: bool = False) -> list[int]:
    tracker.update(people, frame, frame / 10, cut)
    return [one.id for one in people]


def test_ids_follow_the_boxes() -> None:
    tracker = Tracker()
    assert ids(tracker, 0, [person(0), person(50)]) == [1, 2]
    assert ids(tracker, 1, [person(52), person(1), person(200)]) == [2, 1, 3]
    assert ids(tracker, 2, [person(53)], cut=True) == [4], "nobody is the same in another scene"


def test_somebody_out_of_sight_is_remembered_for_a_while() -> None:
    tracker = Tracker()
    ids(tracker, 0, [person(0), person(100)])
    assert ids(tracker, 1, [person(101)]) == [2]
    assert ids(tracker, 30, [person(2), person(103)]) == [1, 2]
    assert ids(tracker, 61, [person(2)]) == [3]


def test_where_boxes_overlap_the_pose_decides() -> None:
    tracker = Tracker(SIGMAS)
    ids(tracker, 0, [person(0, points=2), person(4, points=18)])
    # The boxes have changed places, the people in them have not.
    assert ids(tracker, 1, [person(4, points=2.5), person(0, points=17.5)]) == [1, 2]


@pytest.mark.parametrize("smooth", [False, True])
def test_a_restored_tracker_goes_on_exactly(smooth: bool) -> None:
    generator = np.random.default_rng(0)
    places = np.cumsum(generator.normal(size=12))
    whole, broken = Tracker(SIGMAS, smooth), Tracker(SIGMAS, smooth)
    for frame, place in enumerate(places):
        if frame == 6:
            state = json.loads(json.dumps(broken.state()))
            broken = Tracker(SIGMAS, smooth)
            broken.restore(state)
        one, other = [person(place, place + 3)], [person(place, place + 3)]
        assert ids(whole, frame, one) == ids(broken, frame, other)
        assert (one[0].keypoints == other[0].keypoints).all()


def test_smoothing_calms_a_point_at_rest_and_keeps_up_with_one_in_motion() -> None:
    generator = np.random.default_rng(0)
    at_rest, moving = OneEuro(), OneEuro()
    jitter = generator.normal(scale=2, size=(200, 1, 2)).astype(np.float32)
    calm = np.array([at_rest.step(jitter[i], i / 25, size=100) for i in range(200)])
    assert calm[50:].std() < 0.6 * jitter[50:].std()
    path = np.arange(50, dtype=np.float32)[:, None, None] * [8, 0]
    lag = [path[i, 0, 0] - moving.step(path[i], i / 25, size=100)[0, 0] for i in range(50)]
    assert 0 <= lag[-1] < 10, "8 pixels a frame, and not two frames behind"


def test_between_two_looks_people_move_on_straight_lines() -> None:
    first = np.array([[0, 0, 20, 40], [100, 0, 120, 40]], np.float32), np.array([0.9, 0.8], np.float32)
    last = np.array([[300, 0, 320, 40], [8, 4, 28, 44]], np.float32), np.array([0.6, 0.5], np.float32)
    boxes, scores = boxes_between(first, last, 0.25)
    assert boxes.tolist() == [[2, 1, 22, 41], [100, 0, 120, 40]], "who is gone at the end is there in the first half"
    assert scores.tolist() == pytest.approx([0.8, 0.8])
    boxes, _ = boxes_between(first, last, 0.75)
    assert boxes.tolist() == [[6, 3, 26, 43], [300, 0, 320, 40]]
    nobody = np.empty((0, 4), np.float32), np.empty(0, np.float32)
    assert boxes_between(nobody, nobody, 0.5)[0].shape == (0, 4)
