"""Another background behind a person: their pixels stay, all others go."""

import numpy as np
import pytest

from opensapiens.data.background import Backgrounds, fitted, with_random_background
from opensapiens.data.label_kinds import ALPHA, DEPTH, MASK, PARTS
from opensapiens.data.sample import Sample

PICTURE = Sample(np.full((20, 30, 3), 7, np.uint8))


def person() -> Sample:
    """A gray picture with parts in a square, of which one pixel is unknown."""
    parts = np.zeros((40, 30), np.uint8)
    parts[10:20, 5:15] = 3
    parts[10, 5] = 255
    return Sample(np.full((40, 30, 3), 100, np.uint8), labels={PARTS: parts})


def test_only_the_person_stays() -> None:
    sample = person()
    changed = with_random_background(sample, np.random.default_rng(0), Backgrounds([PICTURE], 1.0))
    inside = sample.parts == 3
    assert (changed.image[inside] == 100).all() and (changed.image[~inside] == 7).all()
    assert changed.parts is sample.parts and (sample.image == 100).all()


def test_soft_edges_are_mixed_as_light() -> None:
    alpha = np.zeros((40, 30), np.float32)
    alpha[10:20], alpha[20:30] = 1, 0.5
    sample = Sample(np.full((40, 30, 3), 200, np.uint8), labels={ALPHA: alpha})
    black = Sample(np.zeros((20, 30, 3), np.uint8))
    changed = with_random_background(sample, np.random.default_rng(0), Backgrounds([black], 1.0)).image
    half = round(200 * 0.5 ** (1 / 2.2))
    assert [changed[row, 3].tolist() for row in (5, 15, 25)] == [[0] * 3, [200] * 3, [half] * 3]


def test_the_chance() -> None:
    generator = np.random.default_rng(0)
    outcomes = [with_random_background(person(), generator, Backgrounds([PICTURE], 0.3)) for _ in range(200)]
    assert 40 < sum((sample.image == 7).any() for sample in outcomes) < 80


def test_without_a_mask_nothing_changes() -> None:
    sample = Sample(np.full((40, 30, 3), 100, np.uint8))
    assert with_random_background(sample, np.random.default_rng(0), Backgrounds([PICTURE], 1.0)) is sample


def test_who_the_person_is() -> None:
    nothing = np.full((2, 2), np.nan, np.float32)
    depth = nothing.copy()
    depth[0, 0] = 1
    sample = Sample(np.zeros((2, 2, 3), np.uint8), labels={DEPTH: depth})
    expected = [[True, False], [False, False]]
    mask = sample.person()
    assert mask is not None and mask.tolist() == expected
    sample.labels[MASK] = ~mask
    assert sample.person() is sample.mask


@pytest.mark.parametrize("width", [10, 80])
def test_pictures_are_fitted_by_their_height(width: int) -> None:
    picture = np.zeros((20, width, 3), np.uint8)
    picture[:, width // 2 :] = 255
    made = fitted(picture, 40, 60)
    assert made.shape == (40, 60, 3)
    if width == 80:  # its middle
        assert made[:, :28].max() == 0 and made[:, 32:].min() == 255
    else:  # mirrored at its sides
        assert made[0, 30 + 8, 0] == 255 and made[0, 30 + 14, 0] == 255 and made[0, 30 + 24, 0] == 0
