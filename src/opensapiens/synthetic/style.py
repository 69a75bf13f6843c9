"""What a set of synthetic frames is like. Apart from the rest so that it can be read without a renderer installed."""

from dataclasses import dataclass

FRAMES_PER_BATCH = 16
"""Frames whose bodies are evaluated together, and frames of one scan in a row."""


@dataclass(frozen=True)
class Style:
    """What a set of frames is like.

    size (h, w) pixels; people: chance of 1, 2, ... in a frame; framing: chances of whole body, upper body, face, and a
    close look at any part; height: range of the whole body's height over the frame's when all of it is wanted;
    off_center: chance that the frame cuts through the person; occluders: chance of things in front; version: of the
    generator, 1 or 2: the same seed and style give the same frames only with the same version.
    """

    size: tuple[int, int] = (320, 256)
    people: tuple[float, ...] = (0.55, 0.2, 0.1, 0.06, 0.04, 0.02, 0.02, 0.01)
    framing: tuple[float, float, float, float] = (0.5, 0.28, 0.1, 0.12)
    height: tuple[float, float] = (0.5, 0.97)
    off_center: float = 0.2
    occluders: float = 0.35
    version: int = 2


VERSION_1 = Style(
    people=(0.62, 0.26, 0.12), framing=(0.54, 0.24, 0.1, 0.12), height=(0.5, 0.97), occluders=0.4, version=1
)
"""The frames that version 1 made by default."""
