import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from opensapiens.annotation.association import Detection
from opensapiens.annotation.picture_labels import PictureLabels, find_images, load_labels, load_maps, save_labels
from opensapiens.annotation.tool_files import (
    Corrected,
    part_annotations,
    person_annotation,
    prelabeled,
    read_corrected,
    read_corrected_parts,
    read_tool_file,
    write_cvat_labels,
    write_keypoints,
    write_parts,
)
from opensapiens.data.coco import AnnotationError, read_coco_persons
from opensapiens.labels.keypoints import COCO_17, KEYPOINT_SETS, KeypointSet
from opensapiens.labels.parts import SAPIENS_28


def detection(keypoint_set: KeypointSet, seed: int = 0) -> Detection:
    rng = np.random.default_rng(seed)
    points = rng.uniform(20, 80, (len(keypoint_set), 2)).round(2)
    return Detection(points, rng.choice([0.02, 0.2, 0.8], len(points)), np.array([10.0, 15, 90, 85]), 0.9, 3)


def corrected(path: Path, stems: dict[str, str]) -> Corrected:
    return read_corrected(read_tool_file(path, COCO_17), path, path.parent, stems, COCO_17)


def corrected_parts(path: Path) -> Corrected:
    return read_corrected_parts(read_tool_file(path, COCO_17), path, {"a": "a.jpg"}, SAPIENS_28)


@pytest.mark.parametrize("keypoint_set", KEYPOINT_SETS.values(), ids=KEYPOINT_SETS)
def test_keypoints_are_read_back_as_training_reads_them(keypoint_set: KeypointSet, tmp_path: Path) -> None:
    one, picture = detection(keypoint_set), PictureLabels("cam_01/a.jpg", (100, 120), [])
    path = tmp_path / "keypoints.json"
    write_keypoints(path, [(picture, [prelabeled(one)]), (picture, [])], keypoint_set)
    (person,) = read_coco_persons(path, tmp_path, keypoint_set)
    visibility = np.select([one.scores >= 0.3, one.scores >= 0.05], [2, 1], 0)
    assert person.keypoints is not None
    np.testing.assert_array_equal(person.keypoints[:, 2], visibility)
    np.testing.assert_allclose(person.keypoints[:, :2], one.points * (visibility > 0)[:, None], atol=1e-4)
    np.testing.assert_allclose(person.box, one.box)
    assert person.image.path == tmp_path / "cam_01/a.jpg"


def test_the_fields_that_tools_ask_for(tmp_path: Path) -> None:
    path = tmp_path / "keypoints.json"
    write_keypoints(path, [(PictureLabels("a.jpg", (100, 120), []), [prelabeled(detection(COCO_17))])], COCO_17)
    content = json.loads(path.read_text())
    (annotation,), (category,) = content["annotations"], content["categories"]
    assert {"id", "image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd"} <= set(annotation)
    assert "segmentation" not in annotation, "CVAT takes a polygon of a skeleton for an error"
    assert annotation["num_keypoints"] == sum(v > 0 for v in annotation["keypoints"][2::3])
    assert all(isinstance(v, int) for v in annotation["keypoints"][2::3])
    assert annotation["attributes"] == {"person_id": 3} and annotation["score"] == 0.9
    assert category["keypoints"] == list(COCO_17.names)
    assert np.array(category["skeleton"]).min() >= 1 and np.array(category["skeleton"]).max() <= 17


def test_cvat_labels_name_every_point_and_part(tmp_path: Path) -> None:
    write_cvat_labels(tmp_path / "labels.json", COCO_17, SAPIENS_28)
    person, *parts = json.loads((tmp_path / "labels.json").read_text())
    assert [one["name"] for one in person["sublabels"]] == list(COCO_17.names)
    assert all(f'data-label-name="{name}"' in person["svg"] for name in COCO_17.names)
    assert person["svg"].count("<line") == len(COCO_17.limbs) and person["type"] == "skeleton"
    assert [one["name"] for one in parts] == list(SAPIENS_28.names[1:])


def test_names_are_words_in_the_drawing_of_the_skeleton(tmp_path: Path) -> None:
    names = ('a"><script>alert(1)</script>', "b&c", "d'e")
    points = replace(COCO_17, names=(*names, *COCO_17.names[3:]))
    write_cvat_labels(tmp_path / "labels.json", points, None)
    (person,) = json.loads((tmp_path / "labels.json").read_text())
    circles = ElementTree.fromstring(f"<svg>{person['svg']}</svg>").findall("circle")
    assert tuple(circle.get("data-label-name") for circle in circles[:3]) == names


