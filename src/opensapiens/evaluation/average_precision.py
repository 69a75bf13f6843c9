"""COCO's keypoint average precision, with the published rules for scores and duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STATISTICS = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large")
CONFIDENT = 0.2  # points scoring above it count in a person's score
DUPLICATE = 0.9  # object keypoint similarity above which the lower-scored of two people is dropped


def person_score(box_score: float, keypoint_scores: np.ndarray) -> float:
    """The published score of a person: that of the box times the mean over points scoring above 0.2 (0 without any)."""
    confident = keypoint_scores[keypoint_scores > CONFIDENT]
    return float(box_score * confident.mean()) if len(confident) else 0.0


def oks_suppression(
    points_NK2: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, threshold: float = DUPLICATE
) -> np.ndarray:
    """Indices (n,) of the people of one image who stay, best first, when each removes those too similar to it.

    The similarity is OKS with the mean of both areas (pixels; the published code takes those of the padded boxes).
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        squared = ((points_NK2[order] - points_NK2[best]) ** 2).sum(axis=-1)
        area = (areas[order] + areas[best]) / 2 + np.spacing(1)
        similarity = np.exp(-squared / (2 * sigmas) ** 2 / area[:, None] / 2).mean(axis=1)
        order = order[similarity <= threshold]
    return np.array(kept, dtype=int)


def average_precision(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    sigmas: np.ndarray,
    points: np.ndarray | None = None,
) -> dict[str, float]:
    """COCO's ten keypoint statistics, 0–1; NaN where no annotated person is of that size.

    ground_truth: a COCO annotation dictionary; detections: COCO results (image_id, category_id, keypoints as x, y,
    score, score), in which an "area" stands above the extent of the points for COCO's classes of size. sigmas: of all
    points. points: indices of those to score, for one part of a body; a person without any of them labeled is ignored,
    as by the published evaluation of whole bodies. Raises ModuleNotFoundError without the extra "eval".
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError as error:
        message = "average precision needs faster-coco-eval: pip install opensapiens[eval]"
        raise ModuleNotFoundError(message, name="faster_coco_eval") from error
    if not detections:
        return dict.fromkeys(STATISTICS, 0.0)
    chosen = np.arange(len(sigmas)) if points is None else points
    # COCO's code takes an id of 0 for none, merges equal ids, and knows 32-bit numbers only.
    number_of = {record["id"]: number for number, record in enumerate(ground_truth["images"], start=1)}
    annotations = [
        {**_annotation(record, chosen), "id": number, "image_id": number_of[record["image_id"]]}
        for number, record in enumerate(ground_truth["annotations"], start=1)
    ]
    images = [{"id": number} for number in number_of.values()]
    truth = COCO({**ground_truth, "images": images, "annotations": annotations})
    results = truth.loadRes(
        [
            {**record, "image_id": number_of[record["image_id"]], "keypoints": _picked(record, chosen)}
            for record in detections
        ]
    )
    for loaded, given in zip(results.dataset["annotations"], detections, strict=True):
        loaded["area"] = given.get("area", loaded["area"])
    evaluation = COCOeval_faster(
        truth, results, iouType="keypoints",
        print_function=lambda *_: None, kpt_oks_sigmas=sigmas[chosen].astype(float).tolist(),
    )  # fmt: skip
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    values = [float(value) for value in evaluation.stats[: len(STATISTICS)]]
    return {name: value if value >= 0 else float("nan") for name, value in zip(STATISTICS, values, strict=True)}


def _annotation(record: Mapping[str, Any], chosen: np.ndarray) -> dict[str, Any]:
    keypoints = _picked(record, chosen)
    labeled = sum(visibility > 0 for visibility in keypoints[2::3])
    return {**record, "ignore": record.get("iscrowd", 0), "keypoints": keypoints, "num_keypoints": labeled}


def _picked(record: Mapping[str, Any], chosen: np.ndarray) -> list[float]:
    return np.asarray(record["keypoints"], float).reshape(-1, 3)[chosen].ravel().tolist()
