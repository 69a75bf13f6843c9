"""Evaluates a pipeline on keypoints: COCO's average precision, mean OKS and masks, beside a trivial answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from opensapiens.evaluation.average_precision import average_precision
from opensapiens.evaluation.people import AnnotatedImage, AnnotatedPerson, EvaluationError, hardest_third
from opensapiens.evaluation.protocols import POSE_PROTOCOLS, PoseProtocol
from opensapiens.geometry.boxes import center_and_scale
from opensapiens.inference.boxes import NOBODY, in_image
from opensapiens.inference.pipeline import People
from opensapiens.labels.keypoint_maps import convert_keypoints, source_indices
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.tasks.pose import oks, oks_suppression, person_score
from opensapiens.tasks.segmentation import SegmentationTask

FOUND = 0.5  # object keypoint similarity from which a person counts as found
BOOTSTRAP_SAMPLES = 2000

PersonBoxes = Mapping[int | str, tuple[np.ndarray, np.ndarray]]
"""By image id, the boxes (N, 4) xyxy and scores (N,) of a detector."""


@dataclass(eq=False)
class _Collected:
    """Collected over the images; per annotated person: people, similarities and records."""

    protocol: PoseProtocol
    people: list[AnnotatedPerson] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)
    box_ious: list[float] = field(default_factory=list)  # of a mask that fills the box
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    detections: list[dict[str, Any]] = field(default_factory=list)


def evaluate_pose(
    people: People,
    images: Iterable[AnnotatedImage],
    detect: bool = False,
    flip: bool | None = None,
    protocol: PoseProtocol = POSE_PROTOCOLS["coco"],
    boxes: PersonBoxes | None = None,
    per_person: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A flat dictionary of figures for the points of a protocol, by default COCO's 17.

    detect: let the pipeline find the people; boxes: of a detector, with its scores; by default the annotated boxes are
    used. flip: None as the weights ask for. Each part of the protocol has its own "AP_" and "AR_". "mean_pose_" figures
    are those of an answer that does not see the picture: the mean annotated pose in each annotated box.
    "hardest_third_" figures are over those people alone, as if there were no others. per_person: a list to which a
    record of each person is added. Raises EvaluationError if the pipeline has no pose head, or one without some points
    of the protocol, or if there are no annotated people.
    """
    check_points(people, protocol)
    collected = _Collected(protocol)
    for image in images:
        # A person without points in the picture cannot be scored; COCO's AP leaves them out as well.
        scored = [person for person in image.persons if (person.keypoints[:, 2] > 0).any()]
        if scored or boxes is not None:
            _predict(people, replace(image, persons=scored), collected, detect, flip, boxes)
    if not collected.people:
        raise EvaluationError("no person with labeled keypoints in the annotations")
    if per_person is not None:
        per_person += collected.records
    hard = hardest_third([person.difficulty for person in collected.people])
    similarities = np.array(collected.similarities)
    low, high = bootstrap_interval(similarities)
    given = detect or boxes is not None
    figures: dict[str, Any] = {
        "images": len(collected.images),
        "people": len(collected.people),
        "keypoints": protocol.keypoint_set.name,
        "boxes": "detected" if detect else "from a file" if boxes is not None else "ground truth",
        **_precision(collected, collected.detections),
        **_part_precision(collected),
        "mean_OKS": float(similarities.mean()),
        "mean_OKS_low": low,
        "mean_OKS_high": high,
        "found_OKS50": int((similarities > FOUND).sum()),
        "hardest_third_people": int(hard.sum()),
        "hardest_third_mean_OKS": float(similarities[hard].mean()),
    }
    if not given:
        figures["hardest_third_AP"] = _precision(collected, collected.detections, hard)["AP"]
    if collected.mask_ious:
        figures |= {
            "mask_IoU": float(np.mean(collected.mask_ious)),
            "box_as_mask_IoU": float(np.mean(collected.box_ious)),
        }
    return figures | _trivial_figures(collected)


def _trivial_figures(collected: _Collected) -> dict[str, float]:
    """The figures of the mean pose."""
    poses = mean_pose(collected.people)
    similar = [
        float(similarity([person], pose[None], collected.protocol)[0])
        for person, pose in zip(collected.people, poses, strict=True)
    ]
    precision = _precision(collected, _baseline_detections(collected, poses))
    return {"mean_pose_AP": precision["AP"], "mean_pose_mean_OKS": float(np.mean(similar))}


