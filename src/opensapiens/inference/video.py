"""Videos: frames in, one result per frame, people keep their numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np

from opensapiens.inference.following import CutFinder, follow
from opensapiens.inference.pipeline import Frame, People
from opensapiens.inference.prefetch import prefetch
from opensapiens.inference.results import Result
from opensapiens.inference.tracking import Tracker
from opensapiens.storage.pictures import ImageError

SEGMENT = 60  # frames that are predicted, written and resumed as one; nothing but the tracker reaches beyond them
RESULTS_AHEAD = 2  # of the writer; a result of a large frame is tens of megabytes


class VideoError(ImageError):
    """A video that cannot be read; the message says which and why."""


@dataclass(eq=False)
class PredictedFrame:
    """One frame: its number from 0, its time in seconds, whether it begins a scene, and what is in it."""

    number: int
    seconds: float
    begins_scene: bool
    result: Result


def predict_video(
    people: People, path: str | Path, flip: bool | None = None, detect_every: int = 10, smooth: bool = False
) -> Iterator[Result]:
    """One result per frame, in order; a person keeps its id as long as boxes or poses overlap, across short gaps too.

    detect_every: the detector looks at every so many frames, at cuts and at the end of each 60 frames; in between
    people move on straight lines. smooth: One-Euro filter on the keypoints. Raises VideoError for a file that is not a
    readable video, ModuleNotFoundError without the extra "video".
    """
    tracker = new_tracker(people, smooth)
    for frame in prefetch(predicted_frames(people, path, flip, detect_every), RESULTS_AHEAD):
        tracker.update(frame.result.persons, frame.number, frame.seconds, frame.begins_scene)
        yield frame.result


def new_tracker(people: People, smooth: bool) -> Tracker:
    """A tracker for the keypoints of a pipeline."""
    pose = people.model_of_task.get("pose")
    keypoint_set = None if pose is None else pose.keypoint_set
    return Tracker(None if keypoint_set is None else keypoint_set.sigmas, smooth)


def predicted_frames(
    people: People, path: str | Path, flip: bool | None, detect_every: int, first: int = 0
) -> Iterator[PredictedFrame]:
    """Frames from number `first` on, a multiple of SEGMENT, with results whose ids mean nothing yet.

    Each segment is predicted for itself, in the same batches whatever came before.
    """
    frames = enumerate(prefetch(read_frames(path), people.batch_size))
    begins = CutFinder()
    for number, (image, _) in islice(frames, first):
        if number == first - 1:
            begins(image)
    while True:
        taken: deque[tuple[int, float, bool]] = deque()
        images = _noted(islice(frames, SEGMENT), begins, taken)
        if people.finds_people_in_passing:
            source: Iterator[Frame] = (Frame(image) for image, _ in images)
        else:
            source = follow(images, people.detector, detect_every)
        count = 0
        for result in people.stream(source, flip):
            assert isinstance(result, Result)
            result.source = Path(path)
            count += 1
            yield PredictedFrame(*taken.popleft(), result)
        if count < SEGMENT:
            return


def _noted(
    frames: Iterator[tuple[int, tuple[np.ndarray, float]]],
    begins: CutFinder,
    taken: deque[tuple[int, float, bool]],
) -> Iterator[tuple[np.ndarray, bool]]:
    """The images and whether they begin a scene; what else is known of them is put into `taken`."""
    for number, (image, seconds) in frames:
        cut = begins(image)
        taken.append((number, seconds, cut))
        yield image, cut


def read_frames(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """Frames of a video, H×W×3 uint8 RGB, turned upright, with their time in seconds. Raises VideoError."""
    av = pyav()
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            stream.thread_type = "AUTO"
            rate = Fraction(stream.average_rate or 25)
            for number, frame in enumerate(container.decode(stream)):
                turns = round(getattr(frame, "rotation", 0) / 90) % 4
                seconds = float(number / rate) if frame.time is None else float(frame.time)
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns)), seconds
    except av.FFmpegError as error:
        raise VideoError(f"{path}: not a readable video ({error.strerror})") from error


def frame_count_and_rate(path: str | Path) -> tuple[int | None, Fraction]:
    """The number of frames that a video says it has (None: it does not), and frames per second. Raises VideoError."""
    av = pyav()
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            return stream.frames or None, Fraction(stream.average_rate or 25)
    except av.FFmpegError as error:
        raise VideoError(f"{path}: not a readable video ({error.strerror})") from error


def _video_stream(container, path: str | Path):  # type: ignore[no-untyped-def]  # PyAV is an extra
    if not container.streams.video:
        raise VideoError(f"{path}: there is no picture in this file")
    return container.streams.video[0]


def pyav() -> ModuleType:
    """PyAV. Raises ModuleNotFoundError that says how to install it."""
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("reading videos needs PyAV: pip install opensapiens[video]", name="av") from error
    return av
