"""A second look at what a detector finds, by the network that predicts the people.

Each box is cropped as a person, and so is the whole picture, since a detector may see only a piece of whoever fills it.
Where the network's parts show foreground, its box is taken, and a logistic regression scores it again: by the
detector's score, by how sure the foreground is, and by how sure the points of a body are, which scenery does not have.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from opensapiens.geometry.boxes import box_iou, image_box, non_maximum_suppression
from opensapiens.geometry.view import View
from opensapiens.inference.detection import Detector, detector_name
from opensapiens.inference.forward import LoadedModel, raw_maps
from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import COCO_17
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask

CANDIDATE_SCORE = 0.1  # least score of a box that gets a second look
MOST_CANDIDATES = 15  # each costs a forward pass
WHOLE_SCORE = 0.5  # of the whole picture as a candidate
FOREGROUND = 0.5  # probability from which a pixel counts as a person
SMALLEST_SHARE = 0.004  # of a view: smaller blobs are noise of the map, not people
SUREST_POINTS = 6  # of COCO's 17 that tell a body: a head and a shoulder have as many
SURE_FOREGROUND = 0.95  # mean probability that says as much as any higher one, which networks with sharper maps have
WITH_POINTS = (-37.72, 0.98, 5.65, 37.1)
WITHOUT_POINTS = (-35.44, 1.07, 0.0, 39.27)
"""Bias and weights of the detector's logit, the body's peak and the foreground's mean probability; fitted by
`benchmarks/second_look.py`."""
FOUND = 0.25  # least score of somebody who was found: more than three in four are right on those pictures
SAME_PERSON = 0.5  # overlap from which two boxes are one person
UNSURE = 0.5  # score below which a box around somebody surer is taken for scenery beside them
HELD = 0.9  # share of a box within another that holds it


class SecondLook:
    """People found by a detector, as a network with a segmentation head sees them."""

    def __init__(self, first: Detector, loaded: LoadedModel, threshold: float | None = None) -> None:
        """first: with a low threshold. loaded: takes crops of people and has a segmentation head. threshold: the least
        score of a person."""
        self.first, self.loaded = first, loaded
        self.threshold = FOUND if threshold is None else threshold
        self.name = f"{detector_name(first)}, checked by {loaded.description.name}"
        pose = loaded.tasks.get(PoseTask.name)
        indices = source_indices(pose.keypoint_set, COCO_17).tolist() if isinstance(pose, PoseTask) else []
        self._body_points = [index for index in indices if index >= 0]

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) float32 xyxy pixels within the H×W×3 uint8 image, and scores (N,), best first."""
        boxes, scores = self.first(image)
        boxes = np.concatenate([boxes[:MOST_CANDIDATES], image_box(image.shape[:2])[None]])
        scores = np.append(scores[:MOST_CANDIDATES], WHOLE_SCORE)
        people, features = self.features(image, boxes, scores)
        with_points = len(self._body_points) >= SUREST_POINTS
        bias, *weights = WITH_POINTS if with_points else WITHOUT_POINTS
        certain = (1 / (1 + np.exp(-(bias + features @ np.array(weights))))).astype(np.float32)
        people, certain = people[certain >= self.threshold], certain[certain >= self.threshold]
        kept = distinct(people, certain)
        return people[kept], certain[kept]

    def features(self, image: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the candidates in which there is foreground: the box around it, (N, 4), and (N, 3) the logit of the score,
        the mean of the surest points' peaks (0 for a network without), and the foreground's mean probability."""
        views = self.loaded.views(boxes, image.shape[:2])
        heads = [SegmentationTask.name]
        if len(self._body_points) >= SUREST_POINTS:
            heads.append(PoseTask.name)
        people, features = [], []
        for index, maps in enumerate(raw_maps(self.loaded, [(image, view) for view in views], heads)):
            probability = (1 - torch.softmax(maps[SegmentationTask.name], dim=0)[0]).cpu().numpy()
            blobs = _blobs(probability, views[index])
            if not blobs:
                continue
            # Not the largest: that may be a bigger neighbor.
            fit = box_iou(boxes[index][None], np.array([box for box, _ in blobs]))[0]
            box, sureness = blobs[int(fit.argmax())]
            score = np.clip(scores[index], 1e-6, 1 - 1e-6)
            peak = _peak(maps[PoseTask.name][self._body_points]) if PoseTask.name in maps else 0.0
            people.append(box)
            features.append((np.log(score / (1 - score)), peak, min(sureness, SURE_FOREGROUND)))
        return np.array(people, np.float32).reshape(-1, 4), np.array(features, np.float64).reshape(-1, 3)


def distinct(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The indices of one box (N, 4) for each person, best first; nor an unsure one around somebody surer."""
    best = non_maximum_suppression(boxes, scores, SAME_PERSON)
    boxes, scores = boxes[best], scores[best]
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    holds = np.tril(shared.clip(min=0).prod(axis=2) > HELD * areas[None], -1).any(axis=1)
    return best[~(holds & (scores < UNSURE))]


def _peak(heatmaps_Khw: Tensor) -> float:
    return float(heatmaps_Khw.flatten(1).amax(dim=1).topk(SUREST_POINTS).values.mean())


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