def check_points(people: People, protocol: PoseProtocol) -> None:
    """Raises EvaluationError unless the pipeline predicts every point of the protocol."""
    keypoint_set = people.keypoint_set
    if keypoint_set is None:
        raise EvaluationError("this model has no pose head")
    missing = _missing_points(keypoint_set, protocol)
    if missing:
        fitting = [name for name, other in POSE_PROTOCOLS.items() if not _missing_points(keypoint_set, other)]
        hint = f"; it can be scored by {' or '.join(fitting)}" if fitting else ""
        raise EvaluationError(
            f"the model's {keypoint_set.name} lack {missing} points of the protocol {protocol.name}{hint}"
        )


def _missing_points(keypoint_set: KeypointSet, protocol: PoseProtocol) -> int:
    try:
        return int((source_indices(keypoint_set, protocol.keypoint_set) < 0).sum())
    except ValueError:  # no table maps the one set to the other
        return len(protocol.keypoint_set)


def similarity(
    people: Sequence[AnnotatedPerson], points_NK2: np.ndarray, protocol: PoseProtocol = POSE_PROTOCOLS["coco"]
) -> np.ndarray:
    """(N,) OKS of a protocol's points (N, K, 2) against annotated people."""
    truth = np.stack([person.keypoints for person in people]).astype(np.float64)
    area = np.array([person.area for person in people])
    sigmas = protocol.keypoint_set.sigmas
    tensors = map(torch.from_numpy, (points_NK2.astype(np.float64), truth[..., :2], truth[..., 2], area, sigmas))
    return oks(*tensors).numpy()


