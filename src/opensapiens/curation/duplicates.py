"""Images that are the same picture again: compressed anew, scaled, cropped."""

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
    found: list[np.ndarray] = []
    edges = np.linspace(0, 64, radius + 2).round().astype(int)
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        borders = np.flatnonzero(np.diff(band[order])) + 1
        for members in np.split(order, borders):
            found += _pairs_within(hashes, members, radius)
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 3), np.int64)
    return pairs[:, 0], pairs[:, 1], pairs[:, 2]


def _pairs_within(hashes: np.ndarray, members: np.ndarray, radius: int) -> list[np.ndarray]:
    found = []
    for start in range(0, len(members) - 1, CHUNK):
        rows = members[start : start + CHUNK]
        others = members[start:]
        bits = np.bitwise_count(hashes[rows][:, None] ^ hashes[others][None])
        i, j = np.nonzero(np.triu(bits <= radius, 1))
        if len(i):
            ends = np.stack([rows[i], others[j]], 1)
            found.append(np.column_stack([ends.min(1), ends.max(1), bits[i, j]]).astype(np.int64))
    return found


def groups(count: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """(count,) int64: for each element the smallest one that the pairs (i, j) connect it with, itself if none."""
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
    if len(others):
        for start in range(0, len(hashes), CHUNK):
            rows = hashes[start : start + CHUNK]
            for other in range(0, len(others), CHUNK):
                bits = np.bitwise_count(rows[:, None] ^ others[None, other : other + CHUNK]).min(1)
                nearest[start : start + CHUNK] = np.minimum(nearest[start : start + CHUNK], bits)
    return nearest
