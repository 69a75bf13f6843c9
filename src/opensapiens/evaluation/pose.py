"""How well a pipeline finds keypoints: COCO's average precision, mean OKS, masks, beside a trivial answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from opensapiens.evaluation.average_precision import average_precision, oks_suppression, person_score
from opensapiens.evaluation.people import AnnotatedImage, AnnotatedPerson, EvaluationError, hardest_third
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import Person
from opensapiens.labels.keypoint_maps import convert_keypoints
from opensapiens.labels.keypoints import COCO_17
from opensapiens.tasks.pose.metrics import oks

FOUND = 0.5  # object keypoint similarity from which a person counts as found
BOOTSTRAP_SAMPLES = 2000


@dataclass(eq=False)
class _Collected:
    """What the loop over images gathers; lists run over the annotated people unless they say otherwise."""

    people: list[AnnotatedPerson] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)
    box_ious: list[float] = field(default_factory=list)  # of the mask that is all of the box
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    detections: list[dict[str, Any]] = field(default_factory=list)


def evaluate_pose(
    people: People, images: Iterable[AnnotatedImage], detect: bool = False, flip: bool = False
) -> dict[str, Any]:
    """A flat dictionary of figures for COCO's 17 points.

    detect: let the pipeline find the people; otherwise it is given the annotated boxes. Prefixed "mean_pose_": the same
    figures for the answer that knows nothing of the picture, the mean annotated pose laid into each annotated box.
    "hardest_third_" figures are over those people alone, with no others in the way. Raises EvaluationError if the
    pipeline has no pose head or there are no annotated people.
    """
    if "pose" not in people.model_of_task:
        raise EvaluationError("this model has no pose head")
    collected = _Collected()
    for image in images:
        # Somebody of whom none of the 17 points is in the picture cannot be scored; COCO's AP leaves them out as well.
        scored = [person for person in image.persons if (person.keypoints[:, 2] > 0).any()]
        if scored:
            _predict(people, replace(image, persons=scored), collected, detect, flip)
    if not collected.people:
        raise EvaluationError("no person with labelled keypoints in the annotations")
    hard = hardest_third([person.difficulty for person in collected.people])
    baseline = mean_pose(collected.people)
    similarities = np.array(collected.similarities)
    low, high = bootstrap_interval(similarities)
    figures: dict[str, Any] = {
        "images": len(collected.images),
        "people": len(collected.people),
        "keypoints": COCO_17.name,
        "boxes": "detected" if detect else "ground truth",
        **_precision(collected, collected.detections),
        "mean_OKS": float(similarities.mean()),
        "mean_OKS_low": low,
        "mean_OKS_high": high,
        "found_OKS50": int((similarities > FOUND).sum()),
        "hardest_third_people": int(hard.sum()),
        "hardest_third_mean_OKS": float(similarities[hard].mean()),
    }
    if not detect:
        figures["hardest_third_AP"] = _precision(collected, collected.detections, hard)["AP"]
    if collected.mask_ious:
        figures |= {
            "mask_IoU": float(np.mean(collected.mask_ious)),
            "box_as_mask_IoU": float(np.mean(collected.box_ious)),
        }
    trivial = [
        float(similarity([person], points[None])[0]) for person, points in zip(collected.people, baseline, strict=True)
    ]
    precision = _precision(collected, _baseline_detections(collected, baseline))
    figures |= {"mean_pose_AP": precision["AP"], "mean_pose_mean_OKS": float(np.mean(trivial))}
    return figures


def similarity(people: Sequence[AnnotatedPerson], points_N172: np.ndarray) -> np.ndarray:
    """(N,) OKS of COCO points (N, 17, 2) against annotated people."""
    truth = np.stack([person.keypoints for person in people]).astype(np.float64)
    area = np.array([person.area for person in people])
    tensors = map(
        torch.from_numpy, (points_N172.astype(np.float64), truth[..., :2], truth[..., 2], area, COCO_17.sigmas)
    )
    return oks(*tensors).numpy()


def bootstrap_interval(values: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """The interval in which the mean lies with the given probability, by drawing the people anew 2000 times."""
    generator = np.random.default_rng(0)
    means = generator.choice(values, (BOOTSTRAP_SAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def mean_pose(people: Sequence[AnnotatedPerson]) -> np.ndarray:
    """(N, 17, 2): the mean of all annotated points in coordinates of their boxes, laid back into each person's box."""
    boxes = np.stack([person.box for person in people]).astype(np.float64)
    truth = np.stack([person.keypoints for person in people]).astype(np.float64)
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    labelled = truth[..., 2:] > 0
    total = (((truth[..., :2] - corner) / size) * labelled).sum(axis=0)
    mean = np.where(labelled.any(axis=0), total / np.maximum(labelled.sum(axis=0), 1), 0.5)
    return corner + mean * size


