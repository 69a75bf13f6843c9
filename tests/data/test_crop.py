"""The crop moves image and labels alike, and turns or mirrors what has a direction."""

from collections.abc import Callable

import numpy as np
import pytest

from opensapiens.data.crop import crop_sample, cut_sample, flip_sample, resize_sample, rotate_sample, view_sample
from opensapiens.data.label_kinds import ALPHA, DEPTH, MASK, NORMALS, PARTS
from opensapiens.data.sample import Sample
from opensapiens.geometry.view import Preprocessing, Resize
from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.labels.parts import SAPIENS_28

LEFT_HAND, RIGHT_HAND = SAPIENS_28.index("Left_Hand"), SAPIENS_28.index("Right_Hand")
LEFT_WRIST, RIGHT_WRIST = SAPIENS_308.index("left_wrist"), SAPIENS_308.index("right_wrist")
CENTER, SCALE = np.array([40.0, 60.0]), np.array([72.0, 96.0])


def one_spot() -> Sample:
    """A bright 5x5 square around (50, 40), labeled in every way, its normal pointing right and a little up."""
    image = np.zeros((120, 90, 3), np.uint8)
    parts = np.zeros((120, 90), np.uint8)
    depth = np.full((120, 90), np.nan, np.float32)
    normals = np.full((120, 90, 3), np.nan, np.float32)
    square = np.s_[38:43, 48:53]
    image[square], parts[square], depth[square], normals[square] = 255, LEFT_HAND, 2.5, (0.8, 0.6, 0)
    keypoints = np.zeros((308, 3), np.float32)
    keypoints[LEFT_WRIST] = 50, 40, 1
    box = np.array([48, 38, 53, 43], np.float32)
    labels = {PARTS: parts, DEPTH: depth, NORMALS: normals, MASK: parts > 0}
    return Sample(image, "spot", box, keypoints, labels)


def shown(sample: Sample, resize: Resize, size_hw: tuple[int, int] = (240, 220)) -> Sample:
    """The sample as a network is shown it, around a box that is larger than the spot."""
    box = np.array([10, 5, 80, 110], np.float32)
    return view_sample(sample, Preprocessing(size_hw, resize=resize).view(box, sample.image.shape[:2]))


def place(mask: np.ndarray) -> np.ndarray:
    """The center (x, y) of the pixels of a mask."""
    return np.argwhere(mask).mean(0)[::-1]


@pytest.mark.parametrize("rotation", [0.0, 35.0, -60.0])
@pytest.mark.parametrize("flip", [False, True])
def test_image_and_labels_stay_together(rotation: float, flip: bool) -> None:
    crop = crop_sample(one_spot(), (128, 96), CENTER, SCALE, rotation, flip)
    wrist = RIGHT_WRIST if flip else LEFT_WRIST
    assert crop.keypoints is not None and crop.parts is not None and crop.depth is not None
    assert crop.normals is not None and crop.mask is not None and crop.box is not None
    assert crop.keypoints[wrist, 2] == 1 and (crop.keypoints[:, 2] > 0).sum() == 1
    point = crop.keypoints[wrist, :2]
    assert np.abs(place(crop.image[..., 0] > 127) - point).max() < 0.6
    assert np.abs(place(crop.mask) - point).max() < 0.6
    np.testing.assert_array_equal(crop.parts == (RIGHT_HAND if flip else LEFT_HAND), crop.mask)
    np.testing.assert_array_equal(crop.depth == 2.5, crop.mask)
    np.testing.assert_array_equal(np.isfinite(crop.normals).all(-1), crop.mask)
    assert (crop.box[:2] < point).all() and (point < crop.box[2:]).all()


@pytest.mark.parametrize("rotation", [0.0, 35.0, -60.0])
@pytest.mark.parametrize("flip", [False, True])
def test_normals_turn_with_the_picture(rotation: float, flip: bool) -> None:
    """An arrow of two image points turns by the crop; the normal along it must point the same way, its y upwards."""
    sample = one_spot()
    assert sample.keypoints is not None
    sample.keypoints[0] = 50, 40, 2  # the nose is its own mirror image; so is point 69, the neck
    neck = SAPIENS_308.index("neck")
    sample.keypoints[neck] = 50 + 8, 40 - 6, 2
    crop = crop_sample(sample, (128, 96), CENTER, SCALE, rotation, flip)
    assert crop.keypoints is not None and crop.normals is not None and crop.mask is not None
    arrow = (crop.keypoints[neck, :2] - crop.keypoints[0, :2]) * (1, -1)
    normal = crop.normals[crop.mask][0]
    np.testing.assert_allclose(normal[:2], arrow / np.linalg.norm(arrow), atol=0.01)
    assert abs(np.linalg.norm(normal) - 1) < 1e-5


def test_flip_is_the_mirror_image_of_the_crop() -> None:
    generator = np.random.default_rng(0)
    sample = one_spot()
    sample.image = generator.integers(0, 256, sample.image.shape, dtype=np.uint8)
    plain = crop_sample(sample, (128, 96), CENTER, SCALE, 20)
    mirrored = crop_sample(sample, (128, 96), CENTER, SCALE, 20, flip=True)
    assert np.abs(mirrored.image[:, ::-1].astype(int) - plain.image).max() <= 16  # warpAffine rounds to 1/32 pixel


def test_outside_the_picture_is_nothing() -> None:
    sample = one_spot()
    sample.image[:] = 255
    crop = crop_sample(sample, (64, 48), np.array([0.0, 0.0]), SCALE)
    assert crop.image[0, 0].max() == 0 and crop.parts is not None and crop.parts[0, 0] == 0
    assert crop.depth is not None and np.isnan(crop.depth[0, 0])
    assert crop.normals is not None and np.isnan(crop.normals[0, 0]).all()


