"""Augmentation repeats with its generator, stays in its ranges, and leaves the labels where the picture went."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from opensapiens.data import augment
from opensapiens.data.augment import Augmentation, augmented_crop
from opensapiens.data.crop import view_sample
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardDataset
from opensapiens.geometry.view import Preprocessing
from opensapiens.labels.keypoints import SAPIENS_308

NOTHING = replace(
    Augmentation(scale=(1, 1), shift=0), **{f.name: 0.0 for f in fields(Augmentation) if f.name.endswith("_chance")}
)
GRAY = np.full((64, 48, 3), 120, np.uint8)


def plain_crop(sample: Sample, size_hw: tuple[int, int] = (64, 48), padding: float = 1.25) -> Sample:
    """The crop of validation."""
    view = Preprocessing(size_hw, box_padding=padding).view(sample.box, sample.image.shape[:2])
    return view_sample(sample, view)


@pytest.fixture
def sample(people_shards: Path) -> Sample:
    return ShardDataset(people_shards)[3]


def test_the_same_generator_gives_the_same_sample(sample: Sample) -> None:
    first, again, other = (
        augmented_crop(sample, (64, 48), np.random.default_rng(seed), Augmentation()) for seed in (5, 5, 6)
    )
    for name in ("image", "keypoints", "parts", "depth", "normals", "mask", "box"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, other.image)


def test_without_chances_it_is_the_plain_crop(sample: Sample) -> None:
    plain = plain_crop(sample)
    nothing = augmented_crop(sample, (64, 48), np.random.default_rng(0), NOTHING)
    np.testing.assert_array_equal(nothing.image, plain.image)
    np.testing.assert_array_equal(nothing.keypoints, plain.keypoints)  # type: ignore[arg-type]
    assert plain.box is not None  # the padded box fills the crop in one direction
    fill = (plain.box[2:] - plain.box[:2]) / (47, 63)
    assert fill.max() == pytest.approx(1 / 1.25, abs=0.01)


@pytest.mark.parametrize("name", [f.name for f in fields(Augmentation) if f.name.endswith("_chance")])
def test_every_chance_changes_something(sample: Sample, name: str) -> None:
    # Gray alone acts only together with color
    chances = {"color_chance": 1.0, name: 1.0} if name == "gray_chance" else {name: 1.0}
    without = replace(NOTHING, **{k: v for k, v in chances.items() if k != name})
    shift = 0.2 if name == "shift_chance" else 0.0
    before = augmented_crop(sample, (64, 48), np.random.default_rng(1), without)
    after = augmented_crop(sample, (64, 48), np.random.default_rng(1), replace(NOTHING, shift=shift, **chances))
    assert not np.array_equal(before.image, after.image)
    if name == "gray_chance":
        assert (after.image == after.image[..., :1]).all()
    if name not in ("shift_chance", "rotation_chance", "flip_chance", "half_body_chance"):
        np.testing.assert_array_equal(before.parts, after.parts)  # type: ignore[arg-type]
        np.testing.assert_array_equal(before.keypoints, after.keypoints)  # type: ignore[arg-type]


def test_scale_and_shift_stay_in_their_ranges(sample: Sample) -> None:
    settings = replace(NOTHING, scale=(0.5, 2.0), shift=0.1, shift_chance=1.0)
    plain = plain_crop(sample).box
    assert plain is not None
    sizes, moves = [], []
    for seed in range(60):
        box = augmented_crop(sample, (64, 48), np.random.default_rng(seed), settings).box
        assert box is not None
        sizes.append((plain[3] - plain[1]) / (box[3] - box[1]))
        moves.append(np.abs((box[:2] + box[2:]) / 2 - (47 / 2, 63 / 2)) * sizes[-1] / (48, 64))
    assert 0.5 <= min(sizes) < 0.7 and 1.4 < max(sizes) <= 2.0
    assert 0.05 < np.max(moves) <= 0.105


def test_a_half_body_box_lies_about_that_half(sample: Sample) -> None:
    assert sample.box is not None and sample.keypoints is not None
    sample.keypoints[:, 2] = 2
    halves = np.array(SAPIENS_308.body_halves)
    means = {half: sample.keypoints[halves == half, :2].mean(0) for half in ("upper", "lower")}
    found = []
    for seed in range(20):
        box = augment.half_body_box(sample, np.random.default_rng(seed), sample.box)
        (half,) = (h for h, mean in means.items() if np.allclose((box[:2] + box[2:]) / 2, mean, atol=1e-3))
        extent = np.ptp(sample.keypoints[halves == half, :2], axis=0)
        np.testing.assert_allclose(box[2:] - box[:2], extent * 1.2, rtol=1e-4)
        found.append(half)
    assert found.count("upper") > found.count("lower") > 0
    sample.keypoints[5:, 2] = 0
    np.testing.assert_array_equal(augment.half_body_box(sample, np.random.default_rng(0), sample.box), sample.box)


def test_noise_has_the_mean_and_deviation_it_says() -> None:
    noisy = augment.add_noise(np.full((200, 200, 3), 128, np.uint8), 10.0, np.random.default_rng(0)).astype(float)
    assert noisy.mean() == pytest.approx(128, abs=0.3) and noisy.std() == pytest.approx(10, abs=0.3)


def test_gray_stays_gray_under_hue_and_saturation() -> None:
    settings = replace(
        Augmentation(), gamma=(1, 1), gain=(1, 1), contrast=(1, 1), brightness=0, saturation=(3, 3), gray_chance=0
    )
    for seed in range(5):
        changed = augment.change_colors(GRAY, np.random.default_rng(seed), settings)
        assert np.abs(changed.astype(int) - 120).max() <= 1


def test_compression_keeps_the_channels_in_order() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 220
    assert augment.compress(image, 90)[16, 16].tolist()[0] > 200


def test_a_small_person_is_not_made_smaller() -> None:
    settings = replace(NOTHING, low_resolution_chance=1.0)
    image = np.random.default_rng(0).integers(0, 256, GRAY.shape, dtype=np.uint8)
    np.testing.assert_array_equal(augment.change_image(image, 39.0, np.random.default_rng(0), settings), image)
    assert augment.change_image(image, 60.0, np.random.default_rng(0), settings).shape == image.shape


def test_a_sample_without_a_box_is_taken_whole(sample: Sample) -> None:
    boxless = replace(sample, box=None)
    crop = augmented_crop(boxless, (120, 90), np.random.default_rng(0), NOTHING, box_padding=1.0)
    assert crop.mask is not None and crop.mask.any() and crop.box is None
    np.testing.assert_array_equal(crop.image, plain_crop(boxless, (120, 90), 1.0).image)
