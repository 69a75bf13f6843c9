"""`wholebody`: results for COCO-WholeBody's evaluation, a list with a row per person.

The 133 points are in five fields of x, y, score, as in its annotations: keypoints (17), foot_kpts (6), face_kpts (68),
lefthand_kpts and righthand_kpts (21 each). Points that a model lacks are 0, 0, 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from opensapiens.data.coco import WHOLEBODY_FIELDS
from opensapiens.inference.formats.format import Files, Format, Photo, VideoPeople
from opensapiens.labels.keypoint_maps import SHARED_114, convert_keypoints
from opensapiens.labels.keypoints import SAPIENS_308, WHOLEBODY_133, KeypointSet
from opensapiens.storage.files import write_json, written
from opensapiens.tasks.pose import PoseTask

ENDING = "wholebody.json"
HAND_ROOTS = {"left_hand_root": "left_wrist", "right_hand_root": "right_wrist"}


def whole_body(points: np.ndarray, scores: np.ndarray, source: KeypointSet) -> tuple[np.ndarray, np.ndarray]:
    """Points (K, 2) and scores (K,) of any set as COCO-WholeBody's 133; points that it lacks are 0 with score 0.

    Of the 308 points the face inside the jaw line comes from the table of shared points; the root of a hand is the
    wrist. Raises ValueError for a set that has no point of the 133.
    """
    if source.name == SAPIENS_308.name:
        points, scores = convert_keypoints(points, scores, source, SHARED_114)
        source = SHARED_114
    points, scores = convert_keypoints(points, scores, source, WHOLEBODY_133)
    for root, wrist in HAND_ROOTS.items():
        there, here = WHOLEBODY_133.index(wrist), WHOLEBODY_133.index(root)
        if scores[here] == 0:
            points[here], scores[here] = points[there], scores[there]
    return points, scores


def result_rows(
    annotations: Iterable[dict[str, Any]], image_id: dict[int, int], source: KeypointSet
) -> list[dict[str, Any]]:
    """Rows of results from COCO annotations; image_id: of the annotations -> of the results."""
    return [_row(annotation, image_id, source) for annotation in annotations if "keypoints" in annotation]


def _row(annotation: dict[str, Any], image_id: dict[int, int], source: KeypointSet) -> dict[str, Any]:
    points = np.array(annotation["keypoints"], float).reshape(-1, 3)[:, :2]
    placed, scores = whole_body(points, np.array(annotation["keypoint_scores"], float), source)
    triples = np.column_stack([placed.round(2), scores.round(4)])
    row = {"image_id": image_id[annotation["image_id"]], "category_id": 1, "bbox": annotation["bbox"]}
    first = 0
    for field, count in WHOLEBODY_FIELDS.items():
        row[field] = triples[first : first + count].ravel().tolist()
        first += count
    return row | {"score": annotation["score"]}


def id_in_name(file_name: str) -> int:
    """The number in the name of a photo, which is its id in COCO ("000000000139.jpg"); 1 without one."""
    digits = re.findall(r"\d+", PurePosixPath(file_name).stem)
    return int(digits[-1]) if digits else 1


def _of_photo(photo: Photo) -> Files:
    assert photo.result.keypoint_set is not None
    people = photo.result.to_coco(photo.file_name)["annotations"]
    rows = result_rows(people, {1: id_in_name(photo.file_name)}, photo.result.keypoint_set)
    return {ENDING: lambda path: write_json(path, rows, indent=None)}


def _of_video(video: VideoPeople) -> Files:
    """image_id: as in NAME_keypoints.json, the number of the frame counted from 1."""

    def write(path: Path) -> None:
        assert video.keypoint_set is not None
        with written(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            separator = "["
            for content in video.contents():
                own = {image["id"]: image["id"] for image in content["images"]}
                for row in result_rows(content["annotations"], own, video.keypoint_set):
                    file.write(separator + json.dumps(row, separators=(",", ":")))
                    separator = ",\n"
            file.write("[]\n" if separator == "[" else "]\n")

    return {ENDING: write}


WHOLEBODY = Format(_of_photo, video=_of_video, needs=(PoseTask.name,), endings=(ENDING,))
