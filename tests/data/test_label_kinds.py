"""Kinds of dense labels: one of a name is the same everywhere, and shards give back what was stored."""

import multiprocessing
import pickle
from dataclasses import replace

import numpy as np
import pytest

from opensapiens.data.label_kinds import (
    ALBEDO,
    ALPHA,
    DEPTH,
    KINDS,
    MASK,
    NORMALS,
    PARTS,
    POINTS,
    STORED_KINDS,
    LabelKind,
    Move,
)
from opensapiens.data.sample import Sample
from opensapiens.labels.parts import SAPIENS_28

IMAGE = np.zeros((2, 3, 3), np.uint8)
LEFT, RIGHT = SAPIENS_28.index("Left_Hand"), SAPIENS_28.index("Right_Hand")


def parts_of(sample: Sample) -> tuple[np.ndarray | None, list[bool]]:
    """What another process, which has imported kinds of its own, finds in a sample."""
    return sample.parts, [kind in sample.labels for kind in KINDS]


def test_kinds_of_one_name_are_the_same() -> None:
    again = pickle.loads(pickle.dumps(PARTS))
    assert again is not PARTS and again == PARTS and hash(again) == hash(PARTS)
    assert replace(PARTS, folders=("elsewhere",)) == PARTS != replace(PARTS, name="hands")
    assert len({*KINDS, *pickle.loads(pickle.dumps(KINDS))}) == len(KINDS)


def test_a_sample_keeps_its_labels_in_a_process_that_was_started_anew() -> None:
    parts = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found, known = pool.apply(parts_of, (Sample(IMAGE, labels={PARTS: parts}),))
    np.testing.assert_array_equal(found, parts)
    assert known == [False, True, False, False]


def test_the_first_kind_that_there_is_says_where_the_person_is() -> None:
    parts, depth = np.array([[0, 5, 255]], np.uint8), np.array([[1, np.nan, np.nan]], np.float32)
    mask, normals = np.array([[False, False, True]]), np.full((1, 3, 3), np.nan, np.float32)
    normals[0, 1] = 0, 0, 1
    labels: dict[LabelKind, np.ndarray] = {NORMALS: normals, DEPTH: depth, PARTS: parts, MASK: mask}
    found = []
    for kind in KINDS:
        person = Sample(IMAGE, labels=labels).person()
        assert person is not None
        found.append(person.tolist()[0])
        labels.pop(kind)
    assert found == [[False, False, True], [False, True, False], [True, False, False], [False, True, False]]
    assert Sample(IMAGE, labels=labels).person() is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_outside_is_nobody(kind: LabelKind) -> None:
    shape = (2, 3, 3) if kind is NORMALS else (2, 3)
    dtype = {MASK: bool, PARTS: np.uint8}.get(kind, np.float32)
    assert not kind.known(np.full(shape, kind.outside, dtype)).any()


def test_mirroring_and_turning_change_what_has_a_side_or_a_direction() -> None:
    parts = np.array([[LEFT, RIGHT, 255]], np.uint8)
    assert PARTS.move(parts, Move(flip=True), SAPIENS_28).tolist() == [[RIGHT, LEFT, 255]]
    assert PARTS.move(parts, Move(degrees=30), SAPIENS_28) is parts
    normals = np.array([[[0.6, 0.8, 0]]], np.float32)
    np.testing.assert_allclose(NORMALS.move(normals, Move(flip=True), SAPIENS_28), [[[-0.6, 0.8, 0]]], atol=1e-6)
    np.testing.assert_allclose(NORMALS.move(normals, Move(degrees=90), SAPIENS_28), [[[0.8, -0.6, 0]]], atol=1e-6)
    depth = np.ones((1, 2), np.float32)
    assert DEPTH.move(depth, Move(30, True), SAPIENS_28) is depth


@pytest.mark.parametrize("kind", STORED_KINDS, ids=lambda kind: kind.name)
def test_a_stored_kind_comes_back_for_one_person(kind: LabelKind) -> None:
    generator = np.random.default_rng(0)
    normals = generator.normal(size=(4, 5, 3))
    values = {
        PARTS: generator.integers(1, 28, (4, 5)).astype(np.uint8),
        DEPTH: generator.uniform(1, 4, (4, 5)).astype(np.float32),
        NORMALS: (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32),
        POINTS: generator.uniform(0.1, 3, (4, 5, 3)).astype(np.float32),
        ALPHA: generator.uniform(0, 1, (4, 5)).astype(np.float32),
        ALBEDO: generator.uniform(0, 1, (4, 5, 3)).astype(np.float32),
    }[kind]
    values[0] = kind.outside
    mask = np.ones((4, 5), bool)
    mask[:, 0] = False
    assert kind.pixels is not None
    stored = kind.pixels.pack(values, 0.001)
    if kind is not POINTS:  # which is stored as it is
        assert stored.dtype in (np.uint8, np.uint16) and not stored[0].any()
    back = kind.pixels.unpack(stored, mask, 0.001)
    assert back.dtype == values.dtype
    expected = values.copy()
    expected[~mask] = kind.outside
    if kind is ALBEDO:
        expected[0, 1:] = 0  # black: of a person's pixels all are known
    rounded = {DEPTH: 6e-4, NORMALS: 0.01, ALPHA: 0.501 / 255, ALBEDO: 0.501 / 255}
    np.testing.assert_allclose(back, expected, atol=rounded.get(kind, 0))


def test_points_behind_the_camera_are_unknown() -> None:
    assert POINTS.pixels is not None
    stored = np.array([[[1, 2, 3], [1, 2, 0], [1, np.inf, 3], [1, 2, -3]]], np.float32)
    known = np.isfinite(POINTS.pixels.unpack(stored, np.ones((1, 4), bool), 1.0)).all(-1)
    assert known.tolist() == [[True, False, False, False]]
