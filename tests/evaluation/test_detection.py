import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.cli.main import main
from opensapiens.evaluation.detection import evaluate_detection, read_coco_people
from opensapiens.evaluation.people import EvaluationError
from opensapiens.storage.pictures import ImageError


class Guesses:
    """Finds the left half of every picture, and less surely the right half."""

    name, threshold = "guesses", 0.5

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = image.shape[:2]
        boxes = np.array([[width / 2, 0, width, height], [0, 0, width / 2, height]], np.float32)
        scores = np.array([0.3, 0.9], np.float32)
        return boxes[scores >= self.threshold], scores[scores >= self.threshold]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of 40x20 with COCO boxes: people in both halves and a crowd; nobody."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 20)).save(tmp_path / name)
    images = [{"id": k, "file_name": name, "width": 40, "height": 20} for k, name in enumerate(("a.png", "b.png"))]
    boxes = [[0, 0, 20, 20], [20, 0, 20, 20]]
    annotations = [
        {"id": k + 1, "image_id": 0, "category_id": 1, "bbox": box, "area": 400, "iscrowd": 0}
        for k, box in enumerate(boxes)
    ]
    annotations.append({"id": 9, "image_id": 0, "category_id": 1, "bbox": [5, 5, 9, 9], "area": 81, "iscrowd": 1})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return tmp_path


def test_precision_is_at_the_detectors_threshold_and_average_precision_over_all_boxes(photos: Path) -> None:
    detector, records = Guesses(), []
    figures = evaluate_detection(detector, read_coco_people(photos / "coco.json", photos), records)
    assert (figures["detector"], figures["threshold"], figures["images"], figures["people"]) == ("guesses", 0.5, 2, 2)
    assert figures["recall"] == 0.5 and figures["precision"] == 0.5 and figures["wrong_boxes"] == 1
    assert figures["AP50"] == pytest.approx(0.5), "one right and one wrong box of each score"
    assert figures["wrong_boxes_per_picture_without_people"] == 1
    assert detector.threshold == 0.5, "the detector itself is not changed"
    assert [record["key"] for record in records] == ["a.png", "b.png"] and records[0]["found"] == 1
    assert len(records[0]["boxes"]) == 2


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_measured(photos: Path) -> None:
    (photos / "b.png").write_bytes(b"")
    failures: list[str] = []
    samples = list(read_coco_people(photos / "coco.json", photos, failures=failures))
    assert [sample.key for sample in samples] == ["a.png"] and "b.png" in failures[0]
    assert samples[0].people.tolist() == [[0, 0, 20, 19, 1], [20, 0, 39, 19, 1], [5, 5, 14, 14, 0]]
    with pytest.raises(ImageError, match=r"b\.png"):
        list(read_coco_people(photos / "coco.json", photos))
    assert len(list(read_coco_people(photos / "coco.json", photos, limit=1))) == 1


def test_pictures_without_anybody_measure_nothing() -> None:
    with pytest.raises(EvaluationError, match="nobody is annotated"):
        evaluate_detection(Guesses(), [])


def test_the_command(photos: Path, people_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco, json_file = photos / "coco.json", tmp_path / "out" / "f.json"
    json_file.parent.mkdir()
    arguments = ["evaluate", "detection", "--annotations", str(coco), "--images", str(photos)]
    assert main([*arguments, "--json", str(json_file), "--per-person", str(tmp_path / "out" / "p.jsonl")]) == 0
    figures = json.loads(json_file.read_text())
    assert figures["task"] == "detection" and figures["detector"].startswith("opensapiens-detector")
    assert len((tmp_path / "out" / "p.jsonl").read_text().splitlines()) == 2
    assert main(["evaluate", "detection", "--images", str(people_shards), "--limit", "2"]) == 0
    assert "whole_picture_AP50" in capsys.readouterr().out
    assert main(["evaluate", "detection", "--images", str(photos)]) == 2
    assert "name their COCO file with --annotations" in capsys.readouterr().err
