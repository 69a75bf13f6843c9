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
    coco_person,
    read_coco_persons,
)
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133
from opensapiens.storage.pictures import ImageError


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
    assert first.box.tolist() == [2, 3, 12, 13] and first.area == 55.5 and not first.is_crowd and first.image.id == 7
    assert persons[1].box.tolist() == [0, 0, 19, 13] and persons[1].is_crowd
    assert first.keypoints is not None and first.keypoints.shape == (17, 3)
    assert first.keypoints[16].tolist() == [16, 1016, 1]


def test_wholebody_persons_are_joined_in_order(file: Path) -> None:
    keypoints = read_coco_persons(file, file.parent, WHOLEBODY_133)[0].keypoints
    assert keypoints is not None
    np.testing.assert_array_equal(keypoints[:, 0], np.arange(133))
    assert keypoints[:23, 2].tolist() == [1] * 23  # body and feet keep "labeled but hidden"
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


def test_a_person_is_read_back(file: Path) -> None:
    content = json.loads(file.read_text())
    points = np.column_stack([np.random.default_rng(0).uniform(0, 99, (17, 2)), np.arange(17) % 3])
    made = coco_person([1.234, 2, 30, 40.5], 99, points, np.linspace(0, 1, 17), score=0.5, digits=2)
    assert made["bbox"] == [1.23, 2, 28.77, 38.5] and made["keypoints"][2::3] == [0, 1, 2] * 5 + [0, 1]
    assert (made["num_keypoints"], made["score"], made["keypoint_scores"][16]) == (11, 0.5, 1)
    content["annotations"] = [{"id": 1, "image_id": content["images"][0]["id"], **made}]
    file.write_text(json.dumps(content))
    (read,) = read_coco_persons(file, file.parent)
    assert read.keypoints is not None and read.area == 99
    np.testing.assert_allclose(read.keypoints, points, atol=0.006)


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
    assert (keypoints[:, 2] > 0).sum() == 2, "points that the file lacks are unlabeled"
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


