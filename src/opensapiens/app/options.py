"""The options of `opensapiens app`, and the limits of its page. Imports no torch: --help reads it."""

from __future__ import annotations

from dataclasses import dataclass

from opensapiens.inference.options import Models

MOST_FILES = 20  # of one go
LARGEST_FILE = 200  # megabytes
LONGEST_VIDEO = 60.0  # seconds
LONGEST_SIDE = 1600  # pixels; larger photos are scaled down, since the page keeps them in memory


@dataclass(frozen=True)
class AppOptions:
    """What the page predicts with, and where it is.

    Args:
        model: the name or folder of a model; repeat the option for several. Each task is done by the first model that
            has a head for it; the page offers them together and each alone.
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        port: of the page's address on this computer.
    """

    model: Models = ("nano",)
    device: str | None = None
    port: int = 7860