def _predict(people: People, image: AnnotatedImage, collected: _Collected, detect: bool, flip: bool) -> None:
    boxes = np.array([person.box for person in image.persons], np.float32)
    result = people.predict_image(image.image, None if detect else boxes, flip)
    found = result.persons
    points = [_coco_points(people, person) for person in found]
    collected.images.append(image.coco_image)
    collected.annotations += image.coco_annotations
    collected.people += image.persons
    kept = range(len(found))
    if detect and found:
        areas = np.array([np.prod(person.box[2:] - person.box[:2]) for person in found])
        scores = np.array(
            [person_score(person.score, scored) for person, (_, scored) in zip(found, points, strict=True)]
        )
        kept = oks_suppression(np.stack([p for p, _ in points]), scores, areas, COCO_17.sigmas).tolist()
    for index in kept:
        score = person_score(found[index].score, points[index][1])
        person_id = None if detect else image.persons[index].id
        collected.detections.append(_detection(image.coco_image["id"], *points[index], score, person_id))
    for index, person in enumerate(image.persons):
        candidates = range(len(found)) if detect else [index]
        similar = [float(similarity([person], points[i][0][None])[0]) for i in candidates]
        collected.similarities.append(max(similar, default=0.0))
        if person.sample.mask is not None and "segmentation" in people.model_of_task:
            best = candidates[int(np.argmax(similar))] if similar else None
            collected.mask_ious.append(_iou(found[best].mask, person.sample.mask) if best is not None else 0.0)
            collected.box_ious.append(_iou(_box_mask(person), person.sample.mask))


def _coco_points(people: People, person: Person) -> tuple[np.ndarray, np.ndarray]:
    keypoint_set = people.model_of_task["pose"].keypoint_set
    assert keypoint_set is not None
    return convert_keypoints(person.keypoints, person.scores, keypoint_set, COCO_17)


def _detection(
    image_id: int, points: np.ndarray, scores: np.ndarray, score: float, person_id: int | None
) -> dict[str, Any]:
    triples = np.column_stack([points, scores]).astype(float)
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": triples.ravel().tolist(),
        "score": score,
        "person_id": person_id,
    }


def _baseline_detections(collected: _Collected, poses: np.ndarray) -> list[dict[str, Any]]:
    image_of = {annotation["id"]: annotation["image_id"] for annotation in collected.annotations}
    return [
        _detection(image_of[person.id], pose, np.ones(17), 1.0, person.id)
        for person, pose in zip(collected.people, poses, strict=True)
    ]


def _precision(
    collected: _Collected, detections: list[dict[str, Any]], chosen: np.ndarray | None = None
) -> dict[str, float]:
    """Average precision over everybody, or with only the chosen people and their own detections in the world."""
    ids = (
        None
        if chosen is None
        else {person.id for person, wanted in zip(collected.people, chosen, strict=True) if wanted}
    )
    truth = {
        "images": collected.images,
        "annotations": [entry for entry in collected.annotations if ids is None or entry["id"] in ids],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.names), "skeleton": []}],
    }
    own = [
        {key: value for key, value in detection.items() if key != "person_id"}
        for detection in detections
        if ids is None or detection["person_id"] in ids
    ]
    return average_precision(truth, own, COCO_17.sigmas)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def _box_mask(person: AnnotatedPerson) -> np.ndarray:
    mask = np.zeros(person.sample.image.shape[:2], bool)
    x1, y1, x2, y2 = np.round(person.box).astype(int)
    mask[y1:y2, x1:x2] = True
    return mask
