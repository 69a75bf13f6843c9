"""People rendered during training instead of read from files."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opensapiens.data.label_kinds import MASK
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardDataset
from opensapiens.synthetic.style import Style

if TYPE_CHECKING:
    from opensapiens.synthetic.environment import Surroundings
    from opensapiens.synthetic.frame import Frame
    from opensapiens.synthetic.people_renderer import PeopleRenderer

ATTEMPTS = 20
"""Frames tried for one sample, since everybody may be hidden in a frame."""


class SyntheticPeople:
    """A sequence of samples, each rendered when it is asked for; sample i is a pure function of (seed, i).

    It can be passed to loader processes: each loads the body model once, for its first sample. A sample has the same
    bits in every process on a machine. Frame i equals that of the shards of the same seed, except for the last bits of
    its geometry and JPEG compression; if it shows several people, one of them is chosen at random.
    """

    def __init__(
        self, seed: int, count: int, style: Style | None = None, surroundings: "Surroundings | None" = None
    ) -> None:
        """Raises ValueError for a count below 1."""
        if count < 1:
            raise ValueError(f"{count} samples: need at least one")
        self.seed, self.count, self.style, self.surroundings = seed, count, style or Style(), surroundings

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Sample `index`. Raises IndexError past the end, ModuleNotFoundError without the extra "synthetic"."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Several samples, as PyTorch's loaders ask for a batch."""
        import torch

        for index in indices:
            if not 0 <= index < self.count:
                raise IndexError(f"sample {index} of {self.count}")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the number of threads changes the last bits of sums
        try:
            return [self._sample(_renderer(self.surroundings), index) for index in indices]
        finally:
            torch.set_num_threads(threads)

    def _sample(self, renderer: "PeopleRenderer", index: int) -> Sample:
        for attempt in range(ATTEMPTS):
            numbers = (self.seed, index) if attempt == 0 else (self.seed, index, 2, attempt)
            frame = next(renderer.frames_of([numbers], self.style, batch=1))
            if persons := frame.record["persons"]:
                chosen = int(np.random.default_rng([*numbers, 3]).integers(len(persons)))
                return sample_of(frame, chosen, f"synthetic:{self.seed}/{index}#{chosen + 1}")
        raise RuntimeError(
            f"sample {index}: nobody was visible in {ATTEMPTS} frames; choose a style that shows more of people"
        )


@functools.lru_cache(maxsize=1)
def _renderer(surroundings: "Surroundings | None") -> "PeopleRenderer":
    from opensapiens.synthetic.people_renderer import PeopleRenderer

    return PeopleRenderer(surroundings)


def sample_of(frame: "Frame", person: int, key: str) -> Sample:
    """One person's labels of a frame, as ShardDataset crops them from a shard."""
    record = frame.record["persons"][person]
    mask = frame.instances == record["id"]
    points = record["keypoints"]
    return Sample(
        image=frame.image,
        key=key,
        box=np.array(record["box"], np.float32),
        keypoints=None if points is None else np.array(points, np.float32),
        labels={MASK: mask, **{kind: _masked(values, mask, kind.outside) for kind, values in frame.labels.items()}},
    )


def _masked(values: np.ndarray, mask_HW: np.ndarray, outside: float) -> np.ndarray:
    masked = values.copy()
    masked[~mask_HW] = outside
    return masked


def open_people(source: Path | str) -> "ShardDataset | SyntheticPeople":
    """Opens what `--data` names: a folder of shards, or synthetic:SEED:COUNT for people rendered during training.

    Raises ShardError for a folder without shards, ValueError for a malformed seed or count.
    """
    words = str(source).split(":")
    if words[0] != "synthetic" or Path(source).exists():
        return ShardDataset(source)
    if len(words) != 3 or not all(word.isdigit() for word in words[1:]):
        raise ValueError(f"{source}: expected synthetic:SEED:COUNT with two whole numbers")
    return SyntheticPeople(int(words[1]), int(words[2]))