def test_corrected_points_come_back(tmp_path: Path) -> None:
    """As COCO Annotator and CVAT export: no boxes, other file names, a category of their own."""
    points = np.column_stack([np.arange(34.0).reshape(17, 2) + 20, np.resize([2, 1, 0], 17)])
    content = {
        "images": [{"id": 9, "file_name": "project/cam_01/a.png", "width": 120, "height": 100},
                   {"id": 10, "file_name": "b.jpg", "width": 120, "height": 100}],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 1, "keypoints": points.ravel().tolist(), "bbox": []}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.names)}],
    }  # fmt: skip
    (tmp_path / "from_tool.json").write_text(json.dumps(content))
    found = corrected(tmp_path / "from_tool.json", {"cam_01/a": "cam_01/a.jpg"})
    ((one, visibility),) = found.people["cam_01/a.jpg"]
    np.testing.assert_array_equal(visibility, points[:, 2])
    np.testing.assert_array_equal(one.scores, points[:, 2] == 2)
    placed = points[points[:, 2] > 0, :2]
    assert (one.box[:2] < placed.min(0)).all() and (one.box[2:] > placed.max(0)).all()
    assert len(found.failures) == 1 and "b.jpg" in found.failures[0]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "[3]",
        '[{"data": {}, "annotations": [{"result": [{"value": 3}]}]}]',
        '{"images": []}',
        '{"images": [3], "annotations": []}',
    ],
)
def test_a_file_of_no_tool(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(AnnotationError, match=r"a\.json"):
        corrected(tmp_path / "a.json", {})


def part_maps() -> tuple[np.ndarray, np.ndarray]:
    """Two people, the one with a part inside another; no hole of background."""
    parts, people = np.zeros((60, 40), np.uint8), np.zeros((60, 40), np.uint8)
    parts[5:50, 2:18], parts[12:20, 6:12], people[5:50, 2:18] = 21, 3, 1
    parts[20:55, 22:38], parts[40:55, 22:38], people[20:55, 22:38] = 5, 2, 2
    return parts, people


@pytest.mark.parametrize("kind", ["polygons", "rle"])
def test_parts_round_trip(tmp_path: Path, kind: str) -> None:
    parts, people = part_maps()
    annotations = part_annotations(parts, people, kind)  # type: ignore[arg-type]
    assert {(row["category_id"], row["attributes"]["person_id"]) for row in annotations} == {
        (21, 1),
        (3, 1),
        (5, 2),
        (2, 2),
    }
    write_parts(tmp_path / "parts.json", [(PictureLabels("a.jpg", (60, 40), []), annotations)], SAPIENS_28)
    found = corrected_parts(tmp_path / "parts.json")
    assert not found.failures
    np.testing.assert_array_equal(found.maps["a.jpg"], parts)


def test_a_bad_piece_does_not_lose_the_others(tmp_path: Path) -> None:
    parts, people = part_maps()
    annotations = part_annotations(parts, people, "rle")
    annotations[0]["segmentation"]["counts"][0] += 1
    write_parts(tmp_path / "parts.json", [(PictureLabels("a.jpg", (60, 40), []), annotations)], SAPIENS_28)
    found = corrected_parts(tmp_path / "parts.json")
    assert len(found.failures) == 1 and "annotation 1 of a.jpg" in found.failures[0]
    assert set(np.unique(found.maps["a.jpg"])) == set(np.unique(parts)) - {annotations[0]["category_id"]}


def test_records_round_trip(tmp_path: Path) -> None:
    one, (parts, people) = detection(COCO_17), part_maps()
    save_labels(tmp_path, PictureLabels("cam.1/a.b.jpg", (60, 40), [one]), parts, people, SAPIENS_28)
    back = load_labels(tmp_path, "cam.1/a.b.jpg")
    assert (tmp_path / "cam.1" / "a.b.json").is_file(), "a dot in a name is no ending"
    assert back.name == "cam.1/a.b.jpg" and back.size == (60, 40) and back.people[0].number == 3
    np.testing.assert_allclose(back.people[0].points, one.points)
    maps = load_maps(tmp_path, "cam.1/a.b.jpg", SAPIENS_28)
    assert maps is not None and (maps[0] == parts).all() and (maps[1] == people).all()


def test_two_pictures_of_one_name(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "sub/a.jpg", ".hidden.jpg", "note.txt", "b.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names, failures, passed_over = find_images(tmp_path)
    assert names == ["a.jpg", "sub/a.jpg"] and len(failures) == 1 and failures[0].startswith("a.png")
    assert passed_over == "1 file skipped: 1 .heic (convert to JPEG or PNG)"


def test_names_that_labels_cannot_have_are_failures(tmp_path: Path) -> None:
    for name in ("a.jpg", "n" * 246 + ".jpg", "caf\udce9.jpg"):
        (tmp_path / name).touch()
    names, failures, _ = find_images(tmp_path)
    assert names == ["a.jpg"] and [sentence[:3] for sentence in failures] == ["caf", "nnn"]
    assert all(sentence.endswith("rename it") or "rename it to 220" in sentence for sentence in failures)


def test_points_that_are_not_there_are_zero() -> None:
    row = person_annotation(np.full((3, 2), 5.5), np.array([2, 0, 1]), np.ones(3), np.array([0, 0, 9, 9]), 1, 1)
    assert row["keypoints"] == [5.5, 5.5, 2, 0, 0, 0, 5.5, 5.5, 1] and row["num_keypoints"] == 2
