"""Where the people are: boxes that the caller gives, the whole image, or a part map searched for people."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from torch import Tensor

from opensapiens.geometry.boxes import box_iou, image_box, non_maximum_suppression
from opensapiens.geometry.view import View, person_view
from opensapiens.inference.forward import LoadedModel, foreground, raw_maps
from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import COCO_17
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask

FOREGROUND = 0.5  # probability from which a pixel counts as a person
SMALLEST_SHARE = 0.004  # of a view: smaller blobs are noise of the map, not people
SMALLEST = 40  # pixels high, windows and people; the network sees next to nothing of smaller ones
MOST_CANDIDATES = 12  # each costs one forward pass
SUREST_POINTS = 6  # of COCO's 17 that tell a body: a head and a shoulder have as many
BODY_PEAK = 0.54  # the least mean of their heatmaps' maxima


class DetectorError(ValueError):
    """A detector that cannot be loaded or used; the message says which and why."""


class Detector(Protocol):
    """Anything that finds people: boxes (N, 4) float32 xyxy pixels and scores (N,) float32 of an H×W×3 uint8 image."""

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class WholeImage:
    """One person who fills the image; right for portraits and for crops made elsewhere."""

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One box with score 1."""
        return image_box(image.shape[:2])[None], np.ones(1, np.float32)


