"""A video's results on disk: written in segments, so that an interrupted run keeps its results and can be resumed.

While it runs there is a folder NAME_segments: for every 60 frames an overlay video and a JSON file with the people and
the state of the tracker, both renamed to their final names when they are complete. At the end, and when the run is
interrupted, they are joined into the output files. A resumed run continues after the last complete segment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.inference.detection import detector_name
from opensapiens.inference.encoding import Encoder, even, join_videos
from opensapiens.inference.formats import formats_of
from opensapiens.inference.formats.format import Frame, VideoPeople
from opensapiens.inference.options import PredictOptions
from opensapiens.inference.output import described_models
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import SCORE_THRESHOLD
from opensapiens.inference.runtimes import runtime_of
from opensapiens.inference.tracking import Tracker
from opensapiens.inference.video import SEGMENT, PredictedFrame, new_tracker, tracked_frames, usual_interval
from opensapiens.storage.folders import claim, clear, discard
from opensapiens.storage.json_files import read_json
from opensapiens.storage.progress import progress
from opensapiens.storage.videos import frame_count_and_rate

SEGMENTS = "segments of a video"  # the kind of the folder


@dataclass(frozen=True)
class VideoSummary:
    """The number of frames and of people (ids) of a video, and the files written. hidden: whether overlays show no
    keypoints, since all score too low."""

    frames: int
    people: int
    files: list[Path]
    hidden: bool = False


def record_video(
    people: People,
    path: str | Path,
    folder: Path,
    name: str,
    options: PredictOptions = PredictOptions(),
    file_name: str | None = None,
    on_frame: Callable[[PredictedFrame], None] | None = None,
) -> VideoSummary:
    """Predict a video and write NAME_overlay.mp4 (pose, or else the first task there is), NAME_keypoints.json (COCO,
    one image per frame, with "person_id") and what the options ask for. file_name: what the keypoints call the video,
    by default the name of the file. on_frame: called after each frame; what it raises interrupts the recording.

    After an error or an interruption, the frames before it are kept as a playable file. With options.resume the first
    incomplete segment is predicted again, and the result is the same as without a break. Raises VideoError, OSError,
    and FolderError for resuming a run of another video or other options, and for a folder NAME_segments that is not
    ours.
    """
    total, rate = frame_count_and_rate(path)
    recording = _Recording(people, Path(path), folder, name, options, rate, file_name or Path(path).name)
    first = recording.begin(options.resume)
    tracker = new_tracker(people, options.video.smooth)
    if first:
        tracker.restore(recording.last_state())
    every = options.video.detect_every or usual_interval(people.detector)
    tracked = tracked_frames(people, path, tracker, options.flip, every, first)
    bar = progress(None, Path(path).name, total, "frames", first, leave=False)
    try:
        with closing(tracked) as frames, bar:
            for frame in frames:
                recording.add(frame, tracker)
                bar.update()
                if on_frame is not None:
                    on_frame(frame)
        recording.close_segment(tracker, whole=True)
    except BaseException:
        recording.close_segment(tracker, whole=False)
        recording.join(complete=False)
        raise
    return recording.join(complete=True)


class _Recording:
    """The files of one video while they are written."""

    def __init__(
        self,
        people: People,
        path: Path,
        folder: Path,
        name: str,
        options: PredictOptions,
        rate: Fraction,
        file_name: str,
    ) -> None:
        self.folder, self.name, self.options, self.rate, self.file_name = folder, name, options, rate, file_name
        self.segments = folder / f"{name}_segments"
        self.formats = formats_of(options.formats_of_videos())
        self.keypoint_set = people.keypoint_set
        self.about = {
            "video": [str(path.resolve()), path.stat().st_size],
            **described_models(people),
            "runtimes": [runtime_of(loaded.network) if loaded.network is not None else "" for loaded in people.models],
            "detector": detector_name(people.detector),
            "batch_size": people.batch_size,
            "flip": options.flip,
            "format": options.format,
            **asdict(options.video),
        }
        self.path = path
        self.sizes: dict[str, tuple[int, int]] = {}  # of the videos that are made, height and width
        self.open: dict[str, Encoder] = {}
        self.content: dict[str, Any] = {}
        self.annotations = 0

    def begin(self, resume: bool) -> int:
        """Make the folder; the number of frames in the complete segments of an earlier run."""
        if not resume:
            clear(self.segments, SEGMENTS)
            self._remove_frames()
        frames = 0
        if claim(self.segments, SEGMENTS, self.about):
            for leftover in list(self.segments.glob("*.part*")):
                leftover.unlink()
            for content in self._contents():
                frames += len(content["images"])
                self.annotations += len(content["annotations"])
                self.sizes = {name: tuple(size) for name, size in content["sizes"].items()}
        return frames

    def _remove_frames(self) -> None:
        for one in self.formats:
            folder = self.folder / f"{self.name}_{one.folder}"
            for path in list(folder.iterdir()) if one.folder and folder.is_dir() else []:
                if re.fullmatch(one.inside, path.name):
                    path.unlink()

    def last_state(self) -> dict[str, Any]:
        """The tracker after the last whole segment."""
        *_, last = self._contents()
        return last["tracker"]

    def add(self, frame: PredictedFrame, tracker: Tracker) -> None:
        """Write one frame; after the last frame of a segment, complete the segment."""
        if not self.content:
            self.content = {"first": frame.number, "images": [], "annotations": []}
        height, width = frame.result.image.shape[:2]
        image_id = frame.number + 1
        self.content["images"].append(
            {
                "id": image_id, "file_name": f"{self.file_name}/{frame.number:06d}", "frame": frame.number,
                "seconds": round(frame.seconds, 6), "width": width, "height": height,
            }
        )  # fmt: skip
        for person in frame.result.persons:
            self.annotations += 1
            self.content["annotations"].append(person.to_coco(self.annotations, image_id))
        shown = Frame(frame.result, frame.number, self.name, self.options.video.overlay)
        for one in self.formats:
            if one.frame is not None:
                for file, write in one.frame(shown).items():
                    write(self.folder / f"{self.name}_{one.folder}" / file)
            if one.pictures is not None:
                self._encode(one.pictures(shown), frame.seconds)
        if frame.number % SEGMENT == SEGMENT - 1:
            self.close_segment(tracker, whole=True)

    def close_segment(self, tracker: Tracker, whole: bool) -> None:
        """Close the files of the open segment, if there is one; only a whole one gets its final names."""
        if not self.content:
            return
        for encoder in self.open.values():
            encoder.close()
        part = self._part()
        self.content |= {"tracker": tracker.state(), "sizes": self.sizes}
        part.write_text(json.dumps(self.content, separators=(",", ":")), encoding="utf-8")
        if whole:
            for name in self.open:
                _beside(part, name).replace(_beside(self._stem(), name))
            part.replace(self._stem())  # last: where it is, the segment is whole
        self.open, self.content = {}, {}

    def join(self, complete: bool) -> VideoSummary:
        """Join the segments; those of a complete video are deleted."""
        segments = self._paths()
        files = self._join_videos() if segments else []
        frames = people = 0
        shown = hidden = False
        for content in self._contents():
            frames += len(content["images"])
            people = max(people, content["tracker"]["next_id"] - 1)
            for annotation in content["annotations"]:
                best = max(annotation.get("keypoint_scores", []), default=None)
                hidden |= best is not None and best < SCORE_THRESHOLD
                shown |= best is not None and best >= SCORE_THRESHOLD
        if segments or complete:
            files += self._write_people(complete)
        if complete or not segments:
            discard(self.segments)
        return VideoSummary(frames, people, files, hidden and not shown)

    def _encode(self, pictures: dict[str, np.ndarray], seconds: float) -> None:
        """Add a picture to each video, at a time of the source."""
        for name, picture in pictures.items():
            if name not in self.open:
                size = self.sizes.setdefault(name, even(picture))
                self.open[name] = Encoder(_beside(self._part(), name), size, self.rate)
            self.open[name].add(picture, seconds - self.content["images"][0]["seconds"])

    def _join_videos(self) -> list[Path]:
        begins = {path: read_json(path)["images"][0]["seconds"] for path in self._paths()}
        files = []
        for name in self.sizes:
            files.append(self.folder / f"{self.name}_{name}.mp4")
            join_videos([(_beside(path, name), begin) for path, begin in begins.items()], files[-1], self.path)
        return files

    def _stem(self) -> Path:
        """The file of the open segment's people, when it is whole."""
        return self.segments / f"{self.content['first'] // SEGMENT:06d}.json"

    def _part(self) -> Path:
        return self._stem().with_suffix(".part.json")

    def _paths(self) -> list[Path]:
        return sorted(self.segments.glob("[0-9]*.json"))

    def _contents(self) -> Iterator[dict[str, Any]]:
        for path in self._paths():
            yield read_json(path)

    def _write_people(self, complete: bool) -> list[Path]:
        """What the formats write once for a video."""
        detector = str(self.about["detector"])
        people = VideoPeople(self.file_name, self.rate, self.keypoint_set, detector, complete, self._contents)
        made = [one.video(people) for one in self.formats if one.video is not None]
        files = {self.folder / f"{self.name}_{ending}": write for one in made for ending, write in one.items()}
        for path, write in files.items():
            write(path)
        return list(files)


def _beside(people: Path, name: str) -> Path:
    """The video of a segment, beside the file of its people."""
    return people.with_suffix(f".{name}.mp4")
