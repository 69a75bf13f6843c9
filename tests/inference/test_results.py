import json

import numpy as np
import pytest
from PIL import Image

from opensapiens.inference.pipeline import People
from opensapiens.inference.results import Depth, Result
from opensapiens.inference.saving import depth_to_16_bits
from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.parts import SAPIENS_28

from .conftest import PERSON_CLASS, paint, painted_model

BOX = (70, 20, 130, 100)


@pytest.fixture(scope="module")
def result() -> Result:
    found = People([painted_model()])(paint([BOX]), boxes=[BOX])
    assert isinstance(found, Result)
    return found


def test_what_is_saved_is_what_was_found(result: Result, tmp_path) -> None:
    assert result.parts is not None and result.depth is not None and result.normals is not None
    written = result.save(tmp_path / "new" / "folder", "photo")
    assert sorted(path.name for path in written) == sorted(
        f"photo_{ending}"
        for ending in (
            "keypoints.json", "parts.png", "depth.png", "depth.npz", "normals.npz", "normals.png",
            "pose.jpg", "segmentation.jpg", "depth.jpg", "normals.jpg", "sheet.jpg",
        )
    )  # fmt: skip
    assert all(path.is_file() for path in written)
    folder = written[0].parent
    parts = Image.open(folder / "photo_parts.png")
    assert parts.mode == "P" and (np.asarray(parts) == result.parts.labels).all()
    palette = np.array(parts.getpalette()).reshape(-1, 3)
    assert palette[PERSON_CLASS].tolist() == SAPIENS_28.colors[PERSON_CLASS].tolist()
    assert np.array_equal(np.load(folder / "photo_depth.npz")["depth"], result.depth.values, equal_nan=True)
    normals = np.load(folder / "photo_normals.npz")["normals"]
    assert np.allclose(normals, result.normals.values, atol=1e-3, equal_nan=True)
    depth = Image.open(folder / "photo_depth.png")
    assert depth.mode.startswith("I;16")
    values = np.asarray(depth)
    assert values.max() == 65535 and values[values > 0].min() == 1
    assert ((values == 0) == np.isnan(result.depth.values)).all()


def test_the_json_is_cocos(result: Result, tmp_path) -> None:
    result.save(tmp_path)
    content = json.loads((tmp_path / "image_keypoints.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "image", "width": 200, "height": 120}]
    (category,) = content["categories"]
    assert category["keypoints"] == list(COCO_17.names)
    assert np.array(category["skeleton"]).min() == 1, "COCO counts from 1"
    (annotation,) = content["annotations"]
    points = np.array(annotation["keypoints"]).reshape(17, 3)
    assert np.abs(points[:, :2] - result.persons[0].keypoints).max() <= 0.01 and (points[:, 2] == 2).all()
    assert annotation["bbox"] == [70, 20, 60, 80] and annotation["num_keypoints"] == 17
    assert annotation["area"] == result.persons[0].mask.sum() and annotation["image_id"] == 1


def test_an_empty_result_is_saved_too(tmp_path) -> None:
    empty = People([painted_model()])(paint([]))
    assert isinstance(empty, Result)
    empty.save(tmp_path)
    assert json.loads((tmp_path / "image_keypoints.json").read_text())["annotations"] == []
    assert not np.asarray(Image.open(tmp_path / "image_depth.png")).any()


def test_flat_depth_has_no_division_by_zero() -> None:
    values = np.full((3, 3), np.nan, np.float32)
    values[1] = 5
    flat = Depth(values)
    assert np.array_equal(flat.normalized()[1], [0, 0, 0])
    assert depth_to_16_bits(flat).tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]


def test_one_task_is_drawn_at_full_size_and_all_on_a_sheet(result: Result) -> None:
    assert result.draw(["depth"]).size == (200, 120)
    width, height = result.draw().size
    tile = 256 * 200 / 120
    assert width > 3 * tile and 2 * 256 < height < 2 * 256 + 60, "photo, pose and parts over legend, depth and normals"
    with pytest.raises(ValueError, match="nothing was predicted for hair"):
        result.draw(["hair"])
