"""What can be asked of `opensapiens synthesize` and of `make_set`. Imports no renderer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class SetError(ValueError):
    """Options that cannot be rendered."""


@dataclass(frozen=True)
class SynthesizeOptions:
    """A set of synthetic frames.

    Args:
        count: how many frames; each has one to eight people, or one scan.
        seed: another seed gives other frames.
        workers: processes; give as many as there are cores.
        size: height and width of the frames in pixels.
        scans: a folder of textured scans (.glb, .gltf, .obj, .ply) to render in place of our own people: image, mask,
            depth and normals; points and parts are not known of scans.
        environment: a folder of panoramas (.hdr) that light the people and stand behind them.
        backgrounds: a folder of photos without people to stand behind them.
        parameters: also record the camera's pose, body parameters and 3D points.
        folders: also write the frames here as folders of pictures, with COCO annotations of 17, 133 and 308 points.
        cutouts: also write each person here as a small frame of their own, in shards: training a small model on
            crops of people then reads its data in a third of the time.

    Raises:
        SetError: frames too small or too large.
    """

    count: int = 4096
    seed: int = 0
    workers: int = 1
    size: tuple[int, int] = (320, 256)
    scans: Path | None = None
    environment: Path | None = None
    backgrounds: Path | None = None
    parameters: bool = False
    folders: Path | None = None
    cutouts: Path | None = None

    def __post_init__(self) -> None:
        if min(self.size) < 16 or max(self.size) > 8192:
            raise SetError(f"frames of {self.size[0]}x{self.size[1]} pixels: 16 to 8192 can be rendered")
