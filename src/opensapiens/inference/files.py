"""Photos and videos on disk, named one by one or by their folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from opensapiens.storage.listing import Listing, list_files, passed_over_sentence
from opensapiens.storage.pictures import IMAGE_ENDINGS
from opensapiens.storage.videos import VIDEO_ENDINGS


def is_video(path: Path) -> bool:
    """Whether a file's name says that it is a video."""
    return path.suffix.lower() in VIDEO_ENDINGS


def find_inputs(inputs: Iterable[str | Path]) -> Listing:
    """The given files, and the photos and videos in each given folder (not in its subfolders), in the order of their
    names.

    Hidden files are skipped. Raises FileNotFoundError for an input that does not exist and for a folder without any
    photo or video.
    """
    listing = Listing()
    for given in map(Path, inputs):
        if given.is_dir():
            inside = list_files(given, (*IMAGE_ENDINGS, *VIDEO_ENDINGS), below=False)
            if not inside.files:
                why = passed_over_sentence(inside.passed_over)
                raise FileNotFoundError(f"no photo or video in the folder {given}" + (f": {why}" if why else ""))
            listing.files.extend(inside.files)
            listing.passed_over.update(inside.passed_over)
        elif given.exists():
            listing.files.append(given)
        else:
            raise FileNotFoundError(f"no such file or folder: {given}")
    return listing
