"""COCO's keypoint average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STATISTICS = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75", "AR_medium", "AR_large")


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