class PartMapDetector:
    """People found by a segmentation head: a coarse look at the whole image, then a second look at each candidate.

    The coarse look shows the network the whole image and, to find people who are small or one of many, windows of it;
    connected foreground becomes a candidate box. The second look crops each candidate as a person and boxes the
    foreground in the crop; if the network has a pose head, it must also see the points of a body, which scenery that is
    mistaken for parts does not have. With flip, what passes must pass again, averaged with the mirrored crop. If nobody
    passes, the whole image is the last candidate: of a person who fills it, the coarse look may see only a piece. Meant
    for the embedded model, where a separate detector would be larger than the model: people far away, in crowds or
    overlapping are missed or joined. Give boxes from a dedicated detector where you have one.
    """

    def __init__(
        self, loaded: LoadedModel, threshold: float = 0.85, nms: float = 0.5, flip: bool | None = None
    ) -> None:
        """threshold: the least mean foreground probability of a box. nms: intersection over union from which two boxes
        are one person. flip: also look at the mirrored image; None = as the weights ask for.

        Raises DetectorError without a segmentation head.
        """
        if SegmentationTask.name not in loaded.tasks:
            raise DetectorError(f"{loaded.description.name} has no segmentation head to find people with")
        self.loaded = loaded
        self.threshold = threshold
        self.nms = nms
        self.flip = loaded.flip_test if flip is None else flip
        pose = loaded.tasks.get(PoseTask.name)
        indices = source_indices(pose.keypoint_set, COCO_17).tolist() if isinstance(pose, PoseTask) else []
        self._body_points = [index for index in indices if index >= 0]

    @property
    def looks_at_whole_images(self) -> bool:
        """Whether the network sees whole images, so that one pass serves the detector and the prediction."""
        return not self.loaded.takes_people

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and their mean foreground probability, best first; none if nobody is found."""
        if self.looks_at_whole_images:
            (view,) = self.loaded.views(np.empty((0, 4)), image.shape[:2])
            (maps,) = raw_maps(self.loaded, [(image, view)], heads=[SegmentationTask.name])
            return self.people_in(foreground(maps[SegmentationTask.name]), view)
        candidates, _ = _distinct(*self._look(image, self._coarse_views(image.shape[:2])), self.nms)
        boxes, scores = self._people_around(image, candidates[:MOST_CANDIDATES])
        if len(boxes) == 0:
            boxes, scores = self._people_around(image, WholeImage()(image)[0])
        return boxes, scores

    def people_in(self, probability: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and scores of the people in the foreground probability (h, w) of a view of the whole image."""
        boxes, scores = _stacked(_blobs(probability, view))
        sure = scores >= self.threshold
        return _distinct(boxes[sure], scores[sure], self.nms)

    def _coarse_views(self, image_size: tuple[int, int]) -> list[View]:
        height, width = image_size
        aspect = self.loaded.input_size[1] / self.loaded.input_size[0]
        views = [np.array([0, 0, width, height], np.float32)]
        # Windows as high as the image (or as wide, if that is less), then half as high. The small ones, which are the
        # most, overlap less: a person cut by one of them is whole in a larger one or gets a second look.
        for share, overlap in ((1.0, 0.5), (0.5, 0.25)):
            window_height = min(height, width / aspect) * share
            window_width = window_height * aspect
            if window_height < SMALLEST or (share == 1.0 and window_width * window_height > 0.8 * width * height):
                continue  # too small to see anybody in, or nearly the whole image
            for top in _starts(height, window_height, overlap):
                for left in _starts(width, window_width, overlap):
                    views.append(np.array([left, top, left + window_width, top + window_height], np.float32))
        return [person_view(box, image_size, self.loaded.input_size, padding=1.0) for box in views]

    def _people_around(self, image: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = candidates, np.empty(0, np.float32)
        for flip in (False, True) if self.flip else (False,):
            if len(boxes):
                boxes, scores = self._look(image, self.loaded.views(boxes, image.shape[:2]), boxes, flip)
                sure = (scores >= self.threshold) & (boxes[:, 3] - boxes[:, 1] >= SMALLEST)
                boxes, scores = _distinct(boxes[sure], scores[sure], self.nms)
        return boxes, scores

    def _look(
        self, image: np.ndarray, views: list[View], candidates: np.ndarray | None = None, flip: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and scores of all the foreground in the views; with one candidate per view, of the blob that fits it
        best where there is a body."""
        people: list[tuple[np.ndarray, float]] = []
        shown = [(image, view) for view in views]
        needs_body = candidates is not None and len(self._body_points) >= SUREST_POINTS
        heads = [SegmentationTask.name, PoseTask.name] if needs_body else [SegmentationTask.name]
        for index, maps in enumerate(raw_maps(self.loaded, shown, heads=heads, flip=flip)):
            if needs_body and not _shows_body(maps[PoseTask.name][self._body_points]):
                continue
            blobs = _blobs(foreground(maps[SegmentationTask.name]), views[index])
            if candidates is not None and blobs:
                # Not the largest: that may be a bigger neighbor.
                fit = box_iou(candidates[index][None], np.array([box for box, _ in blobs]))[0]
                blobs = [blobs[int(fit.argmax())]]
            people += blobs
        return _stacked(people)


def _shows_body(heatmaps_Khw: Tensor) -> bool:
    peaks = heatmaps_Khw.flatten(1).amax(dim=1)
    return bool(peaks.topk(SUREST_POINTS).values.mean() >= BODY_PEAK)


def _starts(length: float, window: float, overlap: float) -> list[float]:
    """Where windows begin so that they cover the length, each overlapping the next by at least that share."""
    if window >= length:
        return [(length - window) / 2]
    count = int(np.ceil((length - window) / (window * (1 - overlap)))) + 1
    return [float(start) for start in np.linspace(0, length - window, count)]


def _blobs(probability: np.ndarray, view: View) -> list[tuple[np.ndarray, float]]:
    """Connected foreground of a view's map: boxes in image pixels with their mean probability."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > FOREGROUND).astype(np.uint8))
    stride = np.array([view.input_size[1] / probability.shape[1], view.input_size[0] / probability.shape[0]])
    height, width = view.image_size
    blobs = []
    for label in range(1, count):
        left, top, box_width, box_height, size = stats[label]
        if size < SMALLEST_SHARE * probability.size:
            continue
        corners = np.array([[left, top], [left + box_width, top + box_height]]) * stride
        # Corners lie on pixel edges; the view's matrix maps pixel centers.
        linear, offset = view.matrix[:, :2].astype(float), view.matrix[:, 2].astype(float)
        image_corners = np.linalg.solve(linear, (corners - 0.5 - offset).T).T
        box = np.clip(image_corners, 0, [width, height]).ravel().astype(np.float32)
        if (box[2:] - box[:2]).min() >= 2:
            blobs.append((box, float(probability[labels == label].mean())))
    return blobs


def _stacked(people: list[tuple[np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.array([box for box, _ in people], np.float32).reshape(-1, 4)
    return boxes, np.array([score for _, score in people], np.float32)


def _distinct(boxes: np.ndarray, scores: np.ndarray, nms: float) -> tuple[np.ndarray, np.ndarray]:
    """Without duplicates of better boxes, and without fragments inside larger ones; best first."""
    if len(boxes) == 0:
        return boxes, scores
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # A blob cut off by its window scores as high as the whole person: size must count.
    rank = scores * np.sqrt(area / area.max())
    kept = np.asarray(non_maximum_suppression(boxes, rank, nms), dtype=int)
    kept = kept[np.argsort(-rank[kept])]
    whole: list[int] = []
    for index in kept:
        corner1 = np.maximum(boxes[whole, :2], boxes[index, :2])
        corner2 = np.minimum(boxes[whole, 2:], boxes[index, 2:])
        inside = np.clip(corner2 - corner1, 0, None).prod(axis=1) / area[index]
        if not (inside > 0.8).any():
            whole.append(int(index))
    return boxes[whole], scores[whole]
