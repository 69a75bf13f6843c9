"""Evaluates a pipeline on dense labels, by the metric of the task, beside a trivial answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from opensapiens.data.crop import cut_sample
from opensapiens.evaluation.people import AnnotatedImage, EvaluationError
from opensapiens.evaluation.shared_parts import SharedParts, shared_parts
from opensapiens.inference.pipeline import People
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import Metric


def evaluate_dense(
    people: People,
    images: Iterable[AnnotatedImage],
    task: str,
    flip: bool | None = None,
    per_person: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A flat dictionary of figures, at the resolution of the images, over each person's padded box (given, not
    detected): the report of the task's metric, see the file of the task. Labels of 28 body parts are compared with
    a model of 29, and the other way round, as `shared_parts` says, and the report has that in "parts".

    flip: None as the weights ask for. per_person: a list to which the figures of each person are added.
    Raises EvaluationError if the pipeline has no such head, or the data no such labels.
    """
    if task not in people.dense_tasks:
        raise EvaluationError(f"this model has no {task} head")
    dense = people.dense_tasks[task]
    metric: Metric | None = None
    shared: SharedParts | None = None
    count = persons = 0
    for image in images:
        boxes = np.array([person.box for person in image.persons], np.float32).reshape(-1, 4)
        predictions = people.predict_boxes(image.image, boxes, flip)[task]
        count, persons = count + 1, persons + len(boxes)
        for person, prediction in zip(image.persons, predictions, strict=True):
            if dense.kind not in person.sample.labels:
                raise EvaluationError(f"{person.sample.key}: no labels of {dense.kind.name}")
            truth, predicted = cut_sample(person.sample, prediction.view.window), prediction.decoded[task]
            if metric is None:
                if isinstance(dense, SegmentationTask):
                    shared = shared_parts(truth.part_set, dense.part_set)
                metric = dense.new_metric() if shared is None else SegmentationTask(shared.part_set).new_metric()
            if shared is not None:
                truth, predicted = shared.sample(truth), shared.of_predictions[predicted]
            try:
                figures = metric.update(predicted, truth)
            except ValueError as error:
                raise EvaluationError(str(error)) from error
            if per_person is not None:
                per_person.append({"image_id": image.coco_image["id"], "key": person.sample.key, **figures})
    if metric is None:
        raise EvaluationError("no person in the data")
    about = {"images": count, "people": persons, "boxes": "ground truth", "region": metric.region}
    return {**about, **({} if shared is None else {"parts": shared.note}), **metric.report()}
