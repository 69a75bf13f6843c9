import numpy as np
import pytest

from opensapiens.inference.views import person_view, squashed_view


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
    back = view.to_window(positions)
    left, top, right, bottom = view.window
    truth = ramp((120, 110))[:, top:bottom, left:right].transpose(1, 2, 0)
    inner = np.s_[4:-4, 4:-4]
    assert back.shape == truth.shape
    assert np.abs(back[inner] - truth[inner]).max() < 1e-3


def test_the_window_is_the_padded_box_clipped_to_the_image() -> None:
    view = person_view(np.array([0.0, 0, 60, 80]), (100, 100), (128, 96), padding=1.25)
    left, top, right, bottom = view.window
    assert (left, top) == (0, 0) and 67 <= right <= 70 and 90 <= bottom <= 93
    assert view.pixels(np.full((100, 100, 3), 255, np.uint8)).shape == (128, 96, 3)


def test_a_large_image_is_read_in_strips_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(5, 16, 12)).astype(np.float32)
    for view in (
        person_view(np.array([10.0, 10, 90, 90]), (100, 100), (64, 48), 1.25),
        squashed_view((100, 100), (64, 48)),
    ):
        whole = view.classes(logits)
        monkeypatch.setattr("opensapiens.inference.views.STRIP_PIXELS", 700)
        assert (view.classes(logits) == whole).all() and len(np.unique(whole)) == 5
        monkeypatch.undo()


def test_squashing_covers_all_of_the_image() -> None:
    view = squashed_view((50, 80), (64, 48))
    assert view.window == (0, 0, 80, 50)
    assert (view.classes(np.stack([np.zeros((32, 24)), np.ones((32, 24))]).astype(np.float32)) == 1).all()
    assert np.isfinite(view.to_window(np.ones((1, 32, 24), np.float32))).all()
