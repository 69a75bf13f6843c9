"""Videos: frames in, one result per frame, people keep their ids.

No frame waits for the result of the one before: people are detected in some frames, and between two of these their
boxes move in straight lines. So all frames can go through the networks in batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from opensapiens.geometry.boxes import box_iou
from opensapiens.inference.detection import Detector, PersonDetector, WholeImage, detector_name
from opensapiens.inference.pipeline import People, SourceImage
from opensapiens.inference.prefetch import RESULTS_AHEAD, prefetch
from opensapiens.inference.results import Result
from opensapiens.inference.second_look import SecondLook
from opensapiens.inference.tracking import Tracker
from opensapiens.storage.videos import VideoError, read_frames

SEGMENT = 60  # frames that are predicted, written and resumed as one; nothing but the tracker reaches beyond them
SAME_PERSON = 0.3  # intersection over union from which two boxes are taken for one person on the move
THUMBNAIL = (32, 18)  # width and height at which frames are compared
CUT = 30.0  # mean difference of thumbnails, of 255, from which a frame begins another scene


@dataclass(eq=False)
class PredictedFrame:
    """One frame: its number from 0, its time in seconds, whether it begins a scene, and what is in it."""

    number: int
    seconds: float
    begins_scene: bool
    result: Result


def predict_video(
    people: People, path: str | Path, flip: bool | None = None, detect_every: int | None = None, smooth: bool = False
) -> Iterator[Result]:
    """One result per frame, in order; people keep their ids as long as boxes or poses overlap, also across short gaps.

    detect_every: people are detected in every n-th frame, at cuts and at the end of each 60 frames; in between their
    boxes move in straight lines; by default in every frame with the detector inside this package, in every tenth with
    others. smooth: One-Euro filter on the keypoints. Raises VideoError for a file that is not a
    readable video, and after the last result for one that ends early; ModuleNotFoundError without the extra "video".
    """
    every = detect_every or usual_interval(people.detector)
    for frame in tracked_frames(people, path, new_tracker(people, smooth), flip, every):
        yield frame.result


def usual_interval(detector: Detector) -> int:
    """Every how many frames people are detected by default: a large detector costs more than the networks."""
    return 1 if isinstance(detector, PersonDetector | SecondLook | WholeImage) else 10


def new_tracker(people: People, smooth: bool) -> Tracker:
    """A tracker for the keypoints of a pipeline."""
    points = people.keypoint_set
    return Tracker(None if points is None else points.sigmas, smooth)


def tracked_frames(
    people: People, path: str | Path, tracker: Tracker, flip: bool | None, detect_every: int, first: int = 0
) -> Generator[PredictedFrame, None, None]:
    """The frames of predicted_frames, computed ahead in a thread, with the ids that the tracker gives.

    When a frame comes out, the tracker has seen it and none after it.
    """
    with closing(prefetch(predicted_frames(people, path, flip, detect_every, first), RESULTS_AHEAD)) as frames:
        for frame in frames:
            tracker.update(frame.result.persons, frame.number, frame.seconds, frame.begins_scene)
            yield frame


def predicted_frames(
    people: People, path: str | Path, flip: bool | None, detect_every: int, first: int = 0
) -> Iterator[PredictedFrame]:
    """Frames from number `first` on, a multiple of SEGMENT, with results whose ids mean nothing yet.

    Each segment is predicted on its own, in the same batches whatever came before. Raises VideoError after what could
    be read.
    """
    errors: list[VideoError] = []
    frames = enumerate(_up_to_error(prefetch(read_frames(path), people.batch_size), errors))
    begins_scene = CutFinder()
    for number, (image, _) in islice(frames, first):
        if number == first - 1:
            begins_scene(image)
    while True:
        pending: deque[tuple[int, float, bool]] = deque()
        images = _noted(islice(frames, SEGMENT), begins_scene, pending)
        count = 0
        for result in people.stream(follow(images, people.detector, detect_every), flip):
            assert isinstance(result, Result)
            result.source = Path(path)
            count += 1
            yield PredictedFrame(*pending.popleft(), result)
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
    begins_scene: CutFinder,
    pending: deque[tuple[int, float, bool]],
) -> Iterator[tuple[np.ndarray, bool]]:
    """The images and whether they begin a scene; number, time and that are put into `pending`."""
    for number, (image, seconds) in frames:
        cut = begins_scene(image)
        pending.append((number, seconds, cut))
        yield image, cut


class CutFinder:
    """Tells the first frame of a new scene, by how much it differs from the one before."""

    def __init__(self) -> None:
        self.previous: np.ndarray | None = None

    def __call__(self, image: np.ndarray) -> bool:
        """Whether this frame, the next one, begins a scene; the very first does not."""
        thumbnail = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        previous, self.previous = self.previous, thumbnail
        return previous is not None and float(np.abs(thumbnail - previous).mean()) > CUT


def follow(images: Iterable[tuple[np.ndarray, bool]], detector: Detector, every: int) -> Iterator[SourceImage]:
    """Frames with boxes. images: frames, each with whether it begins a scene.

    The detector runs on every `every`-th frame, on the first and the last of a scene, and on the last of all. Between
    two detections a person who is in both moves on a straight line; one who is in only one of them stays in that place,
    in the half of the frames that is nearer.
    """
    last_detection: tuple[np.ndarray, np.ndarray] | None = None
    waiting: list[np.ndarray] = []
    name = detector_name(detector)

    def detect(image: np.ndarray) -> Iterator[SourceImage]:
        """The frames that wait for boxes, then this one."""
        nonlocal last_detection, waiting
        detection = detector(image)
        if last_detection is not None:
            for step, frame in enumerate(waiting, start=1):
                between = boxes_between(last_detection, detection, step / (len(waiting) + 1))
                yield SourceImage(frame, *between, detector=name)
        last_detection, waiting = detection, []
        yield SourceImage(image, *detection, detector=name)

    number = 0
    for image, begins_scene in images:
        if begins_scene:
            if waiting:
                yield from detect(waiting.pop())
            last_detection, number = None, 0
        if number % every == 0:
            yield from detect(image)
        else:
            waiting.append(image)
        number += 1
    if waiting:
        yield from detect(waiting.pop())


def boxes_between(
    first: tuple[np.ndarray, np.ndarray], last: tuple[np.ndarray, np.ndarray], share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) and scores (N,) at a share of the way from the first detection to the last; see follow."""
    overlap = box_iou(first[0], last[0])
    boxes: list[np.ndarray] = []
    scores: list[float] = []
    unmatched = set(range(len(first[0]))), set(range(len(last[0])))
    while overlap.size and overlap.max() >= SAME_PERSON:
        i, j = (int(index) for index in np.unravel_index(int(overlap.argmax()), overlap.shape))
        boxes.append((1 - share) * first[0][i] + share * last[0][j])
        scores.append(float((1 - share) * first[1][i] + share * last[1][j]))
        overlap[i], overlap[:, j] = 0, 0
        unmatched[0].discard(i)
        unmatched[1].discard(j)
    nearer = 0 if share <= 0.5 else 1
    for index in sorted(unmatched[nearer]):
        boxes.append((first, last)[nearer][0][index])
        scores.append(float((first, last)[nearer][1][index]))
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)
