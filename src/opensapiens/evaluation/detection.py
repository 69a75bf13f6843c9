"""How well a detector finds people: COCO's average precision, and recall and precision at its own threshold."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.data.coco import coco_images, coco_persons, read_annotations
from opensapiens.data.sample import Sample
from opensapiens.evaluation.people import EvaluationError
from opensapiens.inference.detection import Detector, detector_name
from opensapiens.storage.pictures import ImageError
from opensapiens.tasks.detection import LEAST_SCORE, DetectionMetric


def evaluate_detection(
    detector: Detector, pictures: Iterable[Sample], records: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The figures of `DetectionMetric.report` for pictures with everybody's box.

    records: a list to which a dictionary is added for each picture. The average precision is over all boxes, however
    low their score, of detectors with a `threshold`. Raises EvaluationError if nobody is annotated.
    """
    threshold = getattr(detector, "threshold", 0.0)
    metric = DetectionMetric(threshold)
    find = copy.copy(detector)
    if hasattr(find, "threshold"):
        find.threshold = min(threshold, LEAST_SCORE)
    count = 0
    for sample in pictures:
        count += 1
        boxes, scores = find(sample.image)
        order = np.argsort(-scores, kind="stable")
        found = np.column_stack([boxes, scores])[order]
        figures = metric.update(found, sample)
        if records is not None:
            records.append({"key": sample.key, **figures, "boxes": found.astype(float).round(3).tolist()})
    figures = metric.report()
    if not figures["people"]:
        raise EvaluationError("nobody is annotated in these pictures")
    return {"detector": detector_name(detector), "threshold": threshold, "images": count, **figures}


def read_coco_people(
    annotations: str | Path, images: str | Path, limit: int | None = None, failures: list[str] | None = None
) -> Iterator[Sample]:
    """All images of a COCO file with everybody's box; crowds may be missed. At most `limit`.

    failures: a list to which a sentence is added for each image that cannot be read; without it they raise ImageError.
    Raises AnnotationError for a file that is no COCO file.
    """
    content = read_annotations(annotations)
    people: dict[int | str, list[list[float]]] = {}
    for person in coco_persons(content, annotations, images):
        if (person.box[2:] > person.box[:2]).all():
            people.setdefault(person.image.id, []).append([*person.box, not person.is_crowd])
    for image in list(coco_images(content, str(annotations), Path(images)).values())[:limit]:
        try:
            pixels = image.read()
        except ImageError as error:
            if failures is None:
                raise
            failures.append(str(error))
            continue
        yield Sample(pixels, image.path.name, people=np.array(people.get(image.id, []), np.float32).reshape(-1, 5))
