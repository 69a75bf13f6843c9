import csv
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from opensapiens.inference.detection import WholeImage
from opensapiens.inference.formats.format import Frame
from opensapiens.inference.formats.maps import NPZ, PNG
from opensapiens.inference.formats.table import save_table, table_rows
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import Result, ResultError
from opensapiens.inference.saving import save_overlay
from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.tasks.depth import DepthMap, depth_to_16_bits

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
    assert (
        annotation["person_id"] == 1
        and annotation["area"] == result.persons[0].mask.sum()
        and annotation["image_id"] == 1
    )


def test_an_empty_result_is_saved_too(tmp_path) -> None:
    empty = People([painted_model()])(paint([]))
    assert isinstance(empty, Result)
    empty.save(tmp_path)
    assert json.loads((tmp_path / "image_keypoints.json").read_text())["annotations"] == []
    assert not np.asarray(Image.open(tmp_path / "image_depth.png")).any()


def test_flat_depth_has_no_division_by_zero() -> None:
    values = np.full((3, 3), np.nan, np.float32)
    values[1] = 5
    flat = DepthMap(values)
    assert np.array_equal(flat.normalized()[1], [0, 0, 0])
    assert depth_to_16_bits(flat.normalized()).tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]


def test_one_task_is_drawn_at_full_size_and_all_on_a_sheet(result: Result) -> None:
    assert result.draw(["depth"]).size == (200, 120)
    width, height = result.draw().size
    tile = 256 * 200 / 120
    assert width > 3 * tile and 2 * 256 < height < 2 * 256 + 60, "photo, pose and parts over legend, depth and normals"
    with pytest.raises(ValueError, match="nothing was predicted for hair"):
        result.draw(["hair"])


def test_a_result_prints_as_one_line(result: Result) -> None:
    assert repr(result) == "Result(200×120, 1 person: pose, segmentation, depth, normals)"
    assert repr(People([painted_model(heads=["depth"])])(paint([]), boxes=[])) == "Result(200×120, nobody found: depth)"
    assert repr(Result(result.image, result.persons * 2)) == "Result(200×120, 2 people: boxes)"


