"""Benchmarks score the points, pictures and boxes that they say."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import opensapiens
from opensapiens.data.coco import SAPIENS_FIELD, WHOLEBODY_FIELDS
from opensapiens.evaluation.evaluate import evaluate
from opensapiens.evaluation.options import EvaluateOptions
from opensapiens.evaluation.people import (
    AnnotatedImage,
    EvaluationError,
    read_coco_images,
    read_person_boxes,
    read_shard_images,
)
from opensapiens.evaluation.pose import evaluate_pose
from opensapiens.evaluation.protocols import DENSE_PROTOCOLS, POSE_PROTOCOLS
from opensapiens.inference.results import Person, Result
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet

pytest.importorskip("faster_coco_eval")


class Oracle:
    """Answers with the annotations in the points of a set; `spoilt` (indices) are moved far away."""

    def __init__(self, images: list[AnnotatedImage], points: KeypointSet, spoilt: Any = ()) -> None:
        self.images, self.points, self.spoilt = images, points, list(spoilt)
        self.keypoint_set = points
        self.model_of_task = {"pose": SimpleNamespace(flip_test=False)}

    def predict_image(self, image: np.ndarray, boxes: Any = None, flip: bool | None = None) -> Result:
        annotated = next(one for one in self.images if np.array_equal(one.image, image))
        found = []
        for number, box in enumerate(boxes):
            keypoints = annotated.persons[number % max(len(annotated.persons), 1)].keypoints.copy()
            keypoints[self.spoilt, :2] += 500
            found.append(
                Person(number + 1, box, 1.0, np.zeros(image.shape[:2], bool), keypoints[:, :2], np.ones(len(keypoints)))
            )
        return Result(image, found)


def whole_body_file(folder: Path, **fields: list[float]) -> Path:
    """Two images, the first with one person of whom everything is labeled, in three ways; nobody in the second."""
    generator = np.random.default_rng(0)
    for number in (1, 2):
        Image.fromarray(generator.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    points = np.column_stack([generator.uniform([10, 5], [70, 75], (308, 2)), np.full(308, 2)])
    person: dict[str, Any] = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 5, 60, 70],
        "area": 2500.0,
        "iscrowd": 0,
    }
    start = 0
    for field, count in WHOLEBODY_FIELDS.items():
        person[field] = points[start : start + count].ravel().tolist()
        start += count
    records = [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 80} for n in (1, 2)]
    path = folder / "annotations.json"
    content = {"images": records, "annotations": [{**person, **fields}], "categories": [{"id": 1, "name": "person"}]}
    path.write_text(json.dumps(content))
    return path


def test_each_part_is_scored_on_its_own(tmp_path: Path) -> None:
    protocol = POSE_PROTOCOLS["wholebody"]
    images = list(read_coco_images(whole_body_file(tmp_path), tmp_path, protocol=protocol))
    assert images[0].persons[0].keypoints.shape == (133, 3)
    perfect: Any = Oracle(images, WHOLEBODY_133)
    figures = evaluate_pose(perfect, images, protocol=protocol)
    parts = ("body", "feet", "face", "left_hand", "right_hand", "hands")
    assert all(figures[f"{name}_{part}"] == pytest.approx(1) for part in parts for name in ("AP", "AR"))
    spoilt: Any = Oracle(images, WHOLEBODY_133, WHOLEBODY_133.group("left_hand"))
    figures = evaluate_pose(spoilt, images, protocol=protocol)
    assert figures["AP_left_hand"] == 0 and figures["AP_right_hand"] == pytest.approx(1)
    assert figures["AP_hands"] == pytest.approx(0.5) and figures["AP_face"] == pytest.approx(1)
    assert figures["AP"] < 0.9 and figures["keypoints"] == "wholebody_133"


def test_308_points_and_the_shared_114(people_shards: Path) -> None:
    for name, source, count in (("sapiens308", SAPIENS_308, 308), ("shared114", SAPIENS_308, 114)):
        protocol = POSE_PROTOCOLS[name]
        all_points = list(read_shard_images(people_shards, keypoint_set=source))
        images = list(read_shard_images(people_shards, keypoint_set=protocol.keypoint_set))
        assert images[0].persons[0].keypoints.shape == (count, 3)
        oracle: Any = Oracle(all_points, source)
        figures = evaluate_pose(oracle, images, protocol=protocol)
        assert figures["AP"] == pytest.approx(1) and figures["AP_feet"] == pytest.approx(1)
    sizes = {part: len(points) for part, points in POSE_PROTOCOLS["sapiens308"].parts.items()}
    assert sizes == {"body": 17, "feet": 6, "face": 238, "left_hand": 20, "right_hand": 20}


def test_the_shared_points_of_a_308_file_and_of_a_133_file_are_read(tmp_path: Path) -> None:
    protocol = POSE_PROTOCOLS["shared114"]
    (in_133,) = read_coco_images(whole_body_file(tmp_path), tmp_path, protocol=protocol)
    assert in_133.persons[0].keypoints.shape == (114, 3)
    field = np.column_stack([np.arange(308), np.arange(308), np.full(308, 1)]).ravel().tolist()
    (in_308,) = read_coco_images(whole_body_file(tmp_path, **{SAPIENS_FIELD: field}), tmp_path, protocol=protocol)
    nose_root = protocol.keypoint_set.index("face-27")
    assert in_308.persons[0].keypoints[nose_root, 0] == SAPIENS_308.index("center_of_nose_root")


def test_a_model_without_the_points_cannot_be_scored_on_them(people_shards: Path) -> None:
    images = list(read_shard_images(people_shards))
    oracle: Any = Oracle(images, COCO_17)
    with pytest.raises(
        EvaluationError, match=r"coco_17 lack 116 points of the protocol wholebody; it can be scored by coco"
    ):
        evaluate_pose(oracle, images, protocol=POSE_PROTOCOLS["wholebody"])


def test_boxes_of_a_detector(tmp_path: Path) -> None:
    annotations = whole_body_file(tmp_path)
    images = list(read_coco_images(annotations, tmp_path, everyone=True))
    assert [len(image.persons) for image in images] == [1, 0], (
        "pictures without people count: a detector errs there too"
    )

    def boxes_file(*rows: tuple[int, float, int]) -> Path:
        entries = [{"image_id": i, "category_id": c, "bbox": [10, 5, 60, 70], "score": s} for i, s, c in rows]
        (tmp_path / "boxes.json").write_text(json.dumps(entries))
        return tmp_path / "boxes.json"

    oracle: Any = Oracle(images, COCO_17)
    good = read_person_boxes(boxes_file((1, 0.9, 1), (1, 0.8, 1), (1, 0.7, 3)))
    assert good[1][1].tolist() == pytest.approx([0.9, 0.8])
    assert evaluate_pose(oracle, images, boxes=good)["AP"] == pytest.approx(1), "the double is suppressed"

    class Stray(Oracle):
        def predict_image(self, image: np.ndarray, boxes: Any = None, flip: bool | None = None) -> Result:
            if np.array_equal(image, images[1].image):
                points = np.full((17, 2), 20.0)
                return Result(image, [Person(1, boxes[0], 1.0, np.zeros((80, 100), bool), points, np.ones(17))])
            return super().predict_image(image, boxes)

    stray: Any = Stray(images, COCO_17)
    wrong = read_person_boxes(boxes_file((1, 0.5, 1), (2, 0.9, 1)))
    figures = evaluate_pose(stray, images, boxes=wrong)
    assert figures["AP"] == pytest.approx(0.5, abs=0.01), (
        "a person found where nobody is, and scored higher, costs half"
    )
    assert figures["boxes"] == "from a file" and figures["images"] == 2
    assert set(wrong) == {1, 2}


def test_boxes_of_a_detector_by_the_command(tmp_path: Path, tiny_model: Path) -> None:
    annotations, boxes = whole_body_file(tmp_path), tmp_path / "boxes.json"
    entry = {"category_id": 1, "bbox": [10, 5, 60, 70], "score": 0.9}
    boxes.write_text(json.dumps([{**entry, "image_id": 1}, {**entry, "image_id": 2}]))
    people = opensapiens.load(tiny_model, device="cpu")
    figures = evaluate("pose", people, tmp_path, annotations, EvaluateOptions(boxes=boxes))
    assert figures["images"] == 2 and figures["people"] == 1, "pictures without labeled people count as well"
    assert figures["boxes"] == str(boxes)
    with pytest.raises(EvaluationError, match="exclude each other"):
        evaluate("pose", people, tmp_path, annotations, EvaluateOptions(boxes=boxes, detect=True))
    (tmp_path / "boxes.json").write_text('{"a": 1}')
    with pytest.raises(EvaluationError, match="not a file of COCO detections"):
        read_person_boxes(tmp_path / "boxes.json")


def test_hi4d_takes_its_pairs_and_its_camera() -> None:
    names = ["pair28/dance/images/4/000001", "pair28/dance/images/16/000001", "pair29/hug/images/4/000002",
             "pair37/4/7", "pair32/x/40/1", "data/pair32/x/4/1"]  # fmt: skip
    assert DENSE_PROTOCOLS["hi4d"].selected(names) == [0, 3, 5]


@pytest.fixture
def renders(tmp_path: Path) -> Path:
    """Two frames of pair 28, one by camera 4; and the same as a face and a full body."""
    generator = np.random.default_rng(0)
    mask = np.zeros((48, 40), np.uint8)
    mask[8:40, 10:30] = 255
    depth = np.where(mask > 0, 2 + np.linspace(0, 1, 48)[:, None] * np.ones(40), 0).astype(np.float32)
    normals = np.where(mask[..., None] > 0, np.array([0, 0.6, 0.8], np.float32), 0)
    for name in ("pair28/hug/4/1", "pair28/hug/52/1", "face/1", "full_body/1"):
        for folder in ("images", "depth", "normals", "masks"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (48, 40, 3), dtype=np.uint8)).save(tmp_path / f"images/{name}.jpg")
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
        np.save(tmp_path / f"depth/{name}.npy", depth)
        np.save(tmp_path / f"normals/{name}.npy", normals)
    return tmp_path


def test_folders_of_depth_and_normals(renders: Path, tiny_model: Path) -> None:
    people = opensapiens.load(tiny_model, device="cpu")
    lines = renders / "people.jsonl"
    figures = evaluate(
        "depth",
        people,
        renders / "images",
        renders / "depth",
        EvaluateOptions(masks=renders / "masks", protocol="hi4d", per_person=lines),
    )
    assert figures["images"] == 1 and figures["frames_of_the_protocol"] == 1195 and figures["boxes"] == "whole image"
    assert "pairs 28, 32 and 37" in figures["protocol_note"]
    assert figures["constant_rmse"] == pytest.approx(np.std(2 + np.linspace(0, 1, 48)[8:40]), rel=1e-4)
    assert [json.loads(line)["key"] for line in lines.read_text().splitlines()] == ["pair28/hug/4/1"]
    figures = evaluate("normals", people, renders / "images", renders / "normals", EvaluateOptions("thuman2"))
    assert figures["people"] == 4 and figures["face_people"] == figures["full_body_people"] == 1
    assert "never released" in figures["protocol_note"]
    facing = np.degrees(np.arccos(0.8))
    assert figures["frontal_mean"] == pytest.approx(facing, abs=0.1), "all normals are the same here"
    assert figures["frontal_within_30"] == 0
    with pytest.raises(EvaluationError, match="no protocol 'wholebody' for depth; there are hi4d"):
        evaluate("depth", people, renders / "images", renders / "depth", EvaluateOptions("wholebody"))
    with pytest.raises(EvaluationError, match="holds no picture of the protocol hi4d"):
        evaluate("depth", people, renders / "images" / "face", renders / "depth" / "face", EvaluateOptions("hi4d"))


def test_folders_of_parts(renders: Path, tiny_model: Path) -> None:
    people = opensapiens.load(tiny_model, device="cpu")
    (renders / "parts").mkdir()
    for number in range(2):
        Image.new("RGB", (40, 48)).save(renders / "parts" / f"{number}.jpg")
        Image.fromarray(np.eye(48, 40, dtype=np.uint8) * 3).save(renders / "parts" / f"{number}_seg.png")
    figures = evaluate("segmentation", people, renders / "parts", renders / "parts")
    assert figures["people"] == 2 and 0 <= figures["mIoU"] < 0.5


def test_what_is_known_of_each_person(people_shards: Path, tiny_model: Path, tmp_path: Path) -> None:
    people = opensapiens.load(tiny_model, device="cpu")
    options = EvaluateOptions(limit=2, per_person=tmp_path / "pose.jsonl")
    figures = evaluate("pose", people, people_shards, None, options)
    records = [json.loads(line) for line in (tmp_path / "pose.jsonl").read_text().splitlines()]
    assert len(records) == figures["people"] == 4
    assert np.mean([record["OKS"] for record in records]) == pytest.approx(figures["mean_OKS"], abs=1e-5)
    assert all(len(record["keypoints"]) == 51 and record["key"] for record in records)
    assert figures["protocol"] == "coco" and "protocol_note" not in figures
    figures = evaluate("pose", people, people_shards, None, EvaluateOptions("shared114", limit=1))
    assert "table of our own" in figures["protocol_note"]
