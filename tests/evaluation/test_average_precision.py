import json
from pathlib import Path

import numpy as np
import pytest

from opensapiens.evaluation.average_precision import average_precision, oks_suppression, person_score

pytest.importorskip("faster_coco_eval")
CASES = sorted((Path(__file__).parent.parent / "parity" / "cases").glob("*.json"))
PUBLISHED_NAMES = ("AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")


def published() -> dict:
    return next(case for case in (json.loads(path.read_text()) for path in CASES) if case.get("kind") == "coco_metric")


@pytest.mark.parametrize(
    ("setting", "threshold", "scored"), [("default", 0.9, True), ("bbox_score_no_nms", None, False)]
)
def test_the_published_numbers_come_out(setting: str, threshold: float | None, scored: bool) -> None:
    case = published()
    sigmas = np.array(case["sigmas"])
    people = {prediction["id"]: prediction for prediction in case["preds"]}.values()
    detections = []
    for image_id in dict.fromkeys(person["img_id"] for person in people):
        group = [person for person in people if person["img_id"] == image_id]
        points = np.array([person["keypoints"] for person in group])
        marks = np.array([person["keypoint_scores"] for person in group])
        scores = [
            person_score(person["bbox_score"], mark) if scored else person["bbox_score"]
            for person, mark in zip(group, marks, strict=True)
        ]
        areas = np.array([np.prod(person["bbox_scale"]) for person in group])
        kept = (
            range(len(group))
            if threshold is None
            else oks_suppression(points, np.array(scores), areas, sigmas, threshold)
        )
        for index in kept:
            triples = np.column_stack([points[index], marks[index]]).ravel().tolist()
            detections.append({"image_id": image_id, "category_id": 1, "keypoints": triples, "score": scores[index]})
    ours = average_precision(case["gt"], detections, sigmas)
    theirs = case["results"][setting]["results"]
    assert list(ours.values()) == pytest.approx([theirs[f"coco/{name}"] for name in PUBLISHED_NAMES], abs=1e-6)


def test_the_score_counts_confident_points_only() -> None:
    assert person_score(0.5, np.array([0.9, 0.7, 0.1])) == pytest.approx(0.4)
    assert person_score(0.5, np.array([0.1, 0.2])) == 0


def test_no_detections_score_nothing() -> None:
    assert average_precision({"images": [], "annotations": [], "categories": []}, [], np.ones(17))["AP"] == 0
