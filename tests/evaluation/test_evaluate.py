"""A pipeline that repeats the truth scores everything, a random one next to nothing, and the figures say on what."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import opensapiens
from opensapiens.cli.main import main
from opensapiens.evaluation.dense import evaluate_dense
from opensapiens.evaluation.evaluate import evaluate
from opensapiens.evaluation.options import EvaluateOptions
from opensapiens.evaluation.people import (
    AnnotatedImage,
    EvaluationError,
    read_coco_images,
    read_person_boxes,
    read_shard_images,
)
from opensapiens.evaluation.pose import bootstrap_interval, evaluate_pose, mean_pose, similarity
from opensapiens.geometry.view import person_view
from opensapiens.inference.forward import Prediction
from opensapiens.inference.results import Person, Result
from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask

from .test_people import coco_file

pytest.importorskip("faster_coco_eval")


class Oracle:
    """Answers with the annotations, moved by `shift` pixels; with `detected`, whatever boxes it is given."""

    def __init__(self, images: list[AnnotatedImage], shift: float = 0.0) -> None:
        self.images = images
        self.shift = shift
        self.keypoint_set = COCO_17
        tasks = (PoseTask(COCO_17), SegmentationTask(SAPIENS_28), DepthTask(), NormalsTask())
        model = SimpleNamespace(tasks={task.name: task for task in tasks})
        self.model_of_task = dict.fromkeys(model.tasks, model)
        self.dense_tasks = {task.name: task for task in tasks[1:]}

    def truth(self, image: np.ndarray) -> AnnotatedImage:
        return next(one for one in self.images if np.array_equal(one.image, image))

    def predict_image(self, image: np.ndarray, boxes: Any = None, flip: bool = False) -> Result:
        found = [
            Person(i + 1, p.sample.box, 1.0, p.sample.mask, p.keypoints[:, :2] + self.shift, np.ones(17), COCO_17.names)
            for i, p in enumerate(self.truth(image).persons)
        ]
        return Result(image, found[::-1] if boxes is None else found)

    def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, flip: bool = False) -> dict[str, list[Prediction]]:
        made = []
        for person in self.truth(image).persons:
            view = person_view(person.sample.box, image.shape[:2], (64, 48), 1.25)
            left, top, right, bottom = view.window
            here = np.s_[top:bottom, left:right]
            sample = person.sample
            # Depth on a scale and from a zero of its own, which does not matter.
            decoded = {
                "segmentation": sample.parts[here],
                "depth": 3 - 0.5 * sample.depth[here],
                "normals": sample.normals[here],
            }
            made.append(Prediction(view, decoded))
        return {task: made for task in ("segmentation", "depth", "normals")}


@pytest.fixture
def shard_images(people_shards: Path) -> list[AnnotatedImage]:
    return list(read_shard_images(people_shards))


@pytest.mark.parametrize("detect", [False, True])
def test_the_truth_scores_one(shard_images: list[AnnotatedImage], detect: bool) -> None:
    figures = evaluate_pose(Oracle(shard_images), shard_images, detect)  # type: ignore[arg-type]
    assert figures["AP"] == pytest.approx(1) and figures["mean_OKS"] == pytest.approx(1)
    assert figures["people"] == figures["found_OKS50"] == 12 and figures["images"] == 6
    assert figures["mask_IoU"] == 1 and 0.5 < figures["box_as_mask_IoU"] < 1
    assert figures["boxes"] == ("detected" if detect else "ground truth")
    assert 0 < figures["mean_pose_mean_OKS"] < 0.6 and figures["mean_pose_AP"] < 0.2
    assert figures["hardest_third_people"] == 4
    assert detect or figures["hardest_third_AP"] == pytest.approx(1)


def test_a_miss_scores_less(shard_images: list[AnnotatedImage]) -> None:
    figures = evaluate_pose(Oracle(shard_images, shift=3.0), shard_images)  # type: ignore[arg-type]
    assert 0.01 < figures["mean_OKS"] < 0.9 and figures["AP"] < 0.9
    assert figures["mean_OKS_low"] < figures["mean_OKS"] < figures["mean_OKS_high"]


def test_the_truth_of_a_coco_file_scores_one(tmp_path: Path) -> None:
    images = list(read_coco_images(coco_file(tmp_path), tmp_path))
    figures = evaluate_pose(Oracle(images), images)  # type: ignore[arg-type]
    assert figures["AP"] == pytest.approx(1) and figures["people"] == 1
    assert math.isnan(figures["AP_large"]), "a person of 2000 pixels is of medium size"


@pytest.mark.parametrize("change", ["0", "repeated", "text", "32 bits", "images", "area"])
def test_unusual_numbers_in_a_coco_file_change_no_score(change: str, tmp_path: Path) -> None:
    content = json.loads(coco_file(tmp_path).read_text())
    for row in content["annotations"]:
        row["area"] = 0 if change == "area" else row["area"]
        row["id"] = {"0": row["id"] - 1, "repeated": 5, "text": f"p{row['id']}", "32 bits": 2**40}.get(
            change, row["id"]
        )
        row["image_id"] = f"image {row['image_id']}" if change == "images" else row["image_id"] + 2**35
    for row in content["images"]:
        row["id"] = f"image {row['id']}" if change == "images" else row["id"] + 2**35
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    images = list(read_coco_images(tmp_path / "annotations.json", tmp_path))
    figures = evaluate_pose(Oracle(images), images)  # type: ignore[arg-type]
    assert figures["AP"] == figures["AP_medium"] == pytest.approx(1) and figures["people"] == 1
    assert figures["hardest_third_AP"] == pytest.approx(1)


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_scored(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(coco_file(tmp_path).read_text())
    content["annotations"][3]["keypoints"] = content["annotations"][0]["keypoints"]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    (tmp_path / "2.png").write_bytes(b"none")
    people, failures = opensapiens.load(tiny_model, device="cpu"), []  # type: ignore[var-annotated]
    figures = evaluate("pose", people, tmp_path, tmp_path / "annotations.json", failures=failures)
    assert figures["images"] == 1 and len(failures) == 1 and "2.png" in failures[0]
    assert main(["evaluate", "pose", "--images", str(tmp_path), "--annotations", str(tmp_path / "annotations.json"),
                 "--model", str(tiny_model)]) == 1  # fmt: skip
    sentence, last = capsys.readouterr().err.splitlines()[-2:]
    assert sentence.startswith(f"  {tmp_path}/2.png: not a picture") and last == "1 picture left out"


def test_boxes_of_a_detector_outside_the_picture_are_passed_over(tmp_path: Path, tiny_model: Path) -> None:
    boxes = [[10, 5, 60, 70], [500, 500, 10, 10], [-50, -50, 20, 20]]
    rows = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.5} for box in boxes]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    people = opensapiens.load(tiny_model, device="cpu")
    figures = evaluate("pose", people, tmp_path, coco_file(tmp_path), EvaluateOptions(boxes=tmp_path / "boxes.json"))
    assert figures["people"] == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("3", "not a file of COCO detections"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 1e999], "score": 1}]', "1e999 is too large"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 1e300], "score": 1}]', "not in pixels"),
        ('[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1e300}]', "not a score"),
        ("[" * 100_000, "nested"),
        ('[{"image_id": [], "bbox": [1, 2, 3, 4], "score": 1}]', "not a file of COCO detections"),
        (json.dumps([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}] * 1001), "more than 1000 people"),
    ],
    ids=lambda text: text[:30],
)
def test_files_of_detections_that_are_none(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(EvaluationError, match=rf"boxes\.json: .*{sentence}"):
        read_person_boxes(tmp_path / "boxes.json")


def test_the_mean_pose_is_exact_where_all_stand_alike(shard_images: list[AnnotatedImage]) -> None:
    people = [person for image in shard_images for person in image.persons][:3]
    for number, person in enumerate(people):
        x, y = 10.0 * number, 5.0 * number
        person.box = np.array([x, y, x + 20 * (number + 1), y + 40 * (number + 1)], np.float32)
        unit = np.stack([np.linspace(0, 1, 17), np.linspace(1, 0, 17)], axis=1)
        person.keypoints[:, :2] = [x, y] + unit * [20 * (number + 1), 40 * (number + 1)]
        person.keypoints[:, 2] = 2
    people[1].keypoints[:] = [500, 500, 0]  # unlabeled points do not count
    assert np.allclose(mean_pose(people)[2], people[2].keypoints[:, :2], atol=1e-4)
    assert similarity(people[:1], mean_pose(people)[:1])[0] == pytest.approx(1)


def test_the_interval_shrinks_with_the_number_of_people() -> None:
    values = np.tile([0.0, 1.0], 10)
    low, high = bootstrap_interval(values)
    assert 0.2 < low < 0.4 and 0.6 < high < 0.8
    more = bootstrap_interval(np.tile(values, 25))
    assert more[1] - more[0] < 0.3 * (high - low)


def test_dense_truth_scores_all(shard_images: list[AnnotatedImage]) -> None:
    oracle: Any = Oracle(shard_images)
    segmentation = evaluate_dense(oracle, shard_images, "segmentation")
    assert segmentation["mIoU"] == segmentation["mask_IoU"] == segmentation["aAcc"] == 1
    assert 0 < segmentation["background_mIoU"] < 0.05 < segmentation["background_aAcc"] < 1
    depth = evaluate_dense(oracle, shard_images, "depth")
    assert (
        depth["r2"] == pytest.approx(1) and depth["rmse"] < 1e-3 < depth["constant_rmse"] and depth["constant_r2"] == 0
    )
    normals = evaluate_dense(oracle, shard_images, "normals")
    assert normals["mean"] < 0.1 and normals["within_11.25"] == 1
    assert 80 < normals["frontal_mean"] < 100, "the normals of the invented people point anywhere"
    assert normals["people"] == 12


@pytest.mark.parametrize("task", ["pose", "segmentation", "depth", "normals"])
def test_a_real_pipeline_gives_a_flat_object(task: Any, people_shards: Path, tiny_model: Path) -> None:
    figures = evaluate(task, opensapiens.load(tiny_model, device="cpu"), people_shards, None, EvaluateOptions(limit=2))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert all(value is None or isinstance(value, str | int | float) for value in figures.values())
    assert figures["task"] == task and figures["model"] == "opensapiens-nano"
    assert figures["images"] == 2 and figures["people"] == 4
    best = {"pose": "mean_OKS", "segmentation": "mIoU", "depth": "r2", "normals": "within_30"}[task]
    assert figures[best] < 0.6


def test_what_cannot_be_evaluated(people_shards: Path, tiny_model: Path, tmp_path: Path) -> None:
    people = opensapiens.load(tiny_model, device="cpu")
    with pytest.raises(EvaluationError, match="no shards"):
        evaluate("depth", people, tmp_path)
    with pytest.raises(EvaluationError, match="no labels for depth"):
        evaluate("depth", people, tmp_path, coco_file(tmp_path))
    with pytest.raises(EvaluationError, match="no folder"):
        evaluate("pose", people, tmp_path / "nowhere")
    with pytest.raises(EvaluationError, match="pose only"):
        evaluate("depth", people, people_shards, None, EvaluateOptions(detect=True))
    del people.model_of_task["depth"]
    with pytest.raises(EvaluationError, match="no depth head"):
        evaluate("depth", people, people_shards)
