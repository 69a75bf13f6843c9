"""The synthetic people that scores are measured on and nothing is trained on."""

from pathlib import Path

from opensapiens.synthetic.style import Style
from opensapiens.synthetic.synthesize import synthesize

SEED = 9_000_001
FRAMES = 393
STYLE = Style(
    size=(384, 512),
    people=(0.15, 0.2, 0.2, 0.15, 0.15, 0.08, 0.04, 0.03),
    framing=(0.7, 0.18, 0.04, 0.08),
    height=(0.14, 0.98),
    off_center=0.8,
    occluders=1.6,
)
"""Small people, crowds, things in front, frames that cut through bodies: harder than what is trained on."""


def holdout_people(out: Path | str, workers: int = 2) -> Path:
    """Writes the hold-out as shards to `out`: 393 frames with 1,000 people. Do not train on seed 9,000,001."""
    return synthesize(FRAMES, out, SEED, workers, STYLE)
