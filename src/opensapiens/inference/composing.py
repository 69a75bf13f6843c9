"""Composes predictions of single views: people with masks, and maps of the whole image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from opensapiens.inference.boxes import NOBODY
from opensapiens.inference.forward import LoadedModel, Prediction
from opensapiens.inference.results import Person, Result
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import PartMap, SegmentationTask
from opensapiens.tasks.task import DenseTask, TaskMap, paste


@dataclass(eq=False, repr=False)
class ImagePredictions:
    """What was predicted for one image, not composed yet: image, boxes (N×4) with scores, and per task one prediction
    per box, or one of the whole image; as `compose` takes them."""

    image: np.ndarray
    boxes: np.ndarray | None
    scores: np.ndarray | None
    of_task: Mapping[str, Sequence[Prediction]]
    model_of_task: Mapping[str, LoadedModel]
    source: Path | None = None
    detector: str | None = None

    def of_people(self, indices: np.ndarray) -> ImagePredictions:
        """Those of some of the people alone, by their indices or as N bool."""
        assert self.boxes is not None
        kept = np.arange(len(self.boxes))[indices]
        of_task = {
            task: [predictions[i] for i in kept] if self.model_of_task[task].takes_people else predictions
            for task, predictions in self.of_task.items()
        }
        scores = None if self.scores is None else self.scores[kept]
        return replace(self, boxes=self.boxes[kept], scores=scores, of_task=of_task)

    def result(self) -> Result:
        """All of it, composed."""
        return compose(
            self.image, self.boxes, self.scores, self.of_task, self.model_of_task, self.source, self.detector
        )


def compose(
    image: np.ndarray,
    boxes: np.ndarray | None,
    scores: np.ndarray | None,
    predictions: Mapping[str, Sequence[Prediction]],
    model_of_task: Mapping[str, LoadedModel],
    source: Path | None = None,
    detector: str | None = None,
) -> Result:
    """The result of one image: boxes (N×4) with scores, and per task one prediction per box, or one of the whole image.

    Crops are drawn over each other, the larger box last. Parts and alpha of a whole image are all kept. Other maps are
    kept where there are people: for a crop in the person's own part map; for a whole image in its part map, or else in
    the people's masks, or everywhere if no network has parts. Without parts a person's mask is the box.
    """
    size = image.shape[:2]
    result = Result(image, source=source, detector=detector)
    for name, model in model_of_task.items():
        task = model.tasks[name]
        if isinstance(task, PoseTask):
            result.keypoint_set = task.keypoint_set
        else:
            result.maps[name] = cast("DenseTask", task).blank(size)
            result.titles[name] = task.title
    for name in _kept_whole(result, model_of_task):
        (whole,) = predictions[name]
        _draw(result.maps, name, whole, np.ones(size, bool))
    segmenter = model_of_task.get(SegmentationTask.name)
    for index, box in enumerate(NOBODY if boxes is None else boxes):
        crop = predictions[SegmentationTask.name][index] if segmenter is not None and segmenter.takes_people else None
        person = Person(
            id=index + 1,
            box=box,
            score=1.0 if scores is None else float(scores[index]),
            mask=_person_mask(box, size, crop, result.parts),
        )
        if result.keypoint_set is not None:
            person.keypoints, person.scores = predictions[PoseTask.name][index].decoded[PoseTask.name]
            person.names = result.keypoint_set.names
        result.persons.append(person)
    _draw_maps(result, predictions, model_of_task)
    return result


def _person_mask(box: np.ndarray, size: tuple[int, int], crop: Prediction | None, parts: PartMap | None) -> np.ndarray:
    """The foreground of the person's crop, or of the whole image's part map within the box; else all of the box."""
    mask = np.zeros(size, bool)
    if crop is not None:
        x1, y1, x2, y2 = crop.view.window
        mask[y1:y2, x1:x2] = crop.decoded[SegmentationTask.name] > 0
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
    for name in result.maps:
        if model_of_task[name].takes_people:
            for index in order:
                _draw(result.maps, name, predictions[name][index], result.persons[index].mask)
        elif name not in _kept_whole(result, model_of_task):
            _draw(result.maps, name, predictions[name][0], _everybody(result, model_of_task))


def _kept_whole(result: Result, model_of_task: Mapping[str, LoadedModel]) -> list[str]:
    """The tasks whose map of the whole image is kept as it is."""
    dense = {name: cast("DenseTask", model_of_task[name].tasks[name]) for name in result.maps}
    return [name for name, task in dense.items() if task.everywhere and not model_of_task[name].takes_people]


def _everybody(result: Result, model_of_task: Mapping[str, LoadedModel]) -> np.ndarray:
    if result.parts is None:
        return np.ones(result.image.shape[:2], bool)
    if not model_of_task[SegmentationTask.name].takes_people:
        return result.parts.labels > 0
    return np.logical_or.reduce([person.mask for person in result.persons] or [np.zeros(result.image.shape[:2], bool)])


def _draw(maps: Mapping[str, TaskMap], name: str, prediction: Prediction, mask: np.ndarray) -> None:
    paste(maps[name], prediction.decoded[name], prediction.view, mask)
