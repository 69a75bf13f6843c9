"""How well a pipeline labels pixels: body parts, depth, normals, each beside a trivial answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import numpy as np
import torch

from opensapiens.data.sample import Sample
from opensapiens.evaluation.people import AnnotatedImage, EvaluationError
from opensapiens.inference.forward import Prediction
from opensapiens.inference.pipeline import People
from opensapiens.tasks.depth.metrics import DepthMetric
from opensapiens.tasks.depth.targets import depth_targets
from opensapiens.tasks.normals.metrics import NormalsMetric
from opensapiens.tasks.normals.targets import normals_targets
from opensapiens.tasks.segmentation.metrics import SegmentationMetric

BASELINE_STRIDE = 4  # the mean normal is taken and scored on every 4th pixel of every 4th row: the answer is the same

DenseTask = Literal["segmentation", "depth", "normals"]


def evaluate_dense(
    people: People,
    images: Iterable[AnnotatedImage],
    task: DenseTask,
    flip: bool | None = None,
    per_person: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """A flat dictionary of figures, at the resolution of the images, over each person's padded box (given, not
    detected).

    segmentation: mIoU, mAcc, aAcc, mask_IoU (person against not), IoU_PART; "background_" figures: everything is
    background.
    depth: rmse, abs_rel, delta1, r2 over the true mask after the best scale and shift per person; "constant_": its mean
    depth.
    normals: mean, median (degrees), within_11.25, … over the true mask; "mean_normal_": the mean normal of the set
    everywhere.
    flip: None as the weights ask for. per_person: a list that gets the figures of each person.
    Raises EvaluationError if the pipeline lacks the head or the data the labels.
    """
    if task not in people.model_of_task:
        raise EvaluationError(f"this model has no {task} head")
    scorers: dict[str, type[_Scorer]] = {"segmentation": _Segmentation, "depth": _Depth, "normals": _Normals}
    scorer = scorers[task](people)
    count = persons = 0
    for image in images:
        boxes = np.array([person.box for person in image.persons], np.float32).reshape(-1, 4)
        predictions = people.predict_boxes(image.image, boxes, flip)[task]
        count, persons = count + 1, persons + len(boxes)
        for person, prediction in zip(image.persons, predictions, strict=True):
            figures = scorer.add(prediction, _in_window(person.sample, prediction))
            if per_person is not None:
                per_person.append({"image_id": image.coco_image["id"], "key": person.sample.key, **figures})
    if persons == 0:
        raise EvaluationError("no person in the data")
    return {"images": count, "people": persons, "boxes": "ground truth", "region": scorer.region, **scorer.figures()}


def _in_window(sample: Sample, prediction: Prediction) -> Sample:
    """The labels of a sample where the prediction covers the image."""
    left, top, right, bottom = prediction.view.window
    here = np.s_[top:bottom, left:right]

    def cut(labels: np.ndarray | None) -> np.ndarray | None:
        return None if labels is None else labels[here]

    return Sample(
        sample.image[here],
        sample.key,
        parts=cut(sample.parts),
        depth=cut(sample.depth),
        normals=cut(sample.normals),
        mask=cut(sample.mask),
        part_set=sample.part_set,
    )


class _Scorer(Protocol):
    region: str

    def __init__(self, people: People) -> None: ...
    def add(self, prediction: Prediction, truth: Sample) -> dict[str, float]: ...
    def figures(self) -> dict[str, float]: ...


class _Segmentation:
    region = "padded person box"

    def __init__(self, people: People) -> None:
        part_set = people.model_of_task["segmentation"].part_set
        assert part_set is not None
        self.part_set = part_set
        self.metric = SegmentationMetric(len(part_set))
        self.person_metric = SegmentationMetric(2)

    def add(self, prediction: Prediction, truth: Sample) -> dict[str, float]:
        if truth.parts is None:
            raise EvaluationError(f"{truth.key}: no part labels")
        assert prediction.parts is not None
        if truth.part_set.name != self.part_set.name:
            raise EvaluationError(
                f"{truth.key}: labelled with {truth.part_set.name}, the model predicts {self.part_set.name}"
            )
        predicted, labels = torch.from_numpy(prediction.parts), torch.from_numpy(np.ascontiguousarray(truth.parts))
        own, own_person = SegmentationMetric(len(self.part_set)), SegmentationMetric(2)
        own.update(predicted[None], {"labels": labels[None]})
        person = torch.where(labels == 255, labels, (labels > 0).to(torch.uint8))
        own_person.update((predicted > 0).to(torch.uint8)[None], {"labels": person[None]})
        self.metric.totals += own.totals
        self.person_metric.totals += own_person.totals
        return {**own.compute(), "mask_IoU": float(own_person.per_class()["IoU"][1])}

    def figures(self) -> dict[str, float]:
        truth = self.metric.totals[2]
        share = float(truth[0] / truth.sum())
        per_class = self.metric.per_class()["IoU"].tolist()
        return {
            **self.metric.compute(),
            "mask_IoU": float(self.person_metric.per_class()["IoU"][1]),
            "background_mIoU": share / max(1, int((truth > 0).sum())),
            "background_aAcc": share,
            **{f"IoU_{name}": value for name, value in zip(self.part_set.names, per_class, strict=True)},
        }


class _Depth:
    region = "true mask"

    def __init__(self, people: People) -> None:
        self.metric = DepthMetric()

    def add(self, prediction: Prediction, truth: Sample) -> dict[str, float]:
        if truth.depth is None:
            raise EvaluationError(f"{truth.key}: no depth labels")
        assert prediction.depth is not None
        truth.depth = np.where(np.isfinite(prediction.depth), truth.depth, np.float32(np.nan))
        own = DepthMetric()
        own.update(torch.from_numpy(np.nan_to_num(prediction.depth))[None], depth_targets([truth]))
        self.metric.totals += own.totals
        return own.compute()

    def figures(self) -> dict[str, float]:
        return {**self.metric.compute(), "constant_r2": 0.0}


class _Normals:
    region = "true mask"

    def __init__(self, people: People) -> None:
        self.metric = NormalsMetric()
        self.seen: list[np.ndarray] = []

    def add(self, prediction: Prediction, truth: Sample) -> dict[str, float]:
        if truth.normals is None:
            raise EvaluationError(f"{truth.key}: no labels of normals")
        assert prediction.normals is not None
        covered = np.isfinite(prediction.normals).all(axis=-1, keepdims=True)
        if truth.mask is not None:  # the trivial answer, too, is of the person alone
            covered &= truth.mask[..., None]
        truth.normals = np.where(covered, truth.normals, np.float32(np.nan))
        predicted = np.nan_to_num(prediction.normals).transpose(2, 0, 1)
        own = NormalsMetric()
        own.update(torch.from_numpy(np.ascontiguousarray(predicted))[None], normals_targets([truth]))
        self.metric.totals += own.totals
        sparse = truth.normals[::BASELINE_STRIDE, ::BASELINE_STRIDE]
        self.seen.append(sparse[np.isfinite(sparse).all(axis=-1)].astype(np.float16))
        return own.compute()

    def figures(self) -> dict[str, float]:
        vectors = torch.from_numpy(np.concatenate(self.seen).astype(np.float32).T[None, :, None])  # (1, 3, 1, N)
        baseline = NormalsMetric()
        baseline.update(vectors.mean(dim=-1, keepdim=True).expand_as(vectors), {"normals": vectors})
        return {**self.metric.compute(), **{f"mean_normal_{name}": value for name, value in baseline.compute().items()}}
