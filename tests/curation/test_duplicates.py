"""Near-duplicates are found exactly, and clusters are balanced."""

from __future__ import annotations

import numpy as np
import pytest

from opensapiens.curation.clusters import balanced_choice, cluster_centers, cosine_to_better, nearest
from opensapiens.curation.duplicates import FAR, distance_to_better, distance_to_set, groups, near_pairs


def test_pairs_are_those_that_comparing_all_with_all_finds() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 300, dtype=np.uint64)
    for i in range(0, 200, 2):  # every second one is another with up to 12 bits turned over
        flips = random.choice(64, int(random.integers(0, 13)), replace=False)
        hashes[i + 1] = hashes[i] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64), initial=np.uint64(0))
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = {(i, j, int(bits[i, j])) for i, j in zip(*np.nonzero(np.triu(bits <= 10, 1)), strict=True)}
    assert len(expected) > 50
    assert set(zip(*(part.tolist() for part in near_pairs(hashes)), strict=True)) == expected


def test_no_pairs() -> None:
    for hashes in (np.empty(0, np.uint64), np.array([7], np.uint64), np.array([0, 2**64 - 1], np.uint64)):
        assert [len(part) for part in near_pairs(hashes)] == [0, 0, 0]


def test_groups_and_distance_to_better() -> None:
    i, j, bits = np.array([0, 1, 3]), np.array([1, 2, 4]), np.array([2, 5, 9])
    assert groups(6, i, j).tolist() == [0, 0, 0, 3, 3, 5]
    rank = np.array([2, 1, 0, 4, 3, 5])  # of 0, 1, 2 the last is the best; of 3, 4 too
    assert distance_to_better(rank, i, j, bits).tolist() == [2, 5, FAR, 9, FAR, FAR]


def test_distance_to_a_set() -> None:
    hashes = np.array([0, 1, 0xFF], np.uint64)
    assert distance_to_set(hashes, np.array([0x7F, 2**63], np.uint64)).tolist() == [1, 2, 1]
    assert distance_to_set(hashes, np.empty(0, np.uint64)).tolist() == [FAR] * 3


def vectors_around(centers: np.ndarray, each: int, seed: int = 0) -> np.ndarray:
    noisy = np.repeat(centers, each, 0) + 0.05 * np.random.default_rng(seed).normal(size=(len(centers) * each, 3))
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


def test_clusters_are_found() -> None:
    vectors = vectors_around(np.eye(3), 20)
    centers = cluster_centers(vectors, 3)
    labels, fit = nearest(vectors, centers)
    assert [len(set(labels[start : start + 20].tolist())) for start in (0, 20, 40)] == [1, 1, 1]
    assert len(set(labels.tolist())) == 3
    assert fit.min() > 0.9
    assert np.array_equal(centers, cluster_centers(vectors, 3))


def test_cosine_to_a_better_one_of_the_cluster() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32)
    rank = np.array([3, 0, 1, 2])
    found = cosine_to_better(vectors, rank, np.array([0, 0, 0, 0]))
    assert found == pytest.approx([1, -1, 0, 0.8])
    assert cosine_to_better(vectors, rank, np.array([0, 1, 2, 2])) == pytest.approx([-1, -1, -1, 0.8])


def test_a_balanced_choice_takes_small_clusters_whole() -> None:
    labels = np.array([0] * 100 + [1] * 3 + [2] * 50)
    chosen = balanced_choice(labels, 33, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [15, 3, 15]
    assert len(set(chosen.tolist())) == 33
    assert np.array_equal(chosen, balanced_choice(labels, 33, seed=0))
    assert not np.array_equal(chosen, balanced_choice(labels, 33, seed=1))
