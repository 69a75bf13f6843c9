"""The style of a set of synthetic frames; can be imported without a renderer."""

from dataclasses import dataclass

GENERATOR_VERSION = 3
"""Frames are a function of seed, style and this version."""
FRAMES_PER_BATCH = 16
"""Frames whose bodies are evaluated together, and frames of a scan in a row."""


@dataclass(frozen=True)
class Style:
    """The style of a set of frames.

    size (h, w) pixels; people: chances of 1, 2, ... people in a frame; framing: chances of whole body, upper body,
    face, and a close-up of any part; height: range of the body's height as a share of the frame's, if the whole body is
    framed; off_center: chance that the person is moved off the center, where the frame may truncate it; occluders: rate
    of things in front of people; the chance of furniture is 0.6 times this rate, that of floating boxes and balls 0.2
    times.
    """

    size: tuple[int, int] = (320, 256)
    people: tuple[float, ...] = (0.55, 0.2, 0.1, 0.06, 0.04, 0.02, 0.02, 0.01)
    framing: tuple[float, float, float, float] = (0.5, 0.28, 0.1, 0.12)
    height: tuple[float, float] = (0.5, 0.97)
    off_center: float = 0.2
    occluders: float = 0.35