def test_a_notebook_shows_the_sheet(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Image.open(io.BytesIO(result._repr_png_()))
    assert shown.format == "PNG" and np.array_equal(np.asarray(shown), np.asarray(result.draw()))
    monkeypatch.setattr("opensapiens.inference.results.NOTEBOOK_SIDE", 300)
    assert max(Image.open(io.BytesIO(result._repr_png_())).size) == 300


def test_show_takes_the_notebook_or_the_viewer(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    viewed: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "show", lambda self: viewed.append(self))
    cell: list[Image.Image] = []
    for shell, seen in ((None, viewed), (object(), cell)):
        notebook = SimpleNamespace(get_ipython=lambda shell=shell: shell, display=SimpleNamespace(display=cell.append))
        monkeypatch.setitem(sys.modules, "IPython", notebook)
        result.show(["depth"])
        assert [picture.size for picture in seen] == [(200, 120)]
    assert len(viewed) == 1
    monkeypatch.delitem(sys.modules, "IPython")
    result.show()
    assert len(viewed) == 2


def test_maps_are_there_by_the_name_of_their_task(result: Result) -> None:
    assert list(result.maps) == ["segmentation", "depth", "normals"]
    assert result.parts is result.maps["segmentation"] and result.depth is result.maps["depth"]
    assert result.normals is result.maps["normals"]
    assert list(result.titles.values()) == ["body parts", "depth (near is bright)", "surface normals"]
    bare = Result(result.image)
    assert bare.parts is bare.depth is bare.normals is None


def test_the_point_cloud_is_where_the_camera_sees_it(result: Result, tmp_path) -> None:
    assert result.depth is not None and result.normals is not None
    points = result.depth.points(focal_length=150, near=2.0, far=3.0)
    there = np.isfinite(result.depth.values)
    assert (np.isfinite(points).all(axis=-1) == there).all()
    distance = -points[there][:, 2]
    assert distance.min() == pytest.approx(2.0) and distance.max() == pytest.approx(3.0)
    rows, columns = np.nonzero(there)
    assert np.allclose(points[there][:, 0] / distance * 150 + 99.5, columns, atol=1e-3)
    assert np.allclose(-points[there][:, 1] / distance * 150 + 59.5, rows, atol=1e-3), "y points up"
    for wrong in ((0, 1, 2), (100, 0, 2), (100, 2, 1), (100, 1, np.inf)):
        with pytest.raises(ValueError, match="focal length"):
            result.depth.points(*wrong)
        with pytest.raises(ResultError, match="focal length"):
            result.save_point_cloud(tmp_path / "none.ply", *wrong)


def test_the_table_has_a_row_per_point(result: Result, tmp_path) -> None:
    result.save(tmp_path, "photo", formats=("csv",))
    with (tmp_path / "photo_keypoints.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 17 and rows[5]["keypoint"] == COCO_17.names[5] and rows[0]["frame"] == ""
    assert float(rows[0]["x"]) == pytest.approx(result.persons[0].keypoints[0, 0], abs=0.01)
    assert not list(tmp_path.glob("*.part"))
    parquet = pytest.importorskip("pyarrow.parquet")
    result.save(tmp_path, "photo", formats=("parquet",))
    table = parquet.read_table(tmp_path / "photo_keypoints.parquet").to_pylist()
    assert [row["keypoint"] for row in table] == list(COCO_17.names) and table[3]["person_id"] == 1


def test_maps_of_a_frame_in_16_bits(result: Result, tmp_path) -> None:
    assert result.normals is not None and result.depth is not None
    frame = Frame(result, 1, "clip")
    for one in (PNG, NPZ):
        assert one.frame is not None
        for name, write in one.frame(frame).items():
            write(tmp_path / name)
    values = cv2.imread(str(tmp_path / "000001_normals.png"), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    there = values.any(axis=-1)
    assert (there == np.isfinite(result.normals.values).all(axis=-1)).all()
    back = (values[there][:, ::-1].astype(float) - 1) / 65534 * 2 - 1
    assert np.abs(back - result.normals.values[there]).max() < 1e-4
    maps = np.load(tmp_path / "000001.npz")
    assert np.array_equal(maps["depth"], result.depth.values, equal_nan=True) and maps["parts"].dtype == np.uint8


def test_overlays_longer_than_a_jpeg_are_made_smaller(tmp_path: Path) -> None:
    save_overlay(tmp_path / "a.jpg", np.zeros((80, 70_000, 3), np.uint8))
    assert Image.open(tmp_path / "a.jpg").size == (65_500, 75)


def test_a_screenshot_of_a_long_page_is_predicted_and_saved(tmp_path: Path) -> None:
    page = np.zeros((33_000, 240, 3), np.uint8)
    result = People([painted_model()], WholeImage())(page)
    assert result.parts is not None and result.parts.labels.shape == (33_000, 240)
    result.save(tmp_path, "page")
    assert (tmp_path / "page_keypoints.json").is_file()
    with Image.open(tmp_path / "page_sheet.jpg") as made:
        assert max(made.size) < 10_000


def test_a_table_holds_no_formulas(tmp_path: Path) -> None:
    names = ("=1+1", "+cmd|' /C calc'!A0", "-2", "@sum", "\t=1", "left_eye", "a=b", "")
    save_table(tmp_path / "t.csv", [[(name, None, None, 1, "nose", -2.5, 3.0, 0.5) for name in names]])
    rows = list(csv.DictReader((tmp_path / "t.csv").open(newline="")))
    assert [row["file"] for row in rows] == [*(f"'{name}" for name in names[:5]), *names[5:]]
    assert {row["x"] for row in rows} == {"-2.5"}, "a number is one"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_files_whose_names_are_not_utf8(kind: str, tmp_path: Path) -> None:
    annotation = {"keypoints": [1, 2, 2], "keypoint_scores": [0.5], "image_id": 1, "person_id": 1}
    rows = table_rows([annotation], ("nose",), "caf\udce9.jpg", {1: (None, None)})
    save_table(tmp_path / f"t.{kind}", [rows])
    if kind == "csv":
        assert "caf\ufffd.jpg" in (tmp_path / "t.csv").read_text(encoding="utf-8")
