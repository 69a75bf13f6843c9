"""Options of `opensapiens synthesize` and `make_set`. Imports no renderer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class SetError(ValueError):
    """Options that cannot be rendered."""


@dataclass(frozen=True)
class SynthesizeOptions:
    """A set of synthetic frames.

    Args:
        count: number of frames; each shows one to eight people, or one scan.
        seed: another seed gives other frames.
        workers: number of processes; best as many as there are cores.
        size: height and width of the frames in pixels.
        scans: a folder of textured scans (.glb, .gltf, .obj, .ply) to render in place of generated people. Their
            labels are mask, depth and normals; they have no points and no parts.
        environment: a folder of panoramas (.hdr) to use as light and background.
        backgrounds: a folder of photos without people to use as background.
        parameters: also record camera pose, body parameters and 3D points.
        all_labels: also write points in meters, alpha and albedo, for the tasks of Sapiens2.
        folders: also write the frames to this folder as single pictures, with COCO annotations of 17, 133 and 308
            points.
        cutouts: also write each person to this folder as a small frame, in shards. Training a small model on crops of
            people reads these three times as fast.

    Raises:
        SetError: for frames that are too small or too large.
    """

    count: int = 4096
    seed: int = 0
    workers: int = 1
    size: tuple[int, int] = (320, 256)
    scans: Path | None = None
    environment: Path | None = None
    backgrounds: Path | None = None
    parameters: bool = False
    all_labels: bool = False
    folders: Path | None = None
    cutouts: Path | None = None

    def __post_init__(self) -> None:
        if min(self.size) < 16 or max(self.size) > 8192:
            raise SetError(f"frames of {self.size[0]}x{self.size[1]} pixels: choose sides from 16 to 8192 pixels")
