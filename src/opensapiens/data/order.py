"""Which sample comes when: a pure function of (seed, position), so that the state of a loader is one integer.

Training is an endless line of positions: step s with batch size B takes positions s * B ... s * B + B - 1. Each
stretch of `count` positions (an epoch) is one random permutation of all samples.
"""

from functools import lru_cache

import numpy as np


def sample_index(position: int, count: int, seed: int) -> int:
    """The sample at a position of the line, for `count` samples."""
    epoch, place = divmod(position, count)
    return int(_permutation(epoch, count, seed)[place])


def sample_generator(position: int, seed: int) -> np.random.Generator:
    """The source of all random choices for the sample at a position; independent of the order of the samples."""
    return np.random.default_rng((seed, 1, position))


@lru_cache(maxsize=4)  # a batch spans at most a few epochs at a time; loaders on both sides of a border need two
def _permutation(epoch: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, epoch)).permutation(count)
