"""Rotary position embedding over two axes: queries and keys are turned by angles that grow with a patch's place.

Axes in names: B batch, H heads, N tokens, K those of the kept patches, D width of a head.
"""

import math
from typing import Literal

import torch
from torch import Tensor

RopeDtype = Literal["bfloat16", "float32"]
DTYPES: dict[RopeDtype, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}
BASE = 100.0


def rotary_periods(head_dim: int, dtype: RopeDtype) -> Tensor:
    """(D / 4,) float32: periods from 1 to below 100, computed in a dtype. Half of the channels turn with the row, half
    with the column, two channels at each period."""
    exponents = 2 * torch.arange(head_dim // 4, dtype=DTYPES[dtype]) / (head_dim // 2)
    return (BASE**exponents).float()


def rotation(periods: Tensor, grid: tuple[int, int], dtype: RopeDtype) -> Tensor:
    """(2, rows * columns, D): the cosines and sines for the patches of a grid, row by row, in a dtype.

    A patch's place is that of its center, from -1 to 1 over the whole grid, whatever the number of patches. In bfloat16
    every step is rounded, as in the published code, whose numbers depend on it.
    """
    kind = DTYPES[dtype]
    places = []
    for side in grid:
        centers = _rounded(torch.arange(side, device=periods.device).float() + 0.5, kind)
        places.append(_rounded(_rounded(2 * _rounded(centers / side, kind), kind) - 1, kind))
    places_N2 = torch.stack(torch.meshgrid(*places, indexing="ij"), dim=-1).flatten(0, 1)
    turns_N21 = _rounded(2 * math.pi * places_N2[:, :, None], kind)
    angles_ND = _rounded(turns_N21 / _rounded(periods.float(), kind), kind).flatten(1).tile(2)
    return torch.stack([angles_ND.cos(), angles_ND.sin()]).to(kind)


def _rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """float32 values that a dtype has. Arithmetic on them, rounded again, is that dtype's: all devices compute bfloat16
    so, but not all programs that run exported files have its arithmetic."""
    return values if dtype == torch.float32 else values.to(dtype).float()


def rotate(heads_BHND: Tensor, rotation_2ND: Tensor) -> Tensor:
    """Queries or keys with the last N tokens turned; those before, which have no place, stay.

    All are rounded to the rotation's dtype, the first ones too, as published. rotation_2ND may also be (2, B, 1, N, D).
    """
    dtype, given = rotation_2ND.dtype, heads_BHND.dtype
    values = heads_BHND.to(dtype)
    if torch.compiler.is_exporting():
        values, rotation_2ND = values.float(), rotation_2ND.float()
    cosines, sines = rotation_2ND
    prefix = values.shape[2] - cosines.shape[-2]
    first, placed = values.split([prefix, cosines.shape[-2]], dim=2)
    left, right = placed.chunk(2, dim=-1)
    across = torch.cat([-right, left], dim=-1)
    if torch.compiler.is_exporting():
        turned = _rounded(_rounded(placed * cosines, dtype) + _rounded(across * sines, dtype), dtype)
    else:
        turned = placed * cosines + across * sines
    return torch.cat([first, turned], dim=2).to(given)
