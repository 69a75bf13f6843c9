"""Videos: frames in, one result per frame, people keep their ids."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from opensapiens.inference.following import CutFinder, follow
from opensapiens.inference.pipeline import People, SourceImage
from opensapiens.inference.prefetch import prefetch
from opensapiens.inference.results import Result
from opensapiens.inference.tracking import Tracker
from opensapiens.storage.videos import VideoError, read_frames

SEGMENT = 60  # frames that are predicted, written and resumed as one; nothing but the tracker reaches beyond them
RESULTS_AHEAD = 2  # of the writer; a result of a large frame is tens of megabytes


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
    """One result per frame, in order; people keep their ids as long as boxes or poses overlap, also across short gaps.

    detect_every: people are detected in every n-th frame, at cuts and at the end of each 60 frames; in between their
    boxes move in straight lines. smooth: One-Euro filter on the keypoints. Raises VideoError for a file that is not a
    readable video, and after the last result for one that ends early; ModuleNotFoundError without the extra "video".
    """
    tracker = new_tracker(people, smooth)
    for frame in prefetch(predicted_frames(people, path, flip, detect_every), RESULTS_AHEAD):
        tracker.update(frame.result.persons, frame.number, frame.seconds, frame.begins_scene)
        yield frame.result


def new_tracker(people: People, smooth: bool) -> Tracker:
    """A tracker for the keypoints of a pipeline."""
    points = people.keypoint_set
    return Tracker(None if points is None else points.sigmas, smooth)


def predicted_frames(
    people: People, path: str | Path, flip: bool | None, detect_every: int, first: int = 0
) -> Iterator[PredictedFrame]:
    """Frames from number `first` on, a multiple of SEGMENT, with results whose ids mean nothing yet.

    Each segment is predicted for itself, in the same batches whatever came before. Raises VideoError after what could
    be read.
    """
    errors: list[VideoError] = []
    frames = enumerate(_up_to_error(prefetch(read_frames(path), people.batch_size), errors))
    begins = CutFinder()
    for number, (image, _) in islice(frames, first):
        if number == first - 1:
            begins(image)
    while True:
        taken: deque[tuple[int, float, bool]] = deque()
        images = _noted(islice(frames, SEGMENT), begins, taken)
        if people.finds_people_in_passing:
            source: Iterator[SourceImage] = (SourceImage(image) for image, _ in images)
        else:
            source = follow(images, people.detector, detect_every)
        count = 0
        for result in people.stream(source, flip):
            assert isinstance(result, Result)
            result.source = Path(path)
            count += 1
            yield PredictedFrame(*taken.popleft(), result)
        if count < SEGMENT:
            if errors:
                raise errors[0]
            return


def _up_to_error(
    frames: Iterator[tuple[np.ndarray, float]], errors: list[VideoError]
) -> Iterator[tuple[np.ndarray, float]]:
    """The frames before an error, which is put into `errors`."""
    try:
        yield from frames
    except VideoError as error:
        errors.append(error)


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
