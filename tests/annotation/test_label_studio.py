"""What is written for Label Studio fits its own library, and its export is read back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensapiens.annotation.association import Detection
from opensapiens.annotation.label_studio import write_interface, write_tasks
from opensapiens.annotation.picture_labels import PictureLabels
from opensapiens.annotation.tool_files import (
    has_points,
    holds_both,
    part_annotations,
    prelabeled,
    read_corrected,
    read_corrected_parts,
    read_tool_file,
)
from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.parts import SAPIENS_28

PICTURE = PictureLabels("cam 1/ä.jpg", (60, 40), [])
STEMS = {"cam 1/ä": "cam 1/ä.jpg"}


def people() -> list[Detection]:
    """Two, of whom the second has points that the model is unsure of, and some that it did not find."""
    generator = np.random.default_rng(0)
    first = Detection(generator.uniform(2, 18, (17, 2)).round(2), np.full(17, 0.8), np.array([1.0, 4, 19, 51]), 0.9, 1)
    scores = np.resize([0.8, 0.2, 0.01], 17)
    return [first, Detection(generator.uniform(21, 38, (17, 2)).round(2), scores, np.array([20.0, 19, 39, 56]), 0.8, 2)]


def part_map() -> tuple[np.ndarray, np.ndarray]:
    parts, numbers = np.zeros((60, 40), np.uint8), np.zeros((60, 40), np.uint8)
    parts[5:50, 2:18], parts[12:20, 6:12], numbers[5:50, 2:18] = 21, 3, 1
    parts[20:55, 22:38], numbers[20:55, 22:38] = 5, 2
    return parts, numbers


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_interface(tmp_path / "label_studio.xml", COCO_17, SAPIENS_28)
    rows = [(PICTURE, [prelabeled(person) for person in people()], part_annotations(*part_map(), "polygons"))]
    write_tasks(tmp_path / "label_studio.json", rows, COCO_17, SAPIENS_28, "/data/local-files/?d=")
    return tmp_path


def exported(folder: Path) -> list[dict[str, Any]]:
    """As Label Studio exports tasks whose predictions a person has accepted."""
    tasks = json.loads((folder / "label_studio.json").read_text())
    for number, task in enumerate(tasks, start=1):
        task["id"] = number
        task["annotations"] = [{"id": number, "was_cancelled": False, "result": task["predictions"][0]["result"]}]
    return tasks


def read_back(folder: Path, tasks: list[dict[str, Any]]) -> tuple[list[tuple[Detection, np.ndarray]], np.ndarray]:
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    content = read_tool_file(path, COCO_17)
    assert has_points(content) and holds_both(content)
    points = read_corrected(content, path, folder, STEMS, COCO_17)
    parts = read_corrected_parts(content, path, STEMS, SAPIENS_28)
    assert not points.failures and not parts.failures
    return points.people["cam 1/ä.jpg"], parts.maps["cam 1/ä.jpg"]


def test_points_and_parts_come_back(written: Path) -> None:
    found, parts = read_back(written, exported(written))
    assert len(found) == 2
    for person, (one, visibility) in zip(people(), found, strict=True):
        assert visibility.tolist() == np.select([person.scores >= 0.3, person.scores >= 0.05], [2, 1], 0).tolist()
        assert np.abs(one.points - person.points)[visibility > 0].max() < 1e-4
        assert np.abs(one.box - person.box).max() < 1e-4
    assert np.array_equal(parts, part_map()[0])


def test_a_point_that_a_person_drew_belongs_to_the_box_around_it(written: Path) -> None:
    tasks = exported(written)
    regions = tasks[0]["annotations"][0]["result"]
    regions[:] = [region for region in regions if region["id"] != "person_2_0"]
    regions[0]["value"] |= {"x": 0, "y": 0, "width": 100, "height": 100}  # the other person's box is around it, too
    nose = {"x": 100 * 30.5 / 40, "y": 100 * 25.5 / 60, "width": 0.4, "keypointlabels": ["nose"]}
    regions.append(
        {"id": "drawn", "original_width": 40, "original_height": 60, "type": "keypointlabels", "value": nose}
    )
    found, _ = read_back(written, tasks)
    assert found[1][0].points[0].tolist() == pytest.approx([30, 25], abs=1e-4) and found[1][1][0] == 2


def test_the_newest_annotation_counts(written: Path) -> None:
    tasks = exported(written)
    old = {"id": 9, "was_cancelled": False, "result": []}
    cancelled = {"id": 10, "was_cancelled": True, "result": []}
    tasks[0]["annotations"] = [old, *tasks[0]["annotations"], cancelled]
    tasks.append({"id": 7, "data": {"image": "b.jpg"}, "annotations": []})
    found, _ = read_back(written, tasks)
    assert len(found) == 2


def test_label_studios_own_library_accepts_them(written: Path) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface
    config = (written / "label_studio.xml").read_text()
    checked = interface(config)
    checked.validate()
    (task,) = json.loads((written / "label_studio.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=cam%201/%C3%A4.jpg"
    (prediction,) = task["predictions"]
    assert checked.validate_prediction(prediction, return_errors=True) == []
    broken = json.loads(json.dumps(prediction))
    broken["result"][1]["value"]["keypointlabels"] = ["no such point"]
    assert checked.validate_prediction(broken, return_errors=True)


def test_label_studios_own_converter_reads_a_person(written: Path, tmp_path: Path) -> None:
    """To COCO, which it rounds to whole pixels; it puts all points of an image into one person."""
    converter = pytest.importorskip("label_studio_sdk.converter").Converter
    tasks = exported(written)
    regions = tasks[0]["annotations"][0]["result"]
    regions[:] = [region for region in regions if "person_2" not in region["id"]]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    own = converter((written / "label_studio.xml").read_text(), str(tmp_path), download_resources=False)
    own.convert_to_coco(str(tmp_path / "export.json"), str(tmp_path / "coco"), is_dir=False)
    content = json.loads((tmp_path / "coco" / "result.json").read_text())
    (row,) = [row for row in content["annotations"] if "keypoints" in row]
    triples = np.array(row["keypoints"]).reshape(17, 3)
    assert np.abs(triples[:, :2] - (people()[0].points + 0.5)).max() <= 0.51 and (triples[:, 2] == 2).all()
