"""Images that are the same picture: recompressed, scaled or cropped."""

from __future__ import annotations

import itertools

import numpy as np

RADIUS = 10  # bits of 64: hashes further apart count as unrelated
GROUP = 6  # bits: images this close form a group
FAR = 64  # the distance of an image that has no near one
CHUNK = 1024


def near_pairs(hashes: np.ndarray, radius: int = RADIUS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs i < j of (N,) uint64 hashes that differ in at most `radius` bits: i, j, bits.

    Exact: hashes are cut into radius + 1 bands, and two that differ in at most `radius` bits agree in one of them
    (the pigeonhole principle). Only hashes that agree in a band are compared.
    """
    pairs: list[np.ndarray] = []
    edges = np.linspace(0, 64, radius + 2).round().astype(int)
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            pairs += _pairs_within(hashes, members, radius)
    i, j, bits = np.unique(np.concatenate(pairs), axis=0).T if pairs else np.empty((3, 0), np.int64)
    return i, j, bits


def _pairs_within(hashes: np.ndarray, members: np.ndarray, radius: int) -> list[np.ndarray]:
    pairs = []
    for start in range(0, len(members) - 1, CHUNK):
        rows = members[start : start + CHUNK]
        others = members[start:]
        bits = np.bitwise_count(hashes[rows, None] ^ hashes[others])
        i, j = np.nonzero(np.triu(bits <= radius, 1))
        if len(i):
            ends = np.stack([rows[i], others[j]], 1)
            pairs.append(np.column_stack([ends.min(1), ends.max(1), bits[i, j]]).astype(np.int64))
    return pairs


def groups(count: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """(count,) int64: for each element the smallest element that it is connected to by the pairs (i, j), or itself."""
    root = np.arange(count)

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = int(root[node])
        return node

    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        a, b = find(a), find(b)
        root[max(a, b)] = min(a, b)
    return np.array([find(node) for node in range(count)], np.int64)


def distance_to_better(rank: np.ndarray, i: np.ndarray, j: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """(N,) uint8: bits between each image and the nearest better one among its pairs, FAR if there is none.

    rank: (N,) distinct numbers, smaller is better.
    """
    nearest = np.full(len(rank), FAR, np.uint8)
    worse = np.where(rank[i] > rank[j], i, j)
    np.minimum.at(nearest, worse, bits.astype(np.uint8))
    return nearest


def distance_to_set(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) uint8: bits between each hash and the nearest of `others`, FAR if there are none."""
    nearest = np.full(len(hashes), FAR, np.uint8)
    for start in range(0, len(hashes), CHUNK):
        rows = slice(start, start + CHUNK)
        for other in range(0, len(others), CHUNK):
            bits = np.bitwise_count(hashes[rows, None] ^ others[other : other + CHUNK]).min(1)
            nearest[rows] = np.minimum(nearest[rows], bits)
    return nearest
