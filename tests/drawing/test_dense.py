import numpy as np
import pytest

from opensapiens.drawing import depth_colors, draw_depth, draw_normals, draw_parts, normal_colors
from opensapiens.drawing.dense import BACKGROUND_GRAY
from opensapiens.labels.parts import SAPIENS_28


def test_parts_are_blended_in_their_colors_and_the_background_stays() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 22
    labels[35:, 35:] = 255
    drawn = draw_parts(image, labels, SAPIENS_28, opacity=0.5)
    expected = np.round(50 + SAPIENS_28.colors[22].astype(float) * 0.5)
    assert np.abs(drawn[20, 20] - expected).max() <= 1
    assert (drawn[:9] == 100).all(), "the background is the photo"
    assert (drawn[36:, 36:] == 100).all(), "so is what is unknown"


def test_a_label_without_a_color_is_an_error() -> None:
    with pytest.raises(ValueError, match="label 28"):
        draw_parts(np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 28, np.uint8), SAPIENS_28)


def test_near_is_bright_and_nothing_is_gray() -> None:
    depth = np.full((20, 30), np.nan, np.float32)
    depth[:, 5:25] = np.linspace(2, 5, 20)
    colors = depth_colors(depth).astype(int)
    brightness = colors[10, 5:25].sum(axis=-1)
    assert brightness[0] > brightness[10] > brightness[-1]
    assert (colors[:, :5] == BACKGROUND_GRAY).all()


@pytest.mark.parametrize("values", [np.full((5, 5), np.nan, np.float32), np.ones((5, 5), np.float32)])
def test_no_depth_and_flat_depth_are_no_crash(values: np.ndarray) -> None:
    assert depth_colors(values).shape == (5, 5, 3)


def test_one_wild_pixel_does_not_flatten_the_rest() -> None:
    depth = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    plain = depth_colors(depth)
    depth[0, 0] = -1000
    assert np.abs(depth_colors(depth)[5:15].astype(int) - plain[5:15]).max() < 12


def test_normals_are_shown_as_half_of_themselves_plus_one() -> None:
    normals = np.full((4, 4, 3), np.nan, np.float32)
    normals[1, 1] = [0, 0, 1]
    normals[1, 2] = [-1, 0, 0]
    colors = normal_colors(normals)
    assert colors[1, 1].tolist() == [128, 128, 255] and colors[1, 2].tolist() == [0, 128, 128]
    assert (colors[0] == BACKGROUND_GRAY).all()


def test_overlays_darken_the_photo_around() -> None:
    image = np.full((6, 6, 3), 200, np.uint8)
    depth = np.full((6, 6), np.nan, np.float32)
    depth[2:4, 2:4] = [[1, 2], [3, 4]]
    normals = np.full((6, 6, 3), np.nan, np.float32)
    normals[2:4, 2:4] = [0, 0, 1]
    assert (draw_depth(image, depth)[0] == 50).all()
    drawn = draw_normals(image, normals)
    assert (drawn[0] == 50).all() and drawn[2, 2].tolist() == [128, 128, 255]