def labeled(**changes: Any) -> dict[str, Any]:
    """A file of one picture with two people, all of whose points are labeled."""
    points = [v for i in range(17) for v in (2 + i % 9, 3 + i % 7, 2)]
    people = [
        {"id": number, "image_id": 7, "category_id": 1, "bbox": [2, 3, 10, 8], "area": 50, "keypoints": points}
        for number in (1, 2)
    ]
    category = {"id": 1, "name": "person", "keypoints": list(COCO_17.names)}
    content = {"images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 14}], "annotations": people}
    return content | {"categories": [category]} | changes


def with_rows(key: str, **changes: Any) -> dict[str, Any]:
    """The same with changes to the rows of a list."""
    content = labeled()
    content[key] = [row | changes for row in content[key]]
    return content


NULL = [None, 3, 2, *labeled()["annotations"][0]["keypoints"][3:]]
OF_ANIMALS = [{"id": 1, "name": "dog"}, {"id": 18, "name": "Person", "keypoints": list(COCO_17.names)}]
SPELLED = [{"id": 1, "name": "person", "keypoints": [name.replace("_", " ").title() for name in COCO_17.names]}]
UNKNOWN = [{"id": 1, "name": "person", "keypoints": [*COCO_17.names[:16], "tail"]}]

# An unusual file, how many of 17 points of each of its two people are read, and what is logged.
UNUSUAL: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing": (labeled(), 17, ""),
    "ids from 0": (labeled(annotations=[row | {"id": n} for n, row in enumerate(labeled()["annotations"])]), 17,
                   "2 annotations renumbered, since ids repeat"),
    "repeated ids": (with_rows("annotations", id=5), 17, "renumbered"),
    "ids as text": (labeled(annotations=[row | {"id": f"p{row['id']}"} for row in labeled()["annotations"]]), 17,
                    "renumbered"),
    "ids beyond 32 bits": (labeled(annotations=[row | {"id": 2**40 + row["id"]} for row in labeled()["annotations"]]),
                           17, "renumbered"),
    "no area": (with_rows("annotations", area=None), 17, "2 annotations without an area"),
    "area 0": (with_rows("annotations", area=0), 17, "2 annotations without an area"),
    "area 1": (with_rows("annotations", area=1), 17, "2 annotations without an area"),
    "a null point": (with_rows("annotations", keypoints=NULL), 16, "2 points that are null"),
    "a point far outside": (with_rows("annotations", keypoints=[1e30, *NULL[1:]]), 16, "2 points that are null"),
    "category 0": (with_rows("annotations", category_id=0) | {"categories": []}, 17, ""),
    "category 18": (with_rows("annotations", category_id=18) | {"categories": OF_ANIMALS}, 17, ""),
    "category as text": (with_rows("annotations", category_id="1"), 17, ""),
    "category by name": (with_rows("annotations", category_id="person"), 17, ""),
    "names spelled otherwise": (labeled(categories=SPELLED), 17, ""),
    "names that are unknown": (labeled(categories=UNKNOWN), 16, "left out 1 points that coco_17 lacks: tail"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_file_is_read_and_what_is_done_is_said(
    name: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content, points, sentence = UNUSUAL[name]
    file.write_text(json.dumps(content))
    persons = read_coco_persons(file, file.parent)
    assert [int((p.keypoints[:, 2] == 2).sum()) for p in persons if p.keypoints is not None] == [points, points]
    assert [p.annotation_id for p in persons] == [1, 2]
    assert {p.area for p in persons} == ({50} if "area" not in name else {0.53 * 80})
    assert (sentence in caplog.text) if sentence else not caplog.text
    assert all(np.isfinite(p.keypoints).all() for p in persons if p.keypoints is not None)


def test_what_is_left_out_is_counted(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    CocoDataset(read_coco_persons(file, file.parent))
    assert "1 annotations of other categories than 1 (person) left out" in caplog.text
    assert "training on 1 people; left out: 1 crowds, 1 with fewer than 3 labeled points" in caplog.text


# A file that cannot be used, and the sentence that says why.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "relative boxes": (with_rows("annotations", bbox=[0.1, 0.2, 0.5, 0.5]), "boxes are between 0 and 1"),
    "relative points": (with_rows("annotations", keypoints=[0.5, 0.5, 2] * 17), "points are between 0 and 1"),
    "a point named twice": (
        labeled(categories=[{"id": 1, "keypoints": ["left eye"] * 17}]), "the point left eye more than once"),
    "no category of people": (labeled(categories=[{"id": 3}, {"id": 4, "name": "dog"}]), "which category"),
    "points that are no names": (labeled(categories=[{"id": 1, "keypoints": "nose"}]), "not a list of names"),
    "categories that are no list": (labeled(categories={}), "not a COCO annotation file"),
    "rows that are no objects": (labeled(annotations=[3]), "not a COCO annotation file"),
    "a list": ([], "not a COCO annotation file"),  # type: ignore[dict-item]
    "a box of text": (with_rows("annotations", bbox=["1", 2, 3, 4]), "annotation 1 .*expected a list of numbers"),
    "a box with null": (with_rows("annotations", bbox=[None, 2, 3, 4]), "annotation 1 .*four numbers"),
    "no box": (with_rows("annotations", bbox=None), "annotation 1 .*expected a list of numbers"),
    "an image id that is a list": (with_rows("annotations", image_id=[7]), "annotation 1 "),
    "points of text": (with_rows("annotations", keypoints=["1"] * 51), "annotation 1 .*expected a list of numbers"),
    "points of lists": (with_rows("annotations", keypoints=[[1, 2, 2]] * 17), "annotation 1 .*list of numbers"),
    "points in an object": (with_rows("annotations", keypoints={"nose": [1, 2]}), "annotation 1 .*list of numbers"),
    "pictures of one id": (labeled(images=labeled()["images"] * 2), "share id 7"),
    "a picture without a size": (with_rows("images", width=None), "no width and height"),
    "a picture without a name": (with_rows("images", file_name=3), "no file name"),
    "a name with a zero byte": (with_rows("images", file_name="a\0.png"), "no file name"),
    "a thousand and one people": (labeled(annotations=labeled()["annotations"] * 501), "more than 1000 people"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_used_says_why(name: str, file: Path) -> None:
    content, sentence = WRONG[name]
    file.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=rf"annotations\.json.*{sentence}"):
        read_coco_persons(file, file.parent)


@pytest.mark.parametrize(("size", "reason"), [((14, 20), "without its EXIF rotation"), ((40, 28), "it was resized")])
def test_labels_of_another_size_are_refused(file: Path, size: tuple[int, int], reason: str) -> None:
    file.write_text(json.dumps(with_rows("images", width=size[0], height=size[1])))
    (sample, *_) = CocoDataset(read_coco_persons(file, file.parent)).persons
    with pytest.raises(ImageError, match=rf"a\.png: 20×14 pixels .* but {size[0]}×{size[1]} .*{reason}"):
        sample.sample()
