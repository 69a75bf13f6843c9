"""Where to look for people in each frame of a video: the detector on some frames, its boxes moved along in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from opensapiens.geometry.boxes import box_iou
from opensapiens.inference.detection import Detector
from opensapiens.inference.pipeline import SourceImage

SAME_PERSON = 0.3  # intersection over union from which two boxes are taken for one person on the move
THUMBNAIL = (32, 18)  # width and height at which frames are compared
CUT = 30.0  # mean difference of thumbnails, of 255, from which a frame begins another scene


class CutFinder:
    """Tells the first frame of a new scene, by how much it differs from the one before."""

    def __init__(self) -> None:
        self.before: np.ndarray | None = None

    def __call__(self, image: np.ndarray) -> bool:
        """Whether this frame, the next one, begins a scene; the very first does not."""
        now = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self.before = self.before, now
        return before is not None and float(np.abs(now - before).mean()) > CUT


def follow(
    images: Iterable[tuple[np.ndarray, bool]], detector: Detector, every: int, on_look: Callable[[], None] | None = None
) -> Iterator[SourceImage]:
    """Frames with boxes. images: frames, each with whether it begins a scene.

    The detector looks at every `every`-th frame, at the first and the last of a scene, and at the last of all. Between
    two looks a person who was found in both moves on a straight line; one who was found in only one of them is looked
    for in that place, in the half of the frames that is nearer. So no frame waits for the result of the one before, and
    all of them can go through the networks in one batch.
    """
    last_look: tuple[np.ndarray, np.ndarray] | None = None
    between: list[np.ndarray] = []

    def look(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if on_look is not None:
            on_look()
        return detector(image)

    def close(image: np.ndarray) -> Iterator[SourceImage]:
        """The frames between the last look and this image, then the image itself; it is the next last look."""
        nonlocal last_look, between
        found = look(image)
        if last_look is not None:
            for step, waiting in enumerate(between, start=1):
                yield SourceImage(waiting, *boxes_between(last_look, found, step / (len(between) + 1)))
        last_look, between = found, []
        yield SourceImage(image, *found)

    number = 0
    for image, begins in images:
        if begins:
            if between:
                yield from close(between.pop())
            last_look, number = None, 0
        if number % every == 0:
            yield from close(image)
        else:
            between.append(image)
        number += 1
    if between:
        yield from close(between.pop())


def boxes_between(
    first: tuple[np.ndarray, np.ndarray], last: tuple[np.ndarray, np.ndarray], share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) and scores (N,) at a share of the way from the first look to the last; see follow."""
    overlap = box_iou(first[0], last[0])
    boxes: list[np.ndarray] = []
    scores: list[float] = []
    left, right = set(range(len(first[0]))), set(range(len(last[0])))
    while overlap.size and overlap.max() >= SAME_PERSON:
        i, j = (int(index) for index in np.unravel_index(int(overlap.argmax()), overlap.shape))
        boxes.append((1 - share) * first[0][i] + share * last[0][j])
        scores.append(float((1 - share) * first[1][i] + share * last[1][j]))
        overlap[i], overlap[:, j] = 0, 0
        left.discard(i)
        right.discard(j)
    alone, who = (first, left) if share <= 0.5 else (last, right)
    for index in sorted(who):
        boxes.append(alone[0][index])
        scores.append(float(alone[1][index]))
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)
