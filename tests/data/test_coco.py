"""COCO and COCO-WholeBody files in and out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from opensapiens.data.coco import (
    WHOLEBODY_FIELDS,
    AnnotationError,
    CocoDataset,
    coco_result,
    read_coco_persons,
    write_coco_keypoints,
)
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet


def person(number: int, **changes: Any) -> dict[str, Any]:
    """An annotation whose points are numbered, so that their order can be seen."""
    record: dict[str, Any] = {"id": number, "image_id": 7, "category_id": 1, "bbox": [2, 3, 10, 12], "area": 55.5}
    start = 0
    for field, count in WHOLEBODY_FIELDS.items():
        record[field] = [v for i in range(start, start + count) for v in (i, 1000 + i, 1)]
        start += count
    return record | changes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.new("RGB", (20, 14), "blue").save(tmp_path / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 14}],
        "annotations": [
            person(1),
            person(2, iscrowd=1, bbox=[-5, 0, 100, 100]),
            person(3, keypoints=[0] * 51),
            person(4, category_id=17),
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path / "annotations.json"


def test_coco_persons(file: Path) -> None:
    persons = read_coco_persons(file, file.parent)
    assert [p.annotation_id for p in persons] == [1, 2, 3]  # 4 is no person
    first = persons[0]
    assert first.box.tolist() == [2, 3, 12, 13] and first.area == 55.5 and not first.is_crowd and first.image_id == 7
    assert persons[1].box.tolist() == [0, 0, 19, 13] and persons[1].is_crowd
    assert first.keypoints is not None and first.keypoints.shape == (17, 3)
    assert first.keypoints[16].tolist() == [16, 1016, 1]


def test_wholebody_persons_are_joined_in_order(file: Path) -> None:
    keypoints = read_coco_persons(file, file.parent, WHOLEBODY_133)[0].keypoints
    assert keypoints is not None
    np.testing.assert_array_equal(keypoints[:, 0], np.arange(133))
    assert keypoints[:23, 2].tolist() == [1] * 23  # body and feet keep "labelled but hidden"
    assert keypoints[23:, 2].tolist() == [2] * 110


def test_training_takes_people_with_enough_points(file: Path) -> None:
    dataset = CocoDataset(read_coco_persons(file, file.parent))
    assert len(dataset) == 1
    sample = dataset[0]
    assert sample.image.shape == (14, 20, 3) and sample.image[0, 0].tolist() == [0, 0, 255]
    assert sample.keypoint_set is COCO_17 and sample.key == "a.png#1" and sample.parts is None


def test_files_that_are_none(tmp_path: Path, file: Path) -> None:
    with pytest.raises(AnnotationError, match=r"annotation 1 .*17 points; sapiens_308 has 308"):
        read_coco_persons(file, tmp_path, SAPIENS_308)
    (tmp_path / "bad.json").write_text("{")
    for path in (tmp_path / "bad.json", tmp_path / "missing.json"):
        with pytest.raises(AnnotationError, match=path.name):
            read_coco_persons(path, tmp_path)
    content = json.loads(file.read_text())
    content["annotations"][0]["image_id"] = 8
    file.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="annotation 1 "):
        read_coco_persons(file, tmp_path)
    content["annotations"][0] |= {"image_id": 7, "keypoints": [0] * 50}
    file.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="annotation 1 "):
        read_coco_persons(file, tmp_path)


@pytest.mark.parametrize("keypoint_set", [COCO_17, WHOLEBODY_133], ids=["17", "133"])
def test_results_are_read_back(tmp_path: Path, keypoint_set: KeypointSet) -> None:
    count = len(keypoint_set)
    points = np.random.default_rng(0).uniform(0, 99, (count, 2)).astype(np.float32)
    scores = np.linspace(0, 1, count, dtype=np.float32)
    write_coco_keypoints(tmp_path / "out" / "r.json", [coco_result(7, points, scores, 0.5, keypoint_set)])
    (result,) = json.loads((tmp_path / "out" / "r.json").read_text())
    assert (result["image_id"], result["category_id"], result["score"]) == (7, 1, 0.5)
    fields = list(WHOLEBODY_FIELDS) if count == 133 else ["keypoints"]
    triples = np.concatenate([np.reshape(result[field], (-1, 3)) for field in fields])
    np.testing.assert_allclose(triples, np.column_stack([points, scores]), atol=1e-4)
    if count == 133:
        assert {field: len(result[field]) // 3 for field in fields} == WHOLEBODY_FIELDS


def test_308_points_under_the_published_field(file: Path) -> None:
    content = json.loads(file.read_text())
    content["annotations"] = [person(1, goliath_wholebody_kpts=[v for i in range(308) for v in (i, 2 * i, i % 3)])]
    file.write_text(json.dumps(content))
    keypoints = read_coco_persons(file, file.parent, SAPIENS_308)[0].keypoints
    assert keypoints is not None and keypoints.shape == (308, 3) and keypoints[300].tolist() == [300, 600, 0]


def test_points_come_in_the_order_of_the_set_whatever_that_of_the_file(file: Path) -> None:
    content = json.loads(file.read_text())
    names = ["left_wrist", "nose", "tail"]  # a tail is not among the 308
    content["categories"] = [{"id": 1, "name": "person", "keypoints": names}]
    content["annotations"] = [person(1, keypoints=[1, 2, 2, 3, 4, 1, 5, 6, 2])]
    file.write_text(json.dumps(content))
    keypoints = read_coco_persons(file, file.parent, SAPIENS_308)[0].keypoints
    assert keypoints is not None
    assert keypoints[SAPIENS_308.index("left_wrist")].tolist() == [1, 2, 2] and keypoints[0].tolist() == [3, 4, 1]
    assert (keypoints[:, 2] > 0).sum() == 2, "points that the file lacks are unlabelled"
    content["categories"][0]["keypoints"] = ["snout", "tail", "paw"]
    file.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="none of the points of sapiens_308"):
        read_coco_persons(file, file.parent, SAPIENS_308)


def test_images_lie_in_their_folder(file: Path) -> None:
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = "../secret.png"
    file.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="outside the folder"):
        read_coco_persons(file, file.parent)