def test_ignored_pixels_stay_ignored_and_absent_labels_absent() -> None:
    unknown = {PARTS: np.full((120, 90), 255, np.uint8)}
    crop = crop_sample(Sample(one_spot().image, labels=unknown), (64, 48), CENTER, SCALE, flip=True)
    assert crop.parts is not None and crop.parts[32, 24] == 255
    assert crop.depth is crop.normals is crop.keypoints is crop.mask is crop.box is None


@pytest.mark.parametrize(
    ("move", "wrist"),
    [
        (flip_sample, RIGHT_WRIST),
        (lambda sample: resize_sample(sample, (360, 270)), LEFT_WRIST),
        (lambda sample: rotate_sample(sample, 35.0), LEFT_WRIST),
        (lambda sample: cut_sample(sample, (20, 10, 70, 90)), LEFT_WRIST),
        (lambda sample: shown(sample, "person_crop"), LEFT_WRIST),
        (lambda sample: shown(sample, "squash"), LEFT_WRIST),
        (lambda sample: shown(sample, "letterbox"), LEFT_WRIST),
    ],
    ids=["flip", "resize", "rotate", "cut", "person_crop", "squash", "letterbox"],
)
def test_every_move_takes_the_labels_along(move: Callable[[Sample], Sample], wrist: int) -> None:
    moved = move(one_spot())
    assert moved.keypoints is not None and moved.parts is not None and moved.depth is not None
    assert moved.normals is not None and moved.mask is not None and moved.box is not None
    point = moved.keypoints[wrist, :2]
    assert np.abs(place(moved.mask) - point).max() < 0.6
    assert np.abs(place(moved.image[..., 0] > 127) - point).max() < 0.6
    np.testing.assert_array_equal(moved.parts == (RIGHT_HAND if wrist == RIGHT_WRIST else LEFT_HAND), moved.mask)
    np.testing.assert_array_equal(moved.depth == 2.5, moved.mask)
    np.testing.assert_array_equal(np.isfinite(moved.normals).all(-1), moved.mask)
    assert (moved.box[:2] < point).all() and (point < moved.box[2:]).all()


def test_normals_turn_in_a_rotated_picture_and_mirror_in_a_flipped_one() -> None:
    flipped, rotated = flip_sample(one_spot()), rotate_sample(one_spot(), 90.0)
    assert flipped.normals is not None and flipped.mask is not None
    assert rotated.normals is not None and rotated.mask is not None
    np.testing.assert_allclose(flipped.normals[flipped.mask][0], [-0.8, 0.6, 0], atol=1e-6)
    # clockwise: what pointed right points down, what pointed up points right
    np.testing.assert_allclose(rotated.normals[rotated.mask][0], [0.6, -0.8, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("resize", "bar", "border"),
    [("letterbox", np.s_[:, :20], (124, 116, 104)), ("person_crop", np.s_[:10, :], (0, 0, 0))],
    ids=["letterbox", "person_crop"],
)
def test_where_a_view_reaches_beyond_the_picture_nothing_is_known(
    resize: Resize, bar: tuple[slice, slice], border: tuple[int, int, int]
) -> None:
    whole = np.full((120, 90), 1.0, np.float32)
    labels = {PARTS: np.full((120, 90), 3, np.uint8), DEPTH: whole, NORMALS: np.dstack([0 * whole, 0 * whole, whole])}
    sample = Sample(np.full((120, 90, 3), 255, np.uint8), labels={**labels, MASK: np.ones((120, 90), bool)})
    crop = view_sample(sample, Preprocessing((128, 160), resize=resize).view(None, (120, 90)))
    assert crop.parts is not None and crop.depth is not None and crop.normals is not None and crop.mask is not None
    assert crop.mask.dtype == bool and crop.parts.dtype == np.uint8 and crop.depth.dtype == np.float32
    inside = crop.image[..., 1] > 127
    np.testing.assert_array_equal(crop.mask, inside)
    np.testing.assert_array_equal(crop.parts == 3, inside)
    np.testing.assert_array_equal(np.isfinite(crop.depth), inside)
    np.testing.assert_array_equal(np.isfinite(crop.normals).all(-1), inside)
    assert (crop.image[bar] == border).all() and not inside[bar].any() and inside.any()


@pytest.mark.parametrize(
    "move",
    [
        lambda sample: resize_sample(sample, (90, 75)),
        lambda sample: resize_sample(sample, (20, 10)),
        lambda sample: rotate_sample(sample, 20.0),
        lambda sample: crop_sample(sample, (64, 48), np.array([15.0, 12.0]), np.array([18.0, 24.0])),
        lambda sample: view_sample(sample, Preprocessing((64, 48)).view(np.float32([2, 2, 20, 20]), (30, 25))),
        lambda sample: view_sample(sample, Preprocessing((64, 48), resize="zero_pad").view(None, (30, 25))),
    ],
)
def test_soft_edges_stay_soft(move: Callable[[Sample], Sample]) -> None:
    """Alpha is moved as a picture of it is."""
    columns = np.indices((30, 25))[1]
    image = np.repeat(np.clip((columns - 5) * 15, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    moved = move(Sample(image, labels={ALPHA: image[..., 0] / np.float32(255)}))
    assert moved.labels[ALPHA].dtype == np.float32
    assert np.abs(moved.labels[ALPHA] * 255 - moved.image[..., 0]).max() < 9
