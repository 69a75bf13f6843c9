"""The synthetic people that scores are measured on and nothing is trained on."""

from pathlib import Path

from opensapiens.synthetic.style import Style
from opensapiens.synthetic.synthesize import synthesize

SEED = 9_000_001
FRAMES = 365
STYLE = Style(
    size=(384, 512),
    people=(0.1, 0.15, 0.2, 0.2, 0.15, 0.1, 0.06, 0.04),
    framing=(0.7, 0.18, 0.04, 0.08),
    height=(0.14, 0.98),
    off_center=1.0,
    occluders=5.0,
)
"""Small people in crowds, always something in front of one, none centered: harder than what is trained on."""


def holdout_people(out: Path | str, workers: int = 2) -> Path:
    """Writes the hold-out as shards to `out`: 365 frames with 1,000 people. Do not train on seed 9,000,001."""
    return synthesize(FRAMES, out, SEED, workers, STYLE)
