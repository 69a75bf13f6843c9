"""A second look at what a detector finds, by the network that predicts the people.

Each box is cropped as a person. If the network has parts, the crop must show the foreground of somebody, whose box is
taken; if it has points, also a body, which scenery that is mistaken for people does not have. Where few or none pass,
the whole picture is a candidate too: of whoever fills it, a detector may see only a piece, or something beside them.
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

CANDIDATE_SCORE = 0.15  # least score of a box that gets a second look
MOST_CANDIDATES = 15  # each costs a forward pass
FOREGROUND = 0.5  # probability from which a pixel counts as a person
SURE_FOREGROUND = 0.7  # the least mean of it
SMALLEST_SHARE = 0.004  # of a view: smaller blobs are noise of the map, not people
SUREST_POINTS = 6  # of COCO's 17 that tell a body: a head and a shoulder have as many
BODY_PEAK = 0.54  # the least mean of their heatmaps' maxima
FEW = 2  # people: with more, nobody fills the picture
MUCH_LARGER = 3.0  # area of somebody who fills the picture, over those who were found
SURE = 0.7  # score of those who stay beside somebody who fills the picture: others are often things behind them
WHOLE_SCORE = 0.35  # of somebody who was found in the whole picture alone
SAME_PERSON = 0.5  # overlap from which two boxes are one person


class SecondLook:
    """People found by a detector whom a network with a segmentation head recognizes too."""

    def __init__(self, first: Detector, loaded: LoadedModel) -> None:
        """first: with a low threshold. loaded: takes crops of people and has a segmentation head."""
        self.first, self.loaded = first, loaded
        self.name = f"{detector_name(first)}, checked by {loaded.description.name}"
        pose = loaded.tasks.get(PoseTask.name)
        indices = source_indices(pose.keypoint_set, COCO_17).tolist() if isinstance(pose, PoseTask) else []
        self._body_points = [index for index in indices if index >= 0]

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) float32 xyxy pixels within the H×W×3 uint8 image, and scores (N,), best first."""
        boxes, scores = self.first(image)
        boxes, scores = self._checked(image, boxes[:MOST_CANDIDATES], scores[:MOST_CANDIDATES])
        if len(boxes) > FEW:
            return boxes, scores
        whole, score = self._checked(image, image_box(image.shape[:2])[None], np.array([WHOLE_SCORE], np.float32))
        if len(whole) == 0 or (len(boxes) and _areas(whole)[0] < MUCH_LARGER * _areas(boxes).max()):
            return boxes, scores
        sure = scores >= SURE
        return np.concatenate([boxes[sure], whole]), np.concatenate([scores[sure], score])

    def _checked(self, image: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boxes that show somebody, also mirrored where the weights ask for that."""
        for flip in (False, True) if self.loaded.flip_test else (False,):
            if len(boxes):
                boxes, scores = self._recognized(image, boxes, scores, flip)
        return boxes, scores

    def _recognized(
        self, image: np.ndarray, boxes: np.ndarray, scores: np.ndarray, flip: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """The boxes that show somebody, around the foreground in them, without doubles."""
        views = self.loaded.views(boxes, image.shape[:2])
        heads = [SegmentationTask.name]
        if len(self._body_points) >= SUREST_POINTS:
            heads.append(PoseTask.name)
        people, kept = [], []
        for index, maps in enumerate(raw_maps(self.loaded, [(image, view) for view in views], heads, flip)):
            if PoseTask.name in maps and not _shows_body(maps[PoseTask.name][self._body_points]):
                continue
            probability = (1 - torch.softmax(maps[SegmentationTask.name], dim=0)[0]).cpu().numpy()
            blobs = _blobs(probability, views[index])
            if blobs:
                # Not the largest: that may be a bigger neighbor.
                fit = box_iou(boxes[index][None], np.array([box for box, _ in blobs]))[0]
                box, sureness = blobs[int(fit.argmax())]
                if sureness >= SURE_FOREGROUND:
                    people.append(box)
                    kept.append(scores[index])
        found, marks = np.array(people, np.float32).reshape(-1, 4), np.array(kept, np.float32)
        distinct = non_maximum_suppression(found, marks, SAME_PERSON)
        return found[distinct], marks[distinct]


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def _shows_body(heatmaps_Khw: Tensor) -> bool:
    peaks = heatmaps_Khw.flatten(1).amax(dim=1)
    return bool(peaks.topk(SUREST_POINTS).values.mean() >= BODY_PEAK)


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
