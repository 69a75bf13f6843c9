"""What the caller has on disk: photos and videos, single or in folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jfif", ".ppm", ".avif"}
VIDEO_ENDINGS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


def is_video(path: Path) -> bool:
    """Whether a file's name says that it is a video."""
    return path.suffix.lower() in VIDEO_ENDINGS


def find_inputs(inputs: Iterable[str | Path]) -> list[Path]:
    """The files named, and of each folder named the photos and videos in it (not in folders below), in the order of
    their names.

    Hidden files are left out. Raises FileNotFoundError for an input that does not exist and for a folder without any
    photo or video.
    """
    found: list[Path] = []
    for given in map(Path, inputs):
        if given.is_dir():
            endings = IMAGE_ENDINGS | VIDEO_ENDINGS
            inside = [
                path for path in sorted(given.iterdir()) if path.suffix.lower() in endings and path.name[0] != "."
            ]
            if not inside:
                raise FileNotFoundError(f"no photo or video in the folder {given}")
            found += [path for path in inside if path.is_file()]
        elif given.exists():
            found.append(given)
        else:
            raise FileNotFoundError(f"no such file or folder: {given}")
    return found
