"""Losses on the differences between neighboring pixels, as Sapiens2 has them.

Axes in names: B samples, C channels, H and W rows and columns.
"""

import torch
from torch import Tensor


def pixels_and_pairs(valid_B1HW: Tensor) -> Tensor:
    """(3,) float32: valid pixels, pairs of them side by side, and pairs one below the other."""
    return torch.stack([valid_B1HW.sum(), *(_pairs(valid_B1HW, axis).sum() for axis in (3, 2))]).float()


def squared_differences(error_BCHW: Tensor, valid_B1HW: Tensor, pairs_2: Tensor) -> Tensor:
    """Squared differences between the errors of neighbors, summed over channels and over pairs of valid pixels: those
    side by side over their number in the whole batch, and those one below the other over theirs.

    pairs_2: the two numbers, see `pixels_and_pairs`. Source: the published "GradL1", which squares.
    """
    total = error_BCHW.new_zeros(())
    for axis, count in zip((3, 2), pairs_2, strict=True):
        squares = error_BCHW.diff(dim=axis).square()
        total = total + torch.where(_pairs(valid_B1HW, axis), squares, 0).sum() / count.clamp(min=1)
    return total


def _pairs(valid_B1HW: Tensor, axis: int) -> Tensor:
    """Whether both of two neighbors along an axis are valid."""
    pairs = valid_B1HW.shape[axis] - 1
    return valid_B1HW.narrow(axis, 0, pairs) & valid_B1HW.narrow(axis, 1, pairs)


def absolute_differences(error_BCHW: Tensor, valid_B1HW: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Sum over channels and pairs of valid pixels of the absolute difference between their errors, and the number of
    pairs: of those side by side, and of those one below the other."""
    pairs = {axis: _pairs(valid_B1HW, axis) for axis in (3, 2)}
    return [
        (torch.where(valid, error_BCHW.diff(dim=axis).abs(), 0).sum(), valid.sum()) for axis, valid in pairs.items()
    ]
