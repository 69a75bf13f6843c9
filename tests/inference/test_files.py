import json
from pathlib import Path

import pytest

from opensapiens.inference.boxes import BoxesError, read_boxes
from opensapiens.inference.files import find_inputs
from opensapiens.inference.output import distinct_paths, output_names


def test_a_folder_gives_its_pictures_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "clip.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.jpg").touch()
    assert [path.name for path in find_inputs([tmp_path]).files] == ["a.png", "b.JPG", "clip.mp4"]
    assert [path.name for path in find_inputs([tmp_path / "notes.txt", tmp_path / "below"]).files] == [
        "notes.txt",
        "c.jpg",
    ]


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no photo or video in the folder"):
        find_inputs([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"nope\.jpg"):
        find_inputs([tmp_path / "nope.jpg"])


def test_no_two_outputs_share_a_name() -> None:
    paths = distinct_paths([Path("x/a.jpg"), Path("x/a.png"), Path("y/a.jpg"), Path("b.jpg")])
    assert paths == ["x/a.jpg", "a.png", "y/a.jpg", "b.jpg"]
    assert output_names(paths) == ["x_a", "a", "y_a", "b"]
    paths = distinct_paths([Path("a.jpg"), Path("a.png"), Path("x/b_c.png"), Path("b/c.png"), Path("x/c.png")])
    assert output_names(paths) == ["a_jpg", "a_png", "b_c_png", "b_c_png_2", "x_c"]
    assert output_names(distinct_paths([Path("a.jpg"), Path("a.jpg")])) == ["a_jpg", "a_jpg_2"]


@pytest.mark.parametrize(
    "content",
    [
        [{"image": "a.jpg", "bbox": [10, 20, 30, 40]}, {"file_name": "a.jpg", "bbox": [1, 2, 3, 4]}],
        {"a.jpg": [[10, 20, 40, 60], [1, 2, 4, 6]]},
        {
            "images": [{"id": 7, "file_name": "a.jpg"}],
            "annotations": [
                {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40]},
                {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]},
                {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
                {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
            ],
        },
    ],
)
def test_all_kinds_of_box_files_say_the_same(content: object, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    assert read_boxes(tmp_path / "boxes.json")["a.jpg"].tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"image": "a.jpg", "bbox": [1, 2, 3', "not JSON"),
        ('[{"bbox": [1, 2, 3, 4]}]', "entry 0"),
        ('[{"image": "a.jpg", "bbox": [1, 2, 3]}]', "not four numbers"),
        ('{"a.jpg": [[1, 2, "x", 4]]}', "not four numbers"),
        ('{"a.jpg": 5}', "not a list"),
        ("5", "neither"),
        ('{"annotations": [{}], "images": []}', "no picture has the id None"),
        ('{"annotations": [{}], "images": {}}', "not a COCO"),
        ('{"annotations": [], "images": [{"id": [], "file_name": "a.jpg"}]}', "no id or no file name"),
        ('{"a.jpg": [[1, 2, 1e999, 4]]}', "too large"),
        ('{"a.jpg": [[1, 2, 1e300, 4]]}', "not in pixels"),
        ('{"a.jpg": [[1, 2, ' + "9" * 400 + ", 4]]}", "64 bits"),
        ("[" * 100_000, "nested"),
        (json.dumps({"a.jpg": [[0, 0, 5, 5]] * 1001}), "1001 boxes for a.jpg; at most 1000"),
        (json.dumps([{"image": "0/a.jpg", "bbox": [0, 0, 5, 5]}] * 1001), "at most 1000"),
    ],
    ids=lambda text: text[:30],
)
def test_box_files_that_are_none(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(BoxesError, match=message):
        read_boxes(tmp_path / "boxes.json")
