"""Several datasets as one, each with its weight, with labels converted to common sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from opensapiens.data.label_kinds import PARTS
from opensapiens.data.order import sample_index, sample_seed
from opensapiens.data.sample import Sample
from opensapiens.labels.keypoint_maps import convert_keypoints
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet, part_lookup

BLOCK = 1000  # positions in which every source has exactly its share


class Samples(Protocol):
    """A sequence of samples: shards, a COCO file, folders, a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True)
class Source:
    """One dataset of a mixture.

    weight: relative to the sum of all weights. renamed_parts: {class in this set: class in the mixture's} for different
    names.
    """

    samples: Samples
    weight: float = 1.0
    renamed_parts: Mapping[str, str] = field(default_factory=dict)


class Mixture:
    """Samples from several sources by weight; the order depends only on the position and the seed.

    Points that a source's keypoint set lacks become unlabeled, classes that the mixture's part set lacks "ignore".
    `len` and `[i]`, for validation, concatenate the sources; training uses `sample_at`. Raises ValueError for an empty
    source, or a weight that is not positive or too small.
    """

    def __init__(
        self, sources: Sequence[Source], keypoint_set: KeypointSet | None = None, part_set: PartSet | None = None
    ) -> None:
        """keypoint_set, part_set: of all samples; None leaves them as they are."""
        weights = np.array([source.weight for source in sources], np.float64)
        if not len(sources) or not (weights > 0).all() or not np.isfinite(weights).all():
            raise ValueError(f"a mixture needs sources with weights above 0, got {weights.tolist()}")
        if empty := [number for number, source in enumerate(sources) if len(source.samples) == 0]:
            raise ValueError(f"source {empty[0]} of the mixture holds no sample")
        self.sources, self.keypoint_set, self.part_set = tuple(sources), keypoint_set, part_set
        self.counts = _shares(weights)
        self._ends = np.cumsum([len(source.samples) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        """Sample `index` of the concatenated sources."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._sample(number, index - int(self._ends[number]) + len(self.sources[number].samples))

    def at(self, position: int, seed: int) -> Sample:
        """The sample at a position of training; see `place`."""
        return self._sample(*self.place(position, seed))

    def place(self, position: int, seed: int) -> tuple[int, int]:
        """Source and index in it at a position.

        Every block of 1000 positions holds each source exactly by its weight, in random order; each source is traversed
        in random permutations.
        """
        block, at = divmod(position, BLOCK)
        order = _order(block, self.counts, seed)
        number = int(order[at])
        rank = block * self.counts[number] + int((order[:at] == number).sum())
        return number, sample_index(rank, len(self.sources[number].samples), sample_seed(number, seed))

    def _sample(self, number: int, index: int) -> Sample:
        source = self.sources[number]
        sample = source.samples[index]
        if self.keypoint_set is not None and sample.keypoint_set is not self.keypoint_set:
            sample = replace(sample, keypoints=_converted(sample, self.keypoint_set), keypoint_set=self.keypoint_set)
        if self.part_set is not None and sample.part_set is not self.part_set:
            table = part_lookup(sample.part_set, self.part_set, source.renamed_parts)
            labels = dict(sample.labels)
            if sample.parts is not None:
                labels[PARTS] = table[sample.parts]
            sample = replace(sample, labels=labels, part_set=self.part_set)
        return sample


def sample_at(data: Samples | Mixture, position: int, seed: int) -> Sample:
    """The sample at a position of training: by weight from a mixture, else by permutations of the whole."""
    if isinstance(data, Mixture):
        return data.at(position, seed)
    return data[sample_index(position, len(data), seed)]


def _converted(sample: Sample, target: KeypointSet) -> np.ndarray | None:
    if sample.keypoints is None:
        return None
    points, visibility = convert_keypoints(sample.keypoints[:, :2], sample.keypoints[:, 2], sample.keypoint_set, target)
    return np.column_stack([points, visibility]).astype(np.float32)


def _shares(weights: np.ndarray) -> tuple[int, ...]:
    """Positions of a block for each source, by the largest remainders."""
    exact = weights / weights.sum() * BLOCK
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: BLOCK - counts.sum()]] += 1
    if (counts == 0).any():
        raise ValueError(f"weights {weights.tolist()}: the smallest comes less than once in {BLOCK} samples")
    return tuple(counts.tolist())


@lru_cache(maxsize=16)
def _order(block: int, counts: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng((seed, 3, block)).permutation(np.repeat(np.arange(len(counts)), counts))
