"""Clusters of images that look alike, and a choice that is balanced over them."""

from __future__ import annotations

import numpy as np
import torch

SAMPLE = 100_000  # images that the centers are found on
ROUNDS = 15
CHUNK = 4096


def cluster_centers(vectors: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(count, D) float32 unit vectors: the centers of k-means on the sphere of (N, D) unit vectors.

    Starts from distinct random images; a center that loses all its images moves to the image that fits worst.
    """
    generator = np.random.default_rng(seed)
    if len(vectors) > SAMPLE:
        vectors = vectors[np.sort(generator.choice(len(vectors), SAMPLE, replace=False))]
    data = torch.from_numpy(np.ascontiguousarray(vectors, np.float32))
    centers = data[np.sort(generator.choice(len(data), min(count, len(data)), replace=False))]
    for _ in range(ROUNDS):
        label, fit = map(torch.from_numpy, nearest(vectors, centers.numpy()))
        sums = torch.zeros_like(centers).index_add_(0, label, data)
        empty = torch.bincount(label, minlength=len(centers)) == 0
        sums[empty] = data[fit.argsort()[: int(empty.sum())]]
        centers = torch.nn.functional.normalize(sums, dim=1)
    return centers.numpy()


def nearest(vectors: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of the center with the largest cosine to each of (N, D) unit vectors, (N,) int64, and that cosine."""
    labels, fits = [], []
    for start in range(0, len(vectors), CHUNK):
        chunk = torch.from_numpy(vectors[start : start + CHUNK].astype(np.float32))
        fit, label = (chunk @ torch.from_numpy(centers).T).max(1)
        labels.append(label.numpy())
        fits.append(fit.numpy())
    return np.concatenate(labels), np.concatenate(fits)


def cosine_to_better(vectors: np.ndarray, rank: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) float32: the largest cosine between each image and a better one of its cluster, −1 if it is the best.

    rank: (N,) distinct numbers, smaller is better.
    """
    largest = np.full(len(vectors), -1, np.float32)
    order = np.lexsort((rank, labels))
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        data = vectors[members].astype(np.float32)
        for start in range(0, len(members), CHUNK):
            cosines = data[start : start + CHUNK] @ data[: start + CHUNK].T
            allowed = np.tril(np.ones_like(cosines, bool), start - 1)
            largest[members[start : start + CHUNK]] = np.where(allowed, cosines, -1).max(1, initial=-1)
    return largest


def balanced_choice(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices, in rising order, of `count` images drawn as evenly over the clusters as these allow.

    Small clusters are taken whole, large ones cut to one size. labels: (N,) cluster of each image, N at least `count`.
    """
    shuffled = np.random.default_rng((seed, 7)).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sorted_labels = labels[by_label]
    starts = np.flatnonzero(np.r_[True, np.diff(sorted_labels) != 0])
    place = np.arange(len(labels)) - np.repeat(starts, np.diff(np.r_[starts, len(labels)]))
    # The first of every cluster, then the second of every cluster that has one, and so on until there are enough.
    chosen = by_label[np.lexsort((np.argsort(shuffled)[by_label], place))[:count]]
    return np.sort(chosen)
