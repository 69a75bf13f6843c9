"""Predictions of single views put together: people with masks, and maps of the whole image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from opensapiens.inference.forward import LoadedModel, Prediction
from opensapiens.inference.results import Depth, Normals, Parts, Person, Result

TASKS = ("pose", "segmentation", "depth", "normals")


def compose(
    image: np.ndarray,
    boxes: np.ndarray | None,
    scores: np.ndarray | None,
    predictions: Mapping[str, Sequence[Prediction]],
    model_of_task: Mapping[str, LoadedModel],
    source: Path | None = None,
) -> Result:
    """The result of one image: boxes (N×4) with scores, and per task one prediction per box, or one of the whole image.

    Crops are drawn over each other, the larger box last. Parts of a whole image are all kept. Depth and normals are
    kept where there are people: in the person's own part map for a crop; in the part map, else in the people's masks,
    for a whole image; everywhere where no network has parts. Without parts a person's mask is the box.
    """
    found = np.empty((0, 4), np.float32) if boxes is None else boxes
    size = image.shape[:2]
    pose_model, segmenter = model_of_task.get("pose"), model_of_task.get("segmentation")
    result = Result(image, source=source, keypoint_set=pose_model.keypoint_set if pose_model else None)
    if segmenter is not None and segmenter.part_set is not None:
        result.parts = Parts(np.zeros(size, np.uint8), segmenter.part_set)
    if "depth" in predictions:
        result.depth = Depth(np.full(size, np.nan, np.float32))
    if "normals" in predictions:
        result.normals = Normals(np.full((*size, 3), np.nan, np.float32))
    if segmenter is not None and not segmenter.takes_people:
        _draw_on(result, "segmentation", predictions["segmentation"][0], np.ones(size, bool))
    for index, box in enumerate(found):
        crop = predictions["segmentation"][index] if segmenter is not None and segmenter.takes_people else None
        points = predictions["pose"][index] if pose_model is not None else None
        result.persons.append(
            Person(
                id=index + 1,
                box=box,
                score=1.0 if scores is None else float(scores[index]),
                keypoints=points.keypoints if points is not None else np.empty((0, 2), np.float32),  # type: ignore[arg-type]
                scores=points.scores if points is not None else np.empty(0, np.float32),  # type: ignore[arg-type]
                names=result.keypoint_set.names if result.keypoint_set else (),
                mask=_person_mask(box, size, crop, result.parts),
            )
        )
    _draw_maps(result, predictions, model_of_task)
    return result


def _person_mask(box: np.ndarray, size: tuple[int, int], crop: Prediction | None, parts: Parts | None) -> np.ndarray:
    """Foreground of the person's own crop; of a whole image's part map what lies in the box; else all of the box."""
    mask = np.zeros(size, bool)
    if crop is not None and crop.parts is not None:
        x1, y1, x2, y2 = crop.view.window
        mask[y1:y2, x1:x2] = crop.parts > 0
        return mask
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    mask[top:bottom, left:right] = True if parts is None else parts.labels[top:bottom, left:right] > 0
    return mask


def _draw_maps(
    result: Result, predictions: Mapping[str, Sequence[Prediction]], model_of_task: Mapping[str, LoadedModel]
) -> None:
    areas = [float(np.prod(person.box[2:] - person.box[:2])) for person in result.persons]
    order = np.argsort(areas, kind="stable")  # the larger box last: it is more often the nearer person
    for task, model in model_of_task.items():
        if task == "pose":
            continue
        if model.takes_people:
            for index in order:
                _draw_on(result, task, predictions[task][index], result.persons[index].mask)
        elif task != "segmentation":
            _draw_on(result, task, predictions[task][0], _everybody(result, model_of_task.get("segmentation")))


def _everybody(result: Result, segmenter: LoadedModel | None) -> np.ndarray:
    if result.parts is None or segmenter is None:
        return np.ones(result.image.shape[:2], bool)
    if not segmenter.takes_people:
        return result.parts.labels > 0
    return np.logical_or.reduce([person.mask for person in result.persons] or [np.zeros(result.image.shape[:2], bool)])


def _draw_on(result: Result, task: str, prediction: Prediction, mask: np.ndarray) -> None:
    x1, y1, x2, y2 = prediction.view.window
    here = mask[y1:y2, x1:x2].view(np.uint8)
    if here.size == 0:
        return
    if task == "segmentation" and result.parts is not None and prediction.parts is not None:
        cv2.copyTo(prediction.parts, here, result.parts.labels[y1:y2, x1:x2])
    if task == "depth" and result.depth is not None and prediction.depth is not None:
        cv2.copyTo(prediction.depth, here, result.depth.values[y1:y2, x1:x2])
    if task == "normals" and result.normals is not None and prediction.normals is not None:
        cv2.copyTo(prediction.normals, here, result.normals.values[y1:y2, x1:x2])
