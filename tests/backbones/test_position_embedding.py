"""Position embeddings beyond what the parity cases hold."""

import math

import pytest
import torch

from opensapiens.backbones.position_embedding import resize_position_embedding, sincos_2d


def test_rows_come_first() -> None:
    table = sincos_2d(8, (3, 4))[0].view(3, 4, 8)
    slow = 1 / math.sqrt(10000)
    row, column = 2, 3
    expected = [
        *(math.sin(row), math.sin(row * slow), math.cos(row), math.cos(row * slow)),
        *(math.sin(column), math.sin(column * slow), math.cos(column), math.cos(column * slow)),
    ]
    torch.testing.assert_close(table[row, column], torch.tensor(expected))


def test_class_token_row_is_zero() -> None:
    table = sincos_2d(8, (2, 2), prefix=1)
    assert table.shape == (1, 5, 8)
    assert (table[:, 0] == 0).all() and (table[:, 1:].abs().sum(-1) > 0).all()


def test_width_must_divide_by_four() -> None:
    with pytest.raises(ValueError, match="divisible by 4, not 30"):
        sincos_2d(30, (2, 2))


def test_resize_keeps_type_and_a_plane() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(4.0), indexing="ij")
    position = torch.stack([rows, columns], dim=-1).view(1, 24, 2).half()
    resized = resize_position_embedding(position, (6, 4), (12, 8))
    assert resized.dtype == torch.float16 and resized.shape == (1, 96, 2)
    # Half-pixel centers: the middle of a plane stays one to the kernel's 0.05. Aligned corners are 0.07 away.
    middle = resized.view(12, 8, 2)[4:8, 3:5].float()
    torch.testing.assert_close(middle[:, 0, 0], (torch.arange(4, 8) + 0.5) / 2 - 0.5, atol=0.055, rtol=0)
    torch.testing.assert_close(middle[0, :, 1], (torch.arange(3, 5) + 0.5) / 2 - 0.5, atol=0.055, rtol=0)
    assert resize_position_embedding(position, (6, 4), (6, 4)) is position


def test_a_wrong_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="24 rows does not fit a grid of 5x5"):
        resize_position_embedding(torch.zeros(1, 24, 2), (5, 5), (4, 4))
