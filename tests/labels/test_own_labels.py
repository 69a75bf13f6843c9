"""Label sets of a user's own: from COCO categories, from CSV files, and through JSON without loss."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensapiens.labels.keypoints import COCO_17, KEYPOINT_SETS, SAPIENS_308
from opensapiens.labels.own_labels import (
    find_keypoint_set,
    find_part_set,
    keypoint_set_from_json,
    keypoint_set_of_category,
    keypoint_set_to_json,
    part_set_from_json,
    part_set_of_categories,
    part_set_to_json,
)
from opensapiens.labels.parts import SAPIENS_28

CAT = {"id": 1, "name": "cat", "keypoints": ["nose", "left_paw", "right_paw", "tail"], "skeleton": [[1, 4], [2, 3]]}


@pytest.mark.parametrize("known", KEYPOINT_SETS.values(), ids=KEYPOINT_SETS)
def test_keypoints_survive_json(known: Any) -> None:
    back = keypoint_set_from_json(json.loads(json.dumps(keypoint_set_to_json(known))))
    for field in ("name", "names", "groups", "body_halves"):
        assert getattr(back, field) == getattr(known, field)
    for field in ("flip_indices", "sigmas", "colors", "limbs", "limb_colors"):
        np.testing.assert_array_equal(getattr(back, field), getattr(known, field))
        assert getattr(back, field).dtype == getattr(known, field).dtype


def test_columns_that_a_set_does_not_have_are_ignored() -> None:
    content = keypoint_set_to_json(COCO_17)
    content["keypoints"] = [{**row, "joint_weight": "1"} for row in content["keypoints"]]
    assert keypoint_set_from_json(content).names == COCO_17.names


def test_parts_survive_json() -> None:
    back = part_set_from_json(json.loads(json.dumps(part_set_to_json(SAPIENS_28))))
    assert (back.name, back.names) == (SAPIENS_28.name, SAPIENS_28.names)
    for field in ("flip_indices", "colors", "loss_weights"):
        np.testing.assert_array_equal(getattr(back, field), getattr(SAPIENS_28, field))


@pytest.mark.parametrize(
    "change",
    [{"name": 3}, {"keypoints": [{"name": "a"}]}, {"keypoints": "abc"}, {"keypoints": []}, {"limbs": [{"start": "a"}]}],
)
def test_json_that_is_no_label_set(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        keypoint_set_from_json(keypoint_set_to_json(COCO_17) | change)


def test_a_coco_category() -> None:
    cat = keypoint_set_of_category("cat", CAT)
    assert cat.names == ("nose", "left_paw", "right_paw", "tail") and cat.flip_indices.tolist() == [0, 2, 1, 3]
    assert cat.limbs.tolist() == [[0, 3], [1, 2]]
    assert cat.sigmas[0] == SAPIENS_308.sigmas[0] and cat.sigmas[3] == np.float32(0.05)
    assert keypoint_set_of_category("c", {"keypoints": ["l_paw", "r_paw"]}).flip_indices.tolist() == [1, 0]
    assert keypoint_set_of_category("c", {"keypoints": ["pawLeft", "pawRight"]}).flip_indices.tolist() == [1, 0]
    assert keypoint_set_of_category("c", {"keypoints": ["collar", "curl"]}).flip_indices.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("names", "mirrors"),
    [
        (["LShoulder", "RShoulder", "Nose"], [1, 0, 2]),
        (["shoulderL", "shoulderR"], [1, 0]),
        (["L5", "R5"], [1, 0]),
        (["bright_spot", "upright"], [0, 1]),
        (["L5", "C7", "R2D2"], [0, 1, 2]),
        (["RIP", "Lens"], [0, 1]),
        (["left_right_edge", "right_right_edge"], [1, 0]),
    ],
)
def test_sides_are_what_has_a_counterpart(
    names: list[str], mirrors: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    assert keypoint_set_of_category("c", {"keypoints": names}).flip_indices.tolist() == mirrors
    assert ("no names were found that mirror each other" in caplog.text) == (mirrors == sorted(mirrors))


@pytest.mark.parametrize(
    ("category", "sentence"),
    [
        ({"keypoints": "nose"}, "not a list of names"),
        ({"keypoints": [3]}, "not a list of names"),
        ({"keypoints": ["a", "b"], "skeleton": [1, 2]}, "not a list of pairs"),
        ({"keypoints": ["a", "b"], "skeleton": [["1", 2]]}, "names point '1'"),
        ({"keypoints": ["lefthand", "nose"]}, "there is no 'righthand'"),
        ({"keypoints": ["pawLeft"]}, "there is no 'pawRight'"),
        ({"keypoints": ["l_paw"]}, "there is no 'r_paw'"),
    ],
)
def test_categories_of_wrong_types(category: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        keypoint_set_of_category("c", category)


@pytest.mark.parametrize("color", ["red", [1, 2], [1, 2, 256], [1, 2, None], [1.5, 2, 3]])
def test_a_color_that_is_none(color: Any) -> None:
    with pytest.raises(ValueError, match="color of shoe"):
        part_set_of_categories("c", [{"id": 1, "name": "shoe", "color": color}])


def test_coco_categories_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="'left_paw' names a side, but there is no 'right_paw'"):
        keypoint_set_of_category("cat", {"keypoints": ["left_paw"]})
    with pytest.raises(ValueError, match="point 0 of 4, counted from 1"):
        keypoint_set_of_category("cat", CAT | {"skeleton": [[0, 1]]})
    with pytest.raises(ValueError, match="no points"):
        keypoint_set_of_category("cat", {"id": 1})


def test_parts_of_categories() -> None:
    parts = part_set_of_categories(
        "shoes", [{"id": 2, "name": "right_shoe"}, {"id": 1, "name": "left_shoe", "color": [1, 2, 3]}]
    )
    assert parts.names == ("Background", "left_shoe", "right_shoe") and parts.flip_indices.tolist() == [0, 2, 1]
    assert parts.colors[1].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="without a gap"):
        part_set_of_categories("shoes", [{"id": 7, "name": "shoe"}])


def test_sets_are_found_by_name_and_by_file(tmp_path: Path) -> None:
    assert find_keypoint_set("coco_17") is COCO_17 and find_part_set("sapiens_28") is SAPIENS_28
    (tmp_path / "cat.json").write_text(json.dumps({"categories": [CAT]}))
    assert find_keypoint_set(tmp_path / "cat.json").name == "cat"
    columns = "name,mirror,group,body_half,sigma,color\n"
    (tmp_path / "hat.csv").write_text(columns + "brim,,hat,,0.05,#ff0000\ntip,,hat,,0.05,#00ff00\n")
    assert find_keypoint_set(tmp_path / "hat.csv").limbs.shape == (0, 2)
    (tmp_path / "hat_limbs.csv").write_text("start,end,color\nbrim,tip,#0000ff\n")
    assert find_keypoint_set(tmp_path / "hat.csv").limbs.tolist() == [[0, 1]]
    (tmp_path / "parts.csv").write_text("name,mirror,loss_weight,color\nnothing,,1,#000000\nhat,,2,#ff0000\n")
    assert find_part_set(tmp_path / "parts.csv").names == ("nothing", "hat")
    for wrong in ("coco17", tmp_path / "none.csv"):
        with pytest.raises(ValueError, match="there are coco_17"):
            find_keypoint_set(wrong)
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(ValueError, match="not a COCO file with categories"):
        find_part_set(tmp_path / "bad.json")
