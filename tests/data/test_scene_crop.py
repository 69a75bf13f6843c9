"""Pieces of whole pictures: labels stay with the picture through every step, and the ranges are kept."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from opensapiens.data.crop import view_sample
from opensapiens.data.label_kinds import DEPTH, MASK, PARTS
from opensapiens.data.photometric import distort_colors
from opensapiens.data.sample import Sample
from opensapiens.data.scene_crop import PUBLISHED_NORMALS, PUBLISHED_SEGMENTATION, SceneCrop, scene_crop, size_within
from opensapiens.geometry.view import whole_image_view
from opensapiens.labels.parts import SAPIENS_28

SIZE = (64, 48)
PLAIN = replace(PUBLISHED_SEGMENTATION, scale=(1.0, 2.5), color_chance=0.0)
CLASSES = np.array([0, 12, 22], np.uint8)  # without a side


def blocks(height: int = 90, width: int = 70) -> Sample:
    """A picture of blocks whose brightness says what every label is there."""
    generator = np.random.default_rng(0)
    ids = CLASSES[generator.integers(0, 3, (height // 10, width // 10))].repeat(10, 0).repeat(10, 1)
    depth = np.where(ids == 0, np.nan, ids).astype(np.float32)
    image = np.repeat(ids[..., None] * 8, 3, axis=-1).astype(np.uint8)
    return Sample(image, labels={PARTS: ids, DEPTH: depth, MASK: ids > 0})


@pytest.mark.parametrize("seed", range(12))
def test_labels_stay_with_the_picture(seed: int) -> None:
    crop = scene_crop(blocks(), SIZE, np.random.default_rng(seed), PLAIN)
    assert crop.image.shape == (*SIZE, 3) and crop.parts is not None and crop.depth is not None
    assert crop.mask is not None
    np.testing.assert_array_equal(crop.parts > 0, crop.mask)
    np.testing.assert_array_equal(np.nan_to_num(crop.depth), np.where(crop.mask, crop.parts, 0))
    # Far from any border between classes, the picture is the class's color.
    around = np.ones((7, 7), np.uint8)
    inside = cv2.erode(crop.parts, around) == cv2.dilate(crop.parts, around)
    difference = np.abs(crop.image[..., 0].astype(int) - crop.parts.astype(int) * 8)
    assert inside.mean() > 0.03 and np.quantile(difference[inside], 0.95) <= 16


def test_the_same_generator_gives_the_same_piece() -> None:
    first, again, other = (scene_crop(blocks(), SIZE, np.random.default_rng(s), PUBLISHED_NORMALS) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)


def test_the_view_of_validation_is_the_whole_picture() -> None:
    sample = blocks()
    crop = view_sample(sample, whole_image_view(sample.image.shape[:2], SIZE))
    assert crop.parts is not None and set(np.unique(crop.parts)) == set(CLASSES.tolist())
    np.testing.assert_array_equal(crop.parts[[0, -1], [0, -1]], blocks().parts[[0, -1], [0, -1]])  # type: ignore[index]


def test_pieces_of_one_class_are_drawn_anew() -> None:
    sample = blocks(200, 200)
    assert sample.parts is not None
    sample.parts[:, :150] = 0  # so that a chance piece is mostly background
    settings = SceneCrop((1.0, 1.0), rotation_chance=0, flip_chance=0, color_chance=0)
    big = Sample(np.zeros((400, 400, 3), np.uint8), labels={PARTS: sample.parts.repeat(2, 0).repeat(2, 1)})

    def shares(largest: float) -> np.ndarray:
        found = []
        for seed in range(40):
            parts = scene_crop(
                big, (64, 48), np.random.default_rng(seed), replace(settings, scale=(3, 3), largest_class_share=largest)
            ).parts
            assert parts is not None
            found.append(np.bincount(parts.ravel()).max() / parts.size)
        return np.array(found)

    assert (shares(0.75) > 0.75).mean() < 0.6 * (shares(1.0) > 0.75).mean()


def test_pixels_that_are_not_labeled_are_no_class() -> None:
    parts = np.full((256, 192), 255, np.uint8)
    parts[::8, ::2], parts[::8, 1::2] = 12, 22  # wherever the piece lies, two classes of equal share
    sample = Sample(
        np.arange(256 * 192 * 3, dtype=np.uint32).astype(np.uint8).reshape(256, 192, 3), labels={PARTS: parts}
    )
    settings = SceneCrop((4.0, 4.0), rotation_chance=0, flip_chance=0, color_chance=0)
    for seed in range(5):
        drawn = scene_crop(sample, SIZE, np.random.default_rng(seed), settings)
        first = scene_crop(sample, SIZE, np.random.default_rng(seed), replace(settings, largest_class_share=1.0))
        np.testing.assert_array_equal(drawn.image, first.image)


def test_the_published_rule_of_sizes() -> None:
    assert size_within((96, 71), (110, 60)) == (81, 60)
    assert size_within((100, 200), (1024, 768)) == (512, 1024), "a landscape picture may be wider than the crop"


def test_parts_with_a_side_change_it_when_mirrored() -> None:
    labels = np.full((64, 48), SAPIENS_28.index("Left_Hand"), np.uint8)
    labels[:, 24:] = 0
    sample = Sample(np.zeros((64, 48, 3), np.uint8), labels={PARTS: labels})
    settings = SceneCrop((1.0, 1.0), rotation_chance=0, flip_chance=1.0, color_chance=0)
    parts = scene_crop(sample, SIZE, np.random.default_rng(0), settings).parts
    assert parts is not None and parts[0, 0] == 0 and parts[0, -1] == SAPIENS_28.index("Right_Hand")


def test_colors_change_within_their_ranges() -> None:
    gray = np.full((8, 8, 3), 100, np.uint8)
    seen = [distort_colors(gray, np.random.default_rng(seed), 1.0) for seed in range(60)]
    assert all((image == image[..., :1]).all() for image in seen), "gray has no hue and no saturation"
    values = np.array([image[0, 0, 0] for image in seen])
    assert values.min() < 60 and values.max() > 150 and values.min() >= (100 - 32) * 0.5 - 2
    np.testing.assert_array_equal(distort_colors(gray, np.random.default_rng(0), 0.0), gray)
