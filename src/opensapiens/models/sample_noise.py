"""Random numbers that depend only on a sample's seed, not on its batch, its device or the number of processes."""

import torch
from torch import Tensor

# Constants of SplitMix64 (Steele et al., 2014) as signed 64-bit integers, whose products wrap as it wants.
_STEP, _MIX1, _MIX2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def sample_uniform(seeds_B: Tensor, count: int) -> Tensor:
    """(B, count) float32 in [0, 1): the first `count` numbers of each int64 seed, the same on every device."""
    places = torch.arange(1, count + 1, device=seeds_B.device)
    state = seeds_B[:, None] + places * _STEP
    state = (state ^ _shifted(state, 30)) * _MIX1
    state = (state ^ _shifted(state, 27)) * _MIX2
    state = state ^ _shifted(state, 31)
    return _shifted(state, 40).float() * 2.0**-24


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Right shift that fills with zeros; PyTorch's repeats the sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
