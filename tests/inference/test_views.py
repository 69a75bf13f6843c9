import numpy as np
import pytest
import torch

from opensapiens.inference.views import person_view, whole_image_view


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


def test_a_view_lies_where_its_box_does() -> None:
    view = person_view(np.array([40.0, 10, 70, 50]), (60, 80), (64, 48), 1.25)
    np.testing.assert_allclose(view.location, [(55 - 39.5) / 100, (30 - 29.5) / 100], rtol=5e-3)
    for keep_aspect in (False, True):
        np.testing.assert_allclose(whole_image_view((61, 80), (64, 48), keep_aspect).location, 0, atol=1e-2)


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
        monkeypatch.setattr("opensapiens.inference.views.OUTLINE_PIXELS", 700)
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
