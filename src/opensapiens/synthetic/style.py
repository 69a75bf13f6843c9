"""What a set of synthetic frames is like. Apart from the rest so that it can be read without a renderer installed."""

from dataclasses import dataclass

GENERATOR_VERSION = 2
"""The same seed and style give the same frames only with the same version."""
FRAMES_PER_BATCH = 16
"""Frames whose bodies are evaluated together, and frames of one scan in a row."""


@dataclass(frozen=True)
class Style:
    """What a set of frames is like.

    size (h, w) pixels; people: chance of 1, 2, ... in a frame; framing: chances of whole body, upper body, face, and a
    close look at any part; height: range of the whole body's height over the frame's when all of it is wanted;
    off_center: chance that the frame cuts through the person; occluders: how often things are in front: furniture with
    0.6 of this chance, boxes and balls in the air with 0.2 of it.
    """

    size: tuple[int, int] = (320, 256)
    people: tuple[float, ...] = (0.55, 0.2, 0.1, 0.06, 0.04, 0.02, 0.02, 0.01)
    framing: tuple[float, float, float, float] = (0.5, 0.28, 0.1, 0.12)
    height: tuple[float, float] = (0.5, 0.97)
    off_center: float = 0.2
    occluders: float = 0.35
