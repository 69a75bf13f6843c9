"""What a network is shown of an image, and that what it says comes back to the same pixels."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from opensapiens.backbones.nano import PLACE, NanoConfig
from opensapiens.geometry.location import moved_picture, whole_picture
from opensapiens.geometry.view import (
    Interpolation,
    Preprocessing,
    View,
    crop_view,
    person_view,
    whole_image_view,
)


def ramp(size: tuple[int, int]) -> np.ndarray:
    """(2, H, W): the x and the y of each pixel of an image."""
    return np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0]))).astype(np.float32)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_map_of_positions_comes_back_to_these_positions(stride: int) -> None:
    view = person_view(np.array([33.0, 21, 71, 90]), (120, 110), (128, 96), padding=1.25)
    # What a network would say that repeats the position in the image of each of its map's pixels.
    rows, columns = np.mgrid[: 128 // stride, : 96 // stride]
    at = np.stack([(columns + 0.5) * stride - 0.5, (rows + 0.5) * stride - 0.5], axis=-1)
    linear, offset = view.matrix[:, :2].astype(float), view.matrix[:, 2].astype(float)
    positions = np.linalg.solve(linear, (at - offset)[..., None])[..., 0].transpose(2, 0, 1).astype(np.float32)
    back = view.to_window(torch.from_numpy(positions))
    left, top, right, bottom = view.window
    truth = ramp((120, 110))[:, top:bottom, left:right].transpose(1, 2, 0)
    inner = np.s_[4:-4, 4:-4]
    assert back.shape == truth.shape
    assert np.abs(back[inner] - truth[inner]).max() < 1e-3


def location(view: View) -> np.ndarray:
    picture = moved_picture(whole_picture(view.image_size), view.matrix)
    return NanoConfig((64, 48), 32, 1, 2, (8, 16, 24)).view_inputs(picture, view.input_size)[PLACE]


def test_a_view_lies_where_its_box_does() -> None:
    view = person_view(np.array([40.0, 10, 70, 50]), (60, 80), (64, 48), 1.25)
    np.testing.assert_allclose(location(view), [(55 - 39.5) / 100, (30 - 29.5) / 100], rtol=5e-3)
    for keep_aspect in (False, True):
        np.testing.assert_allclose(location(whole_image_view((61, 80), (64, 48), keep_aspect)), 0, atol=1e-2)


def test_the_window_is_the_padded_box_clipped_to_the_image() -> None:
    view = person_view(np.array([0.0, 0, 60, 80]), (100, 100), (128, 96), padding=1.25)
    left, top, right, bottom = view.window
    assert (left, top) == (0, 0) and 67 <= right <= 70 and 90 <= bottom <= 93
    assert view.pixels(np.full((100, 100, 3), 255, np.uint8)).shape == (128, 96, 3)


def test_classes_are_the_largest_channels_however_few_pixels_are_read_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    logits = torch.from_numpy(generator.normal(size=(5, 16, 12)).astype(np.float32))
    for view in (
        person_view(np.array([10.0, 10, 90, 90]), (100, 100), (64, 48), 1.25),
        whole_image_view((100, 100), (64, 48)),
    ):
        whole = view.classes(logits)
        assert (whole == np.nan_to_num(view.to_window(logits)).argmax(axis=-1)).all()
        monkeypatch.setattr("opensapiens.geometry.view.OUTLINE_PIXELS", 700)
        assert (view.classes(logits) == whole).all() and len(np.unique(whole)) == 5
        monkeypatch.undo()


def test_squashing_covers_all_of_the_image() -> None:
    view = whole_image_view((50, 80), (64, 48))
    assert view.window == (0, 0, 80, 50)
    assert (view.classes(torch.stack([torch.zeros(32, 24), torch.ones(32, 24)])) == 1).all()
    assert np.isfinite(view.to_window(torch.ones(1, 32, 24))).all()


def test_a_letterbox_keeps_the_aspect_and_fills_the_rest_with_the_border() -> None:
    image = np.full((50, 100, 3), 200, np.uint8)
    view = whole_image_view((50, 100), (64, 48), keep_aspect=True, border=(123.675, 116.28, 103.53))
    pixels = view.pixels(image)
    assert view.placed == (0, 20, 48, 44), "48 x 24 in the middle of 48 x 64"
    assert (pixels[20:44] == 200).all() and (pixels[:20] == [124, 116, 104]).all() and (pixels[44:] < 200).all()
    tall = whole_image_view((900, 3), (64, 48), keep_aspect=True)
    assert tall.placed == (23, 0, 24, 64) and tall.pixels(np.zeros((900, 3, 3), np.uint8)).shape == (64, 48, 3)


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_positions_come_back_from_a_whole_image(keep_aspect: bool, stride: int) -> None:
    view = whole_image_view((120, 110), (128, 96), keep_aspect)
    rows, columns = np.mgrid[: 128 // stride, : 96 // stride]
    at = np.stack([(columns + 0.5) * stride - 0.5, (rows + 0.5) * stride - 0.5], axis=-1)
    positions = ((at - view.matrix[:, 2]) / np.diag(view.matrix[:, :2])).transpose(2, 0, 1).astype(np.float32)
    back = view.to_window(torch.from_numpy(positions))
    assert np.abs(back - ramp((120, 110)).transpose(1, 2, 0))[4:-4, 4:-4].max() < 1e-3


def test_a_squashed_map_is_resized_as_torch_resizes_it() -> None:
    maps = torch.randn(3, 16, 12, generator=torch.Generator().manual_seed(0))
    twice = maps[None]
    for size in ((64, 48), (77, 130)):
        twice = torch.nn.functional.interpolate(twice, size, mode="bilinear", align_corners=False)
    back = whole_image_view((77, 130), (64, 48)).to_window(maps)
    assert np.abs(back - twice[0].permute(1, 2, 0).numpy()).max() < 1e-5


def test_preprocessing_makes_the_view_that_it_names() -> None:
    box, image_size = np.array([10.0, 20, 40, 90]), (120, 100)
    person, squash, letterbox = (
        Preprocessing((64, 48), resize=resize, box_padding=1.5) for resize in ("person_crop", "squash", "letterbox")
    )
    np.testing.assert_array_equal(
        person.view(box, image_size).matrix, person_view(box, image_size, (64, 48), 1.5).matrix
    )
    np.testing.assert_array_equal(
        person.view(None, image_size).matrix, person.view(np.array([0, 0, 100, 120]), image_size).matrix
    )
    for whole, placed in ((squash, (0, 0, 48, 64)), (letterbox, (0, 3, 48, 61))):
        assert whole.view(box, image_size).placed == whole.view(None, image_size).placed == placed
    assert letterbox.view(None, image_size).border == (124, 116, 104)
    boxes = np.stack([box, box + 1])
    assert len(person.views(boxes, image_size)) == 2 and len(person.views(boxes[:0], image_size)) == 0
    assert len(squash.views(boxes, image_size)) == len(squash.views(boxes[:0], image_size)) == 1
    assert person.takes_people and not squash.takes_people and not letterbox.takes_people


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"input_size": (0, 48)}, "input_size cannot be"),
        ({"std": (1.0, 0.0, 1.0)}, "std cannot be"),
        ({"box_padding": 0.0}, "box_padding cannot be"),
    ],
)
def test_preprocessing_that_makes_no_sense(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Preprocessing(**{"input_size": (64, 48), **changes})


def test_a_person_without_extent_cannot_be_cropped() -> None:
    with pytest.raises(ValueError, match="not a box"):
        Preprocessing((64, 48)).view(np.array([5.0, 5, 5, 5]), (50, 50))


def test_squashing_resizes_as_the_weights_were_trained() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    linear = Preprocessing((32, 32), resize="squash")
    bicubic = Preprocessing((32, 32), resize="squash", interpolation="bicubic")
    np.testing.assert_array_equal(linear.view(None, (50, 80)).pixels(image), cv2.resize(image, (32, 32)))
    expected = Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)  # the published resampling
    np.testing.assert_array_equal(bicubic.view(None, (50, 80)).pixels(image), np.asarray(expected))


@pytest.mark.parametrize("resize", ["person_crop", "squash", "letterbox"])
@pytest.mark.parametrize("shape", [(64, 48), (64, 48, 3)])
def test_labels_lie_where_the_network_sees_them(resize: Any, shape: tuple[int, ...]) -> None:
    """Labels of blocks come back from their view as they were, off the borders of the blocks."""
    blocks = np.random.default_rng(0).integers(1, 9, (4, 3, *shape[2:])).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    view = Preprocessing((128, 160), resize=resize).view(None, (64, 48))
    shown = view.labels(blocks, 0)
    assert shown.shape == (128, 160, *shape[2:]) and shown.dtype == np.uint8
    assert (shown[:, 0] == 0).all() == (resize != "squash")
    back = view.to_window(torch.from_numpy(shown.reshape(128, 160, -1).astype(np.float32)).permute(2, 0, 1))
    middles = np.s_[8::16, 8::16]
    np.testing.assert_allclose(back[middles].reshape(blocks[middles].shape), blocks[middles], atol=1e-4)


def test_a_crop_is_a_view_of_itself() -> None:
    view = crop_view((12, 9))
    image = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    maps = torch.randn(3, 12, 9, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(view.pixels(image), image)
    np.testing.assert_array_equal(view.labels(image[..., 0], 0), image[..., 0])
    np.testing.assert_array_equal(view.to_window(maps), maps.permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(view.classes(maps), maps.argmax(0).numpy())


def test_black_borders_and_sides_rounded_down() -> None:
    given = Preprocessing((64, 48), resize="zero_pad")
    view = given.view(None, (100, 67))
    assert view.placed == (3, 0, 45, 64)  # 67 * 0.64 = 42.88
    pixels = view.pixels(np.full((100, 67, 3), 200, np.uint8))
    assert (pixels[:, 3:45] == 200).all() and (pixels[:, :3] == 0).all() and (pixels[:, 45:] == 0).all()
    assert given.view(None, (200, 100)).enlarges and not given.view(None, (30, 20)).enlarges


@pytest.mark.parametrize(
    ("interpolation", "larger"), [("area_cubic", cv2.INTER_CUBIC), ("area_linear", cv2.INTER_LINEAR)]
)
def test_areas_where_a_picture_shrinks(interpolation: Interpolation, larger: int) -> None:
    generator = np.random.default_rng(0)
    given = Preprocessing((64, 48), resize="squash", interpolation=interpolation)
    for size, flag in (((90, 70), cv2.INTER_AREA), ((200, 30), larger), ((20, 96), cv2.INTER_AREA)):
        image = generator.integers(0, 256, (*size, 3), np.uint8)
        expected = cv2.resize(image, (48, 64), interpolation=flag)
        np.testing.assert_array_equal(given.view(None, size).pixels(image), expected)


def test_a_small_person_is_enlarged_by_cubic_curves() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    crops = {
        kind: Preprocessing((64, 48), interpolation=kind).view(box, (60, 60)).pixels(image)
        for kind in ("linear", "area_cubic")
        for box in (np.array([20.0, 20, 30, 30]),)
    }
    assert (crops["linear"] != crops["area_cubic"]).any()
    large = np.array([-100.0, -100, 160, 160])
    shown = [Preprocessing((64, 48), interpolation=kind).view(large, (60, 60)).pixels(image) for kind in crops]
    np.testing.assert_array_equal(*shown)


def test_maps_can_be_changed_before_they_go_to_the_image() -> None:
    view = whole_image_view((20, 30), (10, 10), True)
    shapes = []

    def note(maps_Chw: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(maps_Chw.shape))
        return maps_Chw + 1

    maps = torch.randn(2, 5, 5)
    np.testing.assert_allclose(view.to_window(maps, between=note), view.to_window(maps) + 1, atol=1e-5)
    assert shapes == [(2, 7, 10)]  # without the borders
