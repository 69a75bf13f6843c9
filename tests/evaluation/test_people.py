import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.cli import main
from opensapiens.data.coco import AnnotationError
from opensapiens.data.shards import ShardError
from opensapiens.evaluation.people import difficulty, hardest_third, read_coco_images, read_shard_images
from opensapiens.evaluation.protocols import POSE_PROTOCOLS
from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308
from opensapiens.storage.tars import members


def test_difficulty_grows_with_what_is_missing() -> None:
    easy = difficulty(1.0, 0.0, False)
    assert easy == 0
    assert difficulty(0.2, 0.0, False) > easy < difficulty(1.0, 0.3, False)
    assert difficulty(1.0, 0.0, True) > difficulty(1.0, 0.4, False)


def test_the_hardest_third() -> None:
    assert hardest_third([0.1, 0.9, 0.5, 0.4, 0.2, 0.8]).tolist() == [False, True, False, False, False, True]
    assert hardest_third([0.0]).tolist() == [True]


def test_a_damaged_frame_of_a_shard_is_named_and_the_others_are_read(
    people_shards: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shard in people_shards.glob("*.tar"):
        shutil.copy(shard, tmp_path)
    damaged = tmp_path / "000001.tar"
    picture = [member for member in members(damaged) if member.name.endswith(".jpg")][1]
    content = bytearray(damaged.read_bytes())
    content[picture.offset : picture.offset + picture.size] = bytes(picture.size)
    damaged.write_bytes(content)
    with pytest.raises(ShardError, match=r"00000004\.jpg"):
        list(read_shard_images(tmp_path))
    for task in ("pose", "depth"):
        assert main(["evaluate", task, "--images", str(tmp_path), "--model", str(tiny_model), "--device", "cpu"]) == 1
        out, err = capsys.readouterr()
        assert ["people", "10"] in map(str.split, out.splitlines())
        assert err.splitlines()[-2:] == [
            "  000001.tar/00000004.jpg: not an image that can be decoded",
            "1 picture left out",
        ]


def test_shards_come_frame_by_frame_as_coco(people_shards: Path) -> None:
    images = list(read_shard_images(people_shards))
    assert [len(image.persons) for image in images] == [2] * 6
    assert len(list(read_shard_images(people_shards, limit=2))) == 2
    ids = [entry["id"] for image in images for entry in image.coco_annotations]
    assert len(set(ids)) == 12
    person, entry = images[3].persons[1], images[3].coco_annotations[1]
    assert entry["image_id"] == images[3].coco_image["id"] == 4
    x, y, width, height = entry["bbox"]
    assert [x, y, x + width, y + height] == person.sample.box.tolist()
    expected = person.sample.keypoints[source_indices(SAPIENS_308, COCO_17)]
    assert np.array_equal(np.array(entry["keypoints"]).reshape(17, 3)[:, 2], expected[:, 2])
    assert np.allclose(person.keypoints[:, :2], expected[:, :2])
    assert person.area == entry["area"] == person.sample.mask.sum()


def coco_file(folder: Path) -> Path:
    """Image 1: one labeled person, one without points, a crowd. Image 2: nobody labeled."""
    for number in (1, 2):
        Image.new("RGB", (100, 80)).save(folder / f"{number}.png")
    points = np.zeros((17, 3))
    points[:9] = [[20 + 5 * i, 10 + 6 * i, 1 + i % 2] for i in range(9)]
    person = {
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 5, 60, 70],
        "area": 2000.0,
        "iscrowd": 0,
        "num_keypoints": 9,
    }
    annotations = [
        {**person, "id": 1, "keypoints": points.ravel().tolist(), "segmentation": [[10, 5, 70, 5, 70, 75, 10, 75]]},
        {**person, "id": 2, "keypoints": [0] * 51, "num_keypoints": 0},
        {**person, "id": 3, "keypoints": points.ravel().tolist(), "iscrowd": 1},
        {**person, "id": 4, "image_id": 2, "keypoints": [0] * 51, "num_keypoints": 0},
    ]
    records = [{"id": number, "file_name": f"{number}.png", "width": 100, "height": 80} for number in (1, 2)]
    path = folder / "annotations.json"
    path.write_text(
        json.dumps({"images": records, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]})
    )
    return path


def test_coco_files(tmp_path: Path) -> None:
    (image,) = read_coco_images(coco_file(tmp_path), tmp_path)
    (person,) = image.persons
    assert person.id == 1 and [entry["id"] for entry in image.coco_annotations] == [1, 2, 3], (
        "the others are to be ignored"
    )
    assert person.sample.mask is not None and person.sample.mask.sum() == pytest.approx(60 * 70, rel=0.05)


@pytest.mark.parametrize("protocol", ["coco", "shared114"])
def test_files_that_are_no_coco_files(tmp_path: Path, protocol: str) -> None:
    for number, text in enumerate(("{", "[]", '{"annotations": [3]}', "")):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(AnnotationError, match=rf"{number}\.json"):
            list(read_coco_images(path, tmp_path, protocol=POSE_PROTOCOLS[protocol]))


@pytest.mark.parametrize("segmentation", [[[]], [], None, {"size": [80, 90], "counts": [7200]}, [["x"] * 6], "text"])
def test_a_mask_that_is_none_leaves_the_person(
    segmentation: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = json.loads(coco_file(tmp_path).read_text())
    content["annotations"][0]["segmentation"] = segmentation
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    ((person,),) = [image.persons for image in read_coco_images(tmp_path / "annotations.json", tmp_path)]
    assert person.sample.mask is None
    assert ("its mask is not scored" in caplog.text) == (segmentation not in ([[]], [], None))


@pytest.mark.parametrize("box", [[10, 5, 0, 70], [500, 5, 10, 10], [10, 5, -5, 20]])
def test_a_box_without_an_area_is_left_out_and_counted(
    box: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = json.loads(coco_file(tmp_path).read_text())
    content["annotations"].append({**content["annotations"][0], "id": 9, "bbox": box})
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    ((person,),) = [image.persons for image in read_coco_images(tmp_path / "annotations.json", tmp_path)]
    assert person.id == 1 and "left out 1 people whose boxes have no area in the picture" in caplog.text