def bootstrap_interval(values: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """The interval that holds the mean with the given probability, by resampling the people 2000 times."""
    generator = np.random.default_rng(0)
    means = generator.choice(values, (BOOTSTRAP_SAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def mean_pose(people: Sequence[AnnotatedPerson]) -> np.ndarray:
    """(N, K, 2): the mean of all annotated points relative to their boxes, placed in each person's box."""
    boxes = np.stack([person.box for person in people]).astype(np.float64)
    truth = np.stack([person.keypoints for person in people]).astype(np.float64)
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    labeled = truth[..., 2:] > 0
    total = (((truth[..., :2] - corner) / size) * labeled).sum(axis=0)
    mean = np.where(labeled.any(axis=0), total / np.maximum(labeled.sum(axis=0), 1), 0.5)
    return corner + mean * size


def _predict(
    people: People,
    image: AnnotatedImage,
    collected: _Collected,
    detect: bool,
    flip: bool | None,
    boxes: PersonBoxes | None,
) -> None:
    given: np.ndarray | None = np.array([person.box for person in image.persons], np.float32).reshape(-1, 4)
    box_scores = None
    if boxes is not None:
        given, box_scores = boxes.get(image.coco_image["id"], (NOBODY, np.empty(0, np.float32)))
        has_area = in_image(given, image.image.shape[:2])
        given, box_scores = given[has_area], box_scores[has_area]
    predicted = people.predict_image(image.image, None if detect else given, flip).persons
    if box_scores is not None:
        predicted = [replace(person, score=float(score)) for person, score in zip(predicted, box_scores, strict=True)]
    protocol, keypoint_set = collected.protocol, people.keypoint_set
    assert keypoint_set is not None
    points = [
        convert_keypoints(person.keypoints, person.scores, keypoint_set, protocol.keypoint_set) for person in predicted
    ]
    collected.images.append(image.coco_image)
    collected.annotations += image.coco_annotations
    collected.people += image.persons
    annotated = not detect and boxes is None
    scores = [person_score(person.score, marks) for person, (_, marks) in zip(predicted, points, strict=True)]
    kept: Iterable[int] = range(len(predicted))
    if not annotated and predicted:
        # The published area is that of the padded crop, not of the box.
        areas = np.array([np.prod(center_and_scale(person.box)[1]) for person in predicted])
        points_NK2 = np.stack([places for places, _ in points])
        kept = oks_suppression(points_NK2, np.array(scores), areas, protocol.keypoint_set.sigmas).tolist()
    for index in kept:
        person_id = image.persons[index].id if annotated else None
        collected.detections.append(
            _detection(image.coco_image["id"], *points[index], scores[index], person_id, protocol)
        )
    for index, person in enumerate(image.persons):
        candidates = [index] if annotated else list(range(len(predicted)))
        similar = [float(similarity([person], points[i][0][None], protocol)[0]) for i in candidates]
        best = candidates[int(np.argmax(similar))] if similar else None
        collected.similarities.append(max(similar, default=0.0))
        collected.records.append(
            _record(image, person, collected.similarities[-1], None if best is None else points[best])
        )
        if person.sample.mask is not None and SegmentationTask.name in people.model_of_task:
            collected.mask_ious.append(_iou(predicted[best].mask, person.sample.mask) if best is not None else 0.0)
            collected.box_ious.append(_iou(_box_mask(person), person.sample.mask))


def _record(
    image: AnnotatedImage, person: AnnotatedPerson, similar: float, points: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, Any]:
    """One line of the results per person; its keypoints are those of the most similar prediction."""
    triples = [] if points is None else np.column_stack(points).astype(float).round(3).ravel().tolist()
    return {
        "image_id": image.coco_image["id"],
        "key": person.sample.key,
        "person": person.id,
        "box": person.box.astype(float).round(2).tolist(),
        "OKS": round(similar, 6),
        "keypoints": triples,
    }


def _detection(
    image_id: int | str,
    points: np.ndarray,
    scores: np.ndarray,
    score: float,
    person_id: int | None,
    protocol: PoseProtocol,
) -> dict[str, Any]:
    triples = np.column_stack([points, scores]).astype(float)
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": triples.ravel().tolist(),
        "score": score,
        "area": float(np.prod(np.ptp(triples[protocol.size_points, :2], axis=0))),
        "person_id": person_id,
    }


def _baseline_detections(collected: _Collected, poses: np.ndarray) -> list[dict[str, Any]]:
    image_of = {annotation["id"]: annotation["image_id"] for annotation in collected.annotations}
    certain = np.ones(poses.shape[1])
    return [
        _detection(image_of[person.id], pose, certain, 1.0, person.id, collected.protocol)
        for person, pose in zip(collected.people, poses, strict=True)
    ]


def _part_precision(collected: _Collected) -> dict[str, float]:
    """AP and AR of each part of the protocol, and the mean of both hands."""
    figures: dict[str, float] = {}
    for part, points in collected.protocol.parts.items():
        precision = _precision(collected, collected.detections, points=points)
        figures |= {f"AP_{part}": precision["AP"], f"AR_{part}": precision["AR"]}
    if {"left_hand", "right_hand"} <= set(collected.protocol.parts):
        for name in ("AP", "AR"):
            figures[f"{name}_hands"] = (figures[f"{name}_left_hand"] + figures[f"{name}_right_hand"]) / 2
    return figures


def _precision(
    collected: _Collected,
    detections: list[dict[str, Any]],
    chosen: np.ndarray | None = None,
    points: np.ndarray | None = None,
) -> dict[str, float]:
    """Average precision over everybody, or over the chosen people (bool per person) and their detections alone."""
    ids = None if chosen is None else {collected.people[index].id for index in np.flatnonzero(chosen)}
    keypoint_set = collected.protocol.keypoint_set
    truth = {
        "images": collected.images,
        "annotations": [entry for entry in collected.annotations if ids is None or entry["id"] in ids],
        "categories": [{"id": 1, "name": "person", "keypoints": list(keypoint_set.names), "skeleton": []}],
    }
    records = [
        {key: value for key, value in detection.items() if key != "person_id"}
        for detection in detections
        if ids is None or detection["person_id"] in ids
    ]
    return average_precision(truth, records, keypoint_set.sigmas, points)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def _box_mask(person: AnnotatedPerson) -> np.ndarray:
    mask = np.zeros(person.sample.image.shape[:2], bool)
    x1, y1, x2, y2 = np.round(person.box).astype(int)
    mask[y1:y2, x1:x2] = True
    return mask
