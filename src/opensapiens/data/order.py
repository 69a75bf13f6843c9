"""The order of samples: a pure function of (seed, position), so that the state of a loader is one integer.

Positions count the samples of training: step s with batch size B takes s * B ... s * B + B - 1. Each `count` positions
(an epoch) are one random permutation of all samples.
"""

from functools import lru_cache

import numpy as np


def sample_index(position: int, count: int, seed: int) -> int:
    """The sample at a position, of `count` samples."""
    epoch, place = divmod(position, count)
    return shuffled(place, count, (seed, 0, epoch))


def sample_generator(position: int, seed: int) -> np.random.Generator:
    """The random generator of the augmentations at a position, independent of the order of the samples."""
    return np.random.default_rng((seed, 1, position))


def sample_seed(position: int, seed: int) -> int:
    """A seed below 2^63 for what the network draws at a position: dropout, hidden patches."""
    return int(np.random.SeedSequence((seed, 2, position)).generate_state(1, np.uint64)[0] >> 1)


def shuffled(place: int, count: int, key: tuple[int, ...]) -> int:
    """The image of `place` under a permutation of 0 ... count - 1 that `key` chooses.

    A Feistel network on the next even number of bits, iterated until the result is in range. It needs no list, which
    for 300 million images would take gigabytes in every loader process.
    """
    half = max(((count - 1).bit_length() + 1) // 2, 1)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for round_key in _round_keys(key):
            left, right = right, left ^ (_mixed(right ^ round_key) & mask)
        place = left << half | right
        if place < count:
            return place


@lru_cache(maxsize=256)
def _round_keys(key: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, np.random.SeedSequence(key).generate_state(6, np.uint64)))


def _mixed(value: int) -> int:
    """SplitMix64's finaliser (Steele et al., 2014)."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ value >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ value >> 31
