"""One step of scoring: what turns pictures into scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opensapiens.curation.picture import Picture, Scores

Score = Callable[[Sequence[Picture]], list[Scores]]
"""The scores of each picture of a batch. Pure: the same in, the same out."""


@dataclass(frozen=True)
class Stage:
    """One step of scoring. Write your own and pass it on: `score(..., stages=[*default_stages(), your_stage])`.

    name, version: stored with the manifest; change the version when the scores change. columns: name -> Arrow type,
    followed by [] for a list. make: called once in each worker, for instance to load a model; the function that it
    returns gives one dictionary for each picture, with exactly these columns. full_size: it must see every pixel;
    others get a working copy. gpu: it is faster on a GPU.
    """

    name: str
    version: str
    columns: Mapping[str, str]
    make: Callable[[], Score]
    full_size: bool = False
    gpu: bool = False


def one_by_one(score: Callable[[Picture], Scores]) -> Score:
    """A function for one picture as one for a batch."""
    return lambda pictures: [score(picture) for picture in pictures]
