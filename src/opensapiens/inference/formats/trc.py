"""`trc`: points over time, one file per person, as OpenSim and Pose2Sim read it (Motion Analysis's text format).

Of a video they are 2D: X and Y in pixels from the center of the lowest left pixel, Y up, Z 0, unit "px". The rigs of
`opensapiens annotate` give 3D ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.inference.formats.format import Files, Format, VideoPeople
from opensapiens.storage.files import written
from opensapiens.tasks.pose import PoseTask

FOLDER = "trc"


def header(file_name: str, names: Sequence[str], frames: int, rate: float, unit: str) -> str:
    """The lines before the first frame; the last is empty. names: of the points; rate: frames per second."""
    fields = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames"
    values = (f"{rate:g}", f"{rate:g}", frames, len(names), unit, f"{rate:g}", 1, frames)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{file_name}",
        "\t".join(fields.split()),
        "\t".join(map(str, values)),
        "\t".join(["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))]),
        "\t".join(["", "", *(f"{axis}{k}" for k in range(1, len(names) + 1) for axis in "XYZ")]),
        "",
    ]
    return "\n".join(lines) + "\n"


def line(number: int, seconds: float, points_K3: np.ndarray) -> str:
    """A frame, counted from 1; NaN becomes an empty cell, which readers take for missing."""
    cells = [f"{value:.6f}" if np.isfinite(value) else "" for value in points_K3.ravel().tolist()]
    return "\t".join([str(number), f"{seconds:.6f}", *cells]) + "\n"


def write_trc(path: Path, points_FK3: np.ndarray, names: Sequence[str], rate: float, unit: str) -> None:
    """One person's points as they are, y up; NaN is missing. rate: frames per second. Raises OSError."""
    with written(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(header(path.name, names, len(points_FK3), rate, unit))
        file.writelines(line(number, (number - 1) / rate, row) for number, row in enumerate(points_FK3, start=1))


def _of_video(video: VideoPeople) -> Files:
    """person_1.trc, …, in a folder. Each has the frames from the first to the last in which the person was found, with
    the numbers (counted from 1) and times that they have in the video."""
    return {FOLDER: lambda folder: _write_people(folder, video)}


def _write_people(folder: Path, video: VideoPeople) -> None:
    assert video.keypoint_set is not None
    names = video.keypoint_set.names
    span: dict[int, tuple[int, int]] = {}  # first and last frame of each person
    for content in video.contents():
        for person, frame, _ in _found(content):
            span[person] = (span.get(person, (frame, frame))[0], frame)
    empty = np.full((len(names), 3), np.nan)
    with ExitStack() as stack:
        parts = {person: stack.enter_context(written(folder / f"person_{person}.trc")) for person in span}
        for person, (first, last) in span.items():
            text = header(f"person_{person}.trc", names, last - first + 1, float(video.rate), "px")
            parts[person].write_text(text, encoding="utf-8", newline="\n")
        for content in video.contents():
            here: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
            for person, frame, points in _found(content):
                here[person][frame] = points
            for person, (first, last) in span.items():
                with parts[person].open("a", encoding="utf-8", newline="\n") as file:
                    for image in content["images"]:
                        if first <= image["frame"] <= last:
                            points = here[person].get(image["frame"], empty)
                            file.write(line(image["frame"] + 1, image["seconds"], points))


def _found(content: dict[str, Any]) -> Iterator[tuple[int, int, np.ndarray]]:
    """(person's id, frame from 0, points (K, 3)) of the people in a piece of a video; NaN where not found."""
    images = {image["id"]: image for image in content["images"]}
    annotations: Iterable[dict[str, Any]] = content["annotations"]
    for annotation in annotations:
        if "keypoints" not in annotation:
            continue
        image = images[annotation["image_id"]]
        x, y, seen = np.array(annotation["keypoints"], float).reshape(-1, 3).T
        points = np.column_stack([x, image["height"] - 1 - y, np.zeros(len(x))])
        yield annotation["person_id"], image["frame"], np.where(seen[:, None] > 0, points, np.nan)


TRC = Format(video=_of_video, folder=FOLDER, inside=r"person_\d+\.trc", needs=(PoseTask.name,))
