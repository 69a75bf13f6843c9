"""A video's results on disk: written in segments, so that an interrupted run keeps its results and can be resumed.

While it runs there is a folder NAME_segments: for every 60 frames an overlay video and a JSON file with the people and
the state of the tracker, both renamed to their final names when they are complete. At the end, and when the run is
interrupted, they are joined into the output files. A resumed run continues after the last complete segment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.inference.detection import detector_name
from opensapiens.inference.formats import FORMATS, formats_of
from opensapiens.inference.formats.format import Frame, VideoPeople
from opensapiens.inference.options import PredictOptions
from opensapiens.inference.output import described_models
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import SCORE_THRESHOLD, Result
from opensapiens.inference.runtimes import runtime_of
from opensapiens.inference.tracking import Tracker
from opensapiens.inference.video import SEGMENT, PredictedFrame, new_tracker, tracked_frames, usual_interval
from opensapiens.storage.files import written
from opensapiens.storage.folders import claim, clear, discard
from opensapiens.storage.json_files import read_json
from opensapiens.storage.progress import progress
from opensapiens.storage.videos import frame_count_and_rate, open_for_writing, open_video, pyav

QUALITY = {"crf": "20"}
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
) -> VideoSummary:
    """Predict a video and write NAME_overlay.mp4 (pose, or else the first task there is), NAME_keypoints.json (COCO,
    one image per frame, with "person_id") and what the options ask for. file_name: what the keypoints call the video,
    by default the name of the file.

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
        self.has_overlay = FORMATS["overlay"] in self.formats
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
        self.size: tuple[int, int] | None = None  # of the overlay: height and width
        self.open: tuple[Any, Any] | None = None
        self.content: dict[str, Any] = {}
        self.annotations = 0

    def begin(self, resume: bool) -> int:
        """Make the folder; the number of frames in the complete segments of an earlier run."""
        if not resume:
            clear(self.segments, SEGMENTS)
        frames = 0
        if claim(self.segments, SEGMENTS, self.about):
            for leftover in list(self.segments.glob("*.part*")):
                leftover.unlink()
            for content in self._contents():
                frames += len(content["images"])
                self.annotations += len(content["annotations"])
                self.size = tuple(content["size"])
        return frames

    def last_state(self) -> dict[str, Any]:
        """The tracker after the last whole segment."""
        *_, last = self._contents()
        return last["tracker"]

    def add(self, frame: PredictedFrame, tracker: Tracker) -> None:
        """Write one frame; after the last frame of a segment, complete the segment."""
        if not self.content:
            self._open_segment(frame)
        if self.has_overlay:
            self._encode(frame.result)
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
        for one in self.formats:
            if one.frame is not None:
                for file, write in one.frame(Frame(frame.result, frame.number, self.name)).items():
                    write(self.folder / f"{self.name}_{one.folder}" / file)
        if frame.number % SEGMENT == SEGMENT - 1:
            self.close_segment(tracker, whole=True)

    def close_segment(self, tracker: Tracker, whole: bool) -> None:
        """Close the files of the open segment, if there is one; only a whole one gets its final names."""
        if not self.content:
            return
        if self.open is not None:
            container, stream = self.open
            container.mux(stream.encode())
            container.close()
        part = self._part()
        self.content["tracker"] = tracker.state()
        part.with_suffix(".json").write_text(json.dumps(self.content, separators=(",", ":")), encoding="utf-8")
        if whole:
            endings = (".mp4", ".json") if self.open is not None else (".json",)
            for ending in endings:  # the JSON last: where it is, the segment is whole
                part.with_suffix(ending).replace(self._stem().with_suffix(ending))
        self.open, self.content = None, {}

    def join(self, complete: bool) -> VideoSummary:
        """Join the segments; those of a complete video are deleted."""
        segments = self._paths()
        files: list[Path] = []
        if segments and self.has_overlay:
            files.append(self.folder / f"{self.name}_overlay.mp4")
            _join_videos([path.with_suffix(".mp4") for path in segments], files[-1], self.rate)
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

    def _open_segment(self, frame: PredictedFrame) -> None:
        if self.size is None:
            height, width = frame.result.image.shape[:2]
            self.size = height - height % 2, width - width % 2  # H.264 takes even sizes only
        self.content = {"first": frame.number, "size": self.size, "images": [], "annotations": []}
        if not self.has_overlay:
            return
        container = open_for_writing(self._part().with_suffix(".mp4"))
        stream = container.add_stream("h264", rate=self.rate, options=QUALITY)
        stream.height, stream.width = self.size
        stream.pix_fmt = "yuv420p"
        self.open = container, stream

    def _encode(self, result: Result) -> None:
        assert self.open is not None and self.size is not None
        container, stream = self.open
        tasks = result.tasks()
        picture = result.overlay(tasks[0]) if tasks else result.image
        height, width = self.size
        if picture.shape[0] - height not in (0, 1) or picture.shape[1] - width not in (0, 1):
            picture = cv2.resize(picture, (width, height))  # the frames of the video change size
        frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        container.mux(stream.encode(frame))

    def _stem(self) -> Path:
        return self.segments / f"{self.content['first'] // SEGMENT:06d}"

    def _part(self) -> Path:
        return self.segments / f"{self._stem().name}.part.x"

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


def _join_videos(parts: list[Path], path: Path, rate: Fraction) -> None:
    """The packets of several videos of one size in one file, without encoding them again."""
    with written(path) as unfinished, open_for_writing(unfinished) as joined:
        target, frames = None, 0
        for part in parts:
            with open_video(part) as container:
                source: Any = container.streams.video[0]
                target = target or joined.add_stream_from_template(source)
                offset = round(frames / rate / source.time_base)
                for packet in container.demux(source):
                    if packet.dts is None:  # the empty one that ends the stream
                        continue
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = target
                    joined.mux(packet)
                frames += source.frames
