"""The sets of synthetic people that nano is trained and judged on."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from opensapiens.synthetic.style import VERSION_1, Style
from opensapiens.synthetic.synthesize import synthesize

HOLDOUT_SEED = 1_000_001
HOLDOUT_FRAMES = 543
HOLDOUT = Style(
    size=(384, 512),
    people=(0.4, 0.3, 0.2, 0.1),
    framing=(0.74, 0.16, 0.04, 0.06),
    height=(0.14, 0.98),
    off_center=0.4,
    occluders=0.75,
    version=1,
)
"""Of generator version 1, for good, so that scores stay comparable.

Small people, crowds, things in front, frames that cut through bodies: harder than most of what is trained on."""

CLOSE = {
    1: replace(VERSION_1, framing=(0.2, 0.3, 0.25, 0.25)),
    2: replace(Style(), framing=(0.35, 0.3, 0.2, 0.15)),
}
"""By generator version: lips and teeth are learned where a face fills the picture."""


def training_people(out: Path, count: int = 10_240, seed: int = 1, workers: int = 2) -> Path:
    """Frames for training nano, 1.27 people each on average: `opensapiens synthesize`'s defaults."""
    return synthesize(count, out, seed, workers, Style())


def crowded_people(
    out: Path, version: Literal[1, 2] = 2, count: int = 1000, seed: int = 7_000_001, workers: int = 2
) -> Path:
    """More frames for training nano, in the hold-out's style by either version; two people each on average."""
    return synthesize(count, out, seed, workers, replace(HOLDOUT, version=version))


def close_people(
    out: Path, version: Literal[1, 2] = 2, count: int = 4096, seed: int = 7_200_001, workers: int = 2
) -> Path:
    """More frames for training nano, more of them of faces, upper bodies and what is near, by either version."""
    return synthesize(count, out, seed, workers, CLOSE[version])


def holdout_people(out: Path, workers: int = 2) -> Path:
    """The 1,001 people that scores are of. Never train on them, and never make them easier."""
    return synthesize(HOLDOUT_FRAMES, out, HOLDOUT_SEED, workers, HOLDOUT)
