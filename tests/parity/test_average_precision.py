"""Scores of points against the published evaluation: dedup, suppression, every part, all ten statistics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from opensapiens.data.coco import WHOLEBODY_FIELDS
from opensapiens.evaluation.average_precision import STATISTICS, average_precision
from opensapiens.tasks.pose import oks_suppression, person_score

from .cases import Case, cases, name_of

pytest.importorskip("faster_coco_eval")

# Score and suppression of the published settings that are ours: box times points, box alone, points alone. The others,
# soft suppression and the sum of both scores, are in no published config.
SETTINGS: dict[str, tuple[Callable[[dict], float], float | None]] = {
    "default": (lambda p: person_score(p["bbox_score"], np.array(p["keypoint_scores"])), 0.9),
    "bbox_score_no_nms": (lambda p: p["bbox_score"], None),
    "keypoint_nms0.5": (lambda p: float(np.mean(p["keypoint_scores"])), 0.5),
}
FIELDS = {**dict(zip(WHOLEBODY_FIELDS, ("body", "foot", "face", "lefthand", "righthand"), strict=True))}


def detections_of(case: Case, setting: str) -> list[dict[str, Any]]:
    """What is left of the case's predictions, one per id, as COCO detections of all points."""
    scored, threshold = SETTINGS[setting]
    sigmas = np.array(case.description["sigmas"])
    people = list({prediction["id"]: prediction for prediction in case.description["preds"]}.values())
    left = []
    for image_id in dict.fromkeys(person["img_id"] for person in people):
        group = [person for person in people if person["img_id"] == image_id]
        points = np.array([person["keypoints"] for person in group])
        scores = np.array([scored(person) for person in group])
        areas = np.array([np.prod(person["bbox_scale"]) for person in group])
        kept = range(len(group)) if threshold is None else oks_suppression(points, scores, areas, sigmas, threshold)
        for index in kept:
            triples = np.column_stack([points[index], group[index]["keypoint_scores"]])
            left.append(
                {
                    "image_id": image_id,
                    "category_id": 1,
                    "keypoints": triples.ravel().tolist(),
                    "score": float(scores[index]),
                }
            )
    return left


def assert_kept(detections: list[dict[str, Any]], published: list[tuple[int, float]]) -> None:
    """The same people are left, with the same scores."""
    ours = sorted((found["image_id"], found["score"]) for found in detections)
    np.testing.assert_allclose(np.array(ours), np.array(sorted(map(tuple, published))), atol=1e-5)


def assert_parts(
    case: Case,
    detections: list[dict[str, Any]],
    parts: dict[str, tuple[np.ndarray, str]],
    expected: dict[str, list[float]],
) -> None:
    """Each part (its points, the field of the annotations that holds them) has the published ten statistics."""
    sigmas = np.array(case.description["sigmas"])
    body = parts["keypoints_body"][0] if "keypoints_body" in parts else np.arange(len(sigmas))
    for found in detections:
        points = np.reshape(found["keypoints"], (-1, 3))[body, :2]
        found["area"] = float(np.prod(np.ptp(points, axis=0)))
    assert set(parts) == set(expected)
    for part, (points, field) in parts.items():
        annotations = []
        for record in case.description["gt"]["annotations"]:
            whole = np.zeros((len(sigmas), 3))
            whole[points] = np.concatenate([np.reshape(record[name], (-1, 3)) for name in field.split("+")])
            annotations.append({**record, "keypoints": whole.ravel().tolist()})
        ours = average_precision({**case.description["gt"], "annotations": annotations}, detections, sigmas, points)
        theirs = dict(zip(STATISTICS, expected[part], strict=True))
        assert ours == pytest.approx(
            {name: v if v >= 0 else float("nan") for name, v in theirs.items()}, abs=1e-6, nan_ok=True
        ), part


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", cases("coco_metric", "coco_wholebody_metric"), ids=name_of)
def test_coco(case: Case, setting: str) -> None:
    published = case.description["results"][setting]
    detections = detections_of(case, setting)
    assert len(detections) == published["num_after_nms"]
    assert_kept(detections, published["kept"])
    parts: dict[str, tuple[np.ndarray, str]] = {}
    if case.kind == "coco_wholebody_metric":
        start = 0
        for field, count in WHOLEBODY_FIELDS.items():
            parts[f"keypoints_{FIELDS[field]}"] = (np.arange(start, start + count), field)
            start += count
        parts["keypoints_wholebody"] = (np.arange(start), "+".join(WHOLEBODY_FIELDS))
    else:
        parts["keypoints"] = (np.arange(len(case.description["sigmas"])), "keypoints")
    assert_parts(case, detections, parts, published["per_part_stats"])


@pytest.mark.parametrize("case", cases("goliath_metric"), ids=name_of)
def test_308_points(case: Case) -> None:
    golden, split = case.description["golden"], case.description["gt"]["info"]["goliath_info"]
    detections = detections_of(case, "default")
    assert_kept(detections, golden["kept"])
    names = {"body": "body", "foot": "foot", "face": "face", "left_hand": "lefthand", "right_hand": "righthand"}
    fields = {name: field for field, name in FIELDS.items()}
    parts = {
        f"keypoints_{name}": (np.array(split[f"{group}_keypoint_ids"]), fields[name]) for group, name in names.items()
    }
    parts["keypoints_wholebody_goliath"] = (np.arange(len(case.description["sigmas"])), "goliath_wholebody_kpts")
    assert_parts(case, detections, parts, golden["per_part_stats"])
