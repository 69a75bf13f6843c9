"""What a format is: which files it writes for a photo, for each frame of a video, and for a whole video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from opensapiens.inference.results import Result
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.tasks.task import Writer

Files = dict[str, Writer]
"""Endings of file names, after NAME_ or inside a folder -> a function that writes the file."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo's result. file_name: what files call the photo. point_cloud: focal length in pixels, and the distances of
    the nearest and the farthest point, for point clouds of relative depth."""

    result: Result
    file_name: str
    point_cloud: tuple[float, float, float] | None = None

    @cached_property
    def overlays(self) -> dict[str, np.ndarray]:
        """One picture per task; drawn once, for all formats that show them."""
        return self.result.overlays()


@dataclass(frozen=True, eq=False)
class Frame:
    """The result of a video's frame. number: from 0. name: of the video's outputs. overlay: what is drawn over it, see
    `VideoOptions`."""

    result: Result
    number: int
    name: str
    overlay: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class VideoPeople:
    """The people of a video, read from the disk some frames at a time, since a long one does not fit into memory.

    file_name: what files call the video. detector: the name of what found the people. complete: whether the video was
    predicted to its end. contents: gives an iterator over pieces {"images": [...], "annotations": [...]}, in COCO's
    form with "frame", "seconds" and "person_id".
    """

    file_name: str
    rate: Fraction
    keypoint_set: KeypointSet | None
    detector: str
    complete: bool
    contents: Callable[[], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class Format:
    """One kind of file, for one kind of reader.

    photo, frame, video: what is written for a photo, for each frame of a video (into the folder NAME_<folder>), and
    once for a video; None where the format has no such file. pictures: of a frame, by name; the pictures of a name
    become the video NAME_<name>.mp4. inside: a regular expression of the names of files in the folder, which a new run
    removes first, or those of a longer clip would stay. needs: names of tasks; the format needs one of them.
    endings: of all files that may be written, after NAME_, except those of task maps. library: imports what the format
    needs; raises ModuleNotFoundError that says how to install it.
    """

    photo: Callable[[Photo], Files] | None = None
    frame: Callable[[Frame], Files] | None = None
    video: Callable[[VideoPeople], Files] | None = None
    pictures: Callable[[Frame], dict[str, np.ndarray]] | None = None
    folder: str = ""
    inside: str = ""
    needs: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    library: Callable[[], ModuleType] | None = None

    @property
    def is_of_videos(self) -> bool:
        """Whether there is anything to write for a video."""
        return not (self.frame is None and self.video is None and self.pictures is None)


def missing_library(module: str, what: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error of a library that is not installed. what: needs it, in the plural."""
    return ModuleNotFoundError(f"{what} need {module}: pip install opensapiens[formats]", name=module)
