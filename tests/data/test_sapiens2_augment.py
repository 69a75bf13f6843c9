"""Sapiens2's pipelines on whole pictures: labels stay with the picture, and each step does what is published."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from opensapiens.data import sapiens2_augment as steps
from opensapiens.data.augment import PUBLISHED_POSE, SAPIENS2_POSE, change_image
from opensapiens.data.crop import pad_sample
from opensapiens.data.label_kinds import ALBEDO, ALPHA, MASK, NORMALS, PARTS, POINTS, LabelKind
from opensapiens.data.sample import Sample
from opensapiens.data.sapiens2_augment import PICTURES, PictureSteps, changed_picture
from opensapiens.geometry.cameras import PinholeCamera, fitted_camera

SIZE = (64, 48)
OF_THE_PICTURE = ("_colors", "_jpeg", "_down_and_up", "_blurred", "_noisy", "_solarized")


def people(height: int = 90, width: int = 70) -> Sample:
    """Two bright disks before dark, with every label; albedo is the picture itself."""
    rows, columns = np.indices((height, width))
    there = (np.hypot(rows - 30, columns - 20) < 16) | (np.hypot(rows - 60, columns - 45) < 20)
    image = np.where(there[..., None], [200, 160, 120], 20).astype(np.uint8)
    camera = PinholeCamera(90, 90, (width - 1) / 2, (height - 1) / 2)
    points = camera.unproject(np.stack([columns, rows], axis=-1), 3 + 0.01 * columns)

    def inside(values: np.ndarray) -> np.ndarray:
        return np.where(there[..., None], values, np.nan).astype(np.float32)

    normals = np.broadcast_to([0.6, 0.0, 0.8], (height, width, 3))
    labels = {MASK: there, PARTS: np.where(there, 22, 0).astype(np.uint8), ALPHA: there.astype(np.float32)}
    return Sample(
        image, labels={**labels, NORMALS: inside(normals), POINTS: inside(points), ALBEDO: inside(image / 255)}
    )


def geometry_of(pictures: PictureSteps) -> PictureSteps:
    """The steps that move the picture, each with its chance."""
    names = [(getattr(change, "func", change).__name__, chance, change) for chance, change in pictures.steps]
    moving = tuple((chance, change) for name, chance, change in names if name not in OF_THE_PICTURE)
    return replace(pictures, steps=moving)


@pytest.mark.parametrize("kind", PICTURES, ids=lambda kind: kind.name)
def test_labels_stay_with_the_picture(kind: LabelKind) -> None:
    for seed in range(40):
        made = changed_picture(people(), SIZE, np.random.default_rng(seed), geometry_of(PICTURES[kind]))
        assert made.image.shape == (*SIZE, 3) and made.mask is not None and made.parts is not None
        assert all(values.shape[:2] == SIZE for values in made.labels.values())
        around = np.ones((5, 5), np.uint8)
        for mask, shade in ((made.mask, 200), (~made.mask & (made.image[..., 0] < 100), 20)):
            far_in = cv2.erode(mask.astype(np.uint8), around) > 0
            assert (np.abs(made.image[far_in][:, 0].astype(int) - shade) <= 30).mean() > 0.93
        np.testing.assert_array_equal(made.parts == 22, made.mask)
        assert ((made.labels[ALPHA] > 0.5) == made.mask).mean() > 0.9  # nearest pixels lie half a one aside
        np.testing.assert_allclose(
            made.labels[ALBEDO][made.mask], [np.float32([200, 160, 120]) / 255] * made.mask.sum()
        )
        if kind is POINTS and made.mask.sum() > 100:  # neither turned nor stretched
            rows, columns = np.nonzero(made.mask)
            camera = fitted_camera(made.labels[POINTS])
            assert camera is not None
            seen = camera.project(made.labels[POINTS][made.mask].astype(np.float64))
            assert np.abs(seen - np.stack([columns, rows], axis=-1)).max() < 1.5
            assert camera.fx == pytest.approx(camera.fy, rel=0.05)


@pytest.mark.parametrize("kind", PICTURES, ids=lambda kind: kind.name)
def test_the_same_generator_gives_the_same_picture(kind: LabelKind) -> None:
    first, again, other = (changed_picture(people(), SIZE, np.random.default_rng(s), PICTURES[kind]) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)


def test_a_sample_that_shows_nothing_is_changed_anew() -> None:
    """A window beside the person is drawn again; one with nobody in it at all is taken as it is."""
    sample = people(400, 400)
    alone = steps.PictureSteps(((1.0, steps._window),), PICTURES[PARTS].accepted)
    shares = [changed_picture(sample, SIZE, np.random.default_rng(seed), alone).mask.mean() for seed in range(60)]  # type: ignore[union-attr]
    assert np.mean(np.array(shares) >= 0.01) > np.mean(
        [
            changed_picture(sample, SIZE, np.random.default_rng(s), replace(alone, accepted=bool)).mask.mean() >= 0.01
            for s in range(60)
        ]  # type: ignore[union-attr]
    )
    nobody = Sample(np.zeros((400, 400, 3), np.uint8), labels={PARTS: np.zeros((400, 400), np.uint8)})
    assert changed_picture(nobody, SIZE, np.random.default_rng(0), alone).image.shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("kind", "known", "expected"),
    [(NORMALS, 15, False), (NORMALS, 16, True), (NORMALS, 384, True), (NORMALS, 385, False), (ALBEDO, 385, False)],
)
def test_what_is_dropped(kind: LabelKind, known: int, expected: bool) -> None:
    values = np.full((400, 3), np.nan, np.float32)
    values[:known] = 0.5
    sample = Sample(np.zeros((20, 20, 3), np.uint8), labels={kind: values.reshape(20, 20, 3)})
    assert PICTURES[kind].accepted(sample) == expected


def test_points_too_near_for_the_canonical_camera_are_dropped() -> None:
    sample = people()
    assert PICTURES[POINTS].accepted(sample)
    sample.labels[POINTS] = sample.labels[POINTS] * np.float32(0.04 / (3.04 * 768 / 90) * 0.99)
    assert not PICTURES[POINTS].accepted(sample)


def test_each_step_on_the_picture() -> None:
    generator = np.random.default_rng(0)
    image = np.full((40, 30, 3), 127, np.uint8)
    image[:20] = 128
    sample = Sample(image)
    np.testing.assert_array_equal(steps._solarized(sample, SIZE, generator).image, 127)
    noisy = [steps._noisy(sample, SIZE, generator).image.astype(float) - image for _ in range(60)]
    assert 5 < np.mean([noise.var() for noise in noisy]) < 20
    lowered = steps._down_and_up(Sample(generator.integers(0, 256, (80, 60, 3), dtype=np.uint8)), SIZE, generator).image
    assert lowered.shape == (80, 60, 3)
    edges = [steps._blurred(sample, SIZE, generator).image[19:21, 5, 0].tolist() for _ in range(5)]
    assert all(set(edge) <= {127, 128} for edge in edges)
    turned = [steps._turned(people(), SIZE, np.random.default_rng(1), border).image[0, 0, 0] for border in (0, 255)]
    assert turned == [0, 255]


def test_what_a_small_picture_lacks_is_unknown() -> None:
    padded = pad_sample(people(20, 10), (30, 16), left=2, top=5)
    outside = np.ones((30, 16), bool)
    outside[5:25, 2:12] = False
    assert padded.parts is not None and padded.mask is not None
    assert not padded.image[outside].any() and (padded.parts[outside] == 255).all() and not padded.mask[outside].any()
    assert np.isnan(padded.labels[POINTS][outside]).all() and not padded.labels[ALPHA][outside].any()


def test_a_padded_picture_takes_box_and_points_along() -> None:
    sample = replace(people(20, 10), box=np.float32([1, 2, 3, 4]), keypoints=np.float32([[5, 6, 2]] * 308))
    padded = pad_sample(sample, (30, 16), left=2, top=5)
    assert padded.box is not None and padded.box.tolist() == [3, 7, 5, 9]
    assert padded.keypoints is not None and padded.keypoints[0].tolist() == [7, 11, 2]


def test_a_picture_is_fitted_into_the_middle_with_rounded_sides() -> None:
    white = Sample(np.full((100, 33, 3), 255, np.uint8))
    fitted = steps._fitted(white, SIZE, np.random.default_rng(0)).image
    assert np.flatnonzero(fitted.any(axis=(0, 2))).tolist() == list(range(13, 34))  # 33 * 0.64 = 21.12
    wide = Sample(np.full((33, 100, 3), 255, np.uint8))
    fitted = steps._fitted(wide, SIZE, np.random.default_rng(0)).image
    assert np.flatnonzero(fitted.any(axis=(1, 2))).tolist() == list(range(24, 40))  # 33 * 0.48 = 15.84


def test_alpha_is_cut_out() -> None:
    sample = steps._around_alpha(people(), SIZE, np.random.default_rng(0))
    alpha = sample.labels[ALPHA]
    assert all(side.any() for side in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])) and alpha.shape != (90, 70)


def test_a_fifth_of_the_crops_keeps_its_colors() -> None:
    colors = replace(SAPIENS2_POSE, patches_chance=0.0, blur_chance=0.0)
    assert replace(SAPIENS2_POSE, distorted_share=1.0) == PUBLISHED_POSE
    image = np.full((8, 8, 3), [200, 120, 60], np.uint8)
    generator = np.random.default_rng(0)
    same = np.mean([(change_image(image, 8.0, generator, colors) == image).all() for _ in range(400)])
    assert 0.2 + 0.8 / 16 - 0.07 < same < 0.2 + 0.8 / 16 + 0.07
