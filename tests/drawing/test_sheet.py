import numpy as np
import pytest

from opensapiens.drawing import legend, sheet
from opensapiens.labels.parts import SAPIENS_28


def test_pictures_stand_side_by_side_at_one_height() -> None:
    red, green = np.zeros((100, 50, 3), np.uint8), np.zeros((30, 60, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    paper = sheet([red, green], ["one", "two"], height=64)
    is_red, is_green = (paper == [255, 0, 0]).all(axis=-1), (paper == [0, 255, 0]).all(axis=-1)
    assert is_red.sum() == 64 * 32 and is_green.sum() == 64 * 128
    assert np.flatnonzero(is_red.any(axis=1)).tolist() == np.flatnonzero(is_green.any(axis=1)).tolist()
    assert np.flatnonzero(is_red.any(axis=0)).max() < np.flatnonzero(is_green.any(axis=0)).min()


def test_columns_break_the_rows() -> None:
    tile = np.full((40, 40, 3), 255, np.uint8)
    one, two = (
        sheet([tile] * 4, ["a", "b", "c", "d"], height=40),
        sheet([tile] * 4, ["a", "b", "c", "d"], height=40, columns=2),
    )
    assert two.shape[0] > 1.8 * one.shape[0] and two.shape[1] < 0.6 * one.shape[1]


def test_a_title_for_each() -> None:
    with pytest.raises(ValueError, match="1 images and 2 titles"):
        sheet([np.zeros((4, 4, 3), np.uint8)], ["a", "b"])


def test_the_legend_shows_the_parts_given_and_no_others() -> None:
    panel = legend(SAPIENS_28, [0, 2, 22], height=300).reshape(-1, 3).tolist()
    assert SAPIENS_28.colors[2].tolist() in panel and SAPIENS_28.colors[22].tolist() in panel
    assert SAPIENS_28.colors[3].tolist() not in panel and SAPIENS_28.colors[0].tolist() not in panel
    assert legend(SAPIENS_28, [], height=100).shape[0] == 100
