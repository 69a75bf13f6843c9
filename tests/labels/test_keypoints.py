from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from opensapiens.labels.keypoints import (
    COCO_17,
    KEYPOINT_SETS,
    SAPIENS_308,
    TABLES,
    WHOLEBODY_133,
    KeypointSet,
    read_keypoint_set,
)

each_set = pytest.mark.parametrize("keypoints", KEYPOINT_SETS.values(), ids=KEYPOINT_SETS)
HEADER = "name,mirror,group,body_half,sigma,color\n"


@each_set
def test_arrays_fit_the_names(keypoints: KeypointSet) -> None:
    count = len(keypoints)
    assert len(set(keypoints.names)) == count == len(keypoints.body_halves) == len(keypoints.groups)
    assert keypoints.flip_indices.shape == (count,) and keypoints.flip_indices.dtype == np.int64
    assert keypoints.sigmas.shape == (count,)
    assert keypoints.sigmas.dtype == np.float32
    assert keypoints.colors.shape == (count, 3) and keypoints.colors.dtype == np.uint8
    assert keypoints.limbs.dtype == np.int64 and keypoints.limb_colors.shape == (len(keypoints.limbs), 3)
    assert keypoints.limbs.min() >= 0 and keypoints.limbs.max() < count
    assert keypoints.sigmas.min() > 0 and keypoints.sigmas.max() <= np.float32(0.107)  # hips are the loosest


@each_set
def test_flip_changes_sides_and_back(keypoints: KeypointSet) -> None:
    flip = keypoints.flip_indices
    np.testing.assert_array_equal(flip[flip], np.arange(len(keypoints)))
    for name, mirror in zip(keypoints.names, flip, strict=True):
        side, other = ("left_", "right_") if name.startswith("left_") else ("right_", "left_")
        if name.startswith(side):
            assert keypoints.names[mirror] == other + name.removeprefix(side)
    swapped_groups = {"left_hand": "right_hand", "right_hand": "left_hand"}
    assert [keypoints.groups[i] for i in flip] == [swapped_groups.get(group, group) for group in keypoints.groups]
    assert [keypoints.body_halves[i] for i in flip] == list(keypoints.body_halves)


def test_counts() -> None:
    assert Counter(COCO_17.groups) == {"body": 17}
    hands = {"left_hand": 21, "right_hand": 21}
    assert Counter(WHOLEBODY_133.groups) == {"body": 17, "foot": 6, "face": 68} | hands
    hands = {"left_hand": 20, "right_hand": 20}
    assert Counter(SAPIENS_308.groups) == {"body": 17, "foot": 6, "face": 238, "extra": 7} | hands
    assert Counter(SAPIENS_308.body_halves) == {"upper": 51, "lower": 12, "": 245}
    assert [len(known.limbs) for known in (COCO_17, WHOLEBODY_133, SAPIENS_308)] == [19, 65, 65]
    assert [(known.flip_indices == np.arange(len(known))).sum() for known in (COCO_17, WHOLEBODY_133)] == [1, 11]


def test_order_of_the_308() -> None:
    """The order that is easily mistaken: wrists behind the hands, fingers from the tip, the right hand first."""
    names = SAPIENS_308.names
    assert names[9:11] == ("left_hip", "right_hip")
    assert (names[41], names[62], names[69]) == ("right_wrist", "left_wrist", "neck")
    assert names[21:25] == ("right_thumb4", "right_thumb3", "right_thumb2", "right_thumb_third_joint")
    assert SAPIENS_308.group("face").tolist() == list(range(70, 308))


@pytest.mark.parametrize(
    ("name", "mirror"),
    [
        ("upper_midpoint_2_of_r_eyebrow", "upper_midpoint_3_of_l_eyebrow"),
        ("l_midpoint_6_of_upper_lash_line", "r_midpoint_3_of_upper_lash_line"),
        ("midpoint_3_of_upper_outer_lip", "midpoint_6_of_upper_outer_lip"),
        ("l_border_of_iris_3", "r_border_of_iris_9"),
        ("l_point_2_of_inner_helix", "r_point_8_of_inner_helix"),
    ],
)
def test_mirrors_that_names_do_not_tell(name: str, mirror: str) -> None:
    assert SAPIENS_308.flip_indices[SAPIENS_308.index(name)] == SAPIENS_308.index(mirror)


@each_set
def test_limbs_are_symmetric(keypoints: KeypointSet) -> None:
    limbs = {frozenset(limb) for limb in keypoints.limbs.tolist()}
    assert {frozenset(keypoints.flip_indices[list(limb)].tolist()) for limb in limbs} == limbs


def test_shared_points_have_one_sigma() -> None:
    for name in set(SAPIENS_308.names) & set(WHOLEBODY_133.names):
        assert SAPIENS_308.sigmas[SAPIENS_308.index(name)] == WHOLEBODY_133.sigmas[WHOLEBODY_133.index(name)], name
    np.testing.assert_array_equal(COCO_17.sigmas, WHOLEBODY_133.sigmas[:17])


def test_unknown_names() -> None:
    with pytest.raises(KeyError, match="coco_17 has no keypoint 'tail'"):
        COCO_17.index("tail")
    with pytest.raises(KeyError, match="its groups are body"):
        COCO_17.group("tail")


def test_a_users_table(tmp_path: Path) -> None:
    table, limbs = tmp_path / "points.csv", tmp_path / "limbs.csv"
    rows = "tail,,back,,0.1,#010203\npaw_l,paw_r,front,upper,0.2,#ff0000\npaw_r,paw_l,front,upper,0.2,#00ff00\n"
    table.write_text("\ufeff" + HEADER + rows)  # as a spreadsheet writes it
    limbs.write_text("start,end,color\ntail,paw_r,#0000ff\n")
    keypoints = read_keypoint_set("cat", table, limbs)
    assert keypoints.names == ("tail", "paw_l", "paw_r") and keypoints.flip_indices.tolist() == [0, 2, 1]
    assert keypoints.colors[0].tolist() == [1, 2, 3] and keypoints.limbs.tolist() == [[0, 2]]
    assert read_keypoint_set("cat", table).limbs.shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER, "no rows"),
        ("name,mirror\na,\n", "no column group"),
        (HEADER + "a,,g,,1,#000000\na,,g,,1,#000000\n", "repeated names: a"),
        (HEADER + "a,b,g,,1,#000000\n", "unknown name 'b'"),
        (HEADER + "a,b,g,,1,#000000\nb,,g,,1,#000000\n", "not the mirror of their mirror: a"),
    ],
)
def test_a_wrong_table(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "points.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_keypoint_set("wrong", table)


def test_a_limb_to_nowhere(tmp_path: Path) -> None:
    limbs = tmp_path / "limbs.csv"
    limbs.write_text("start,end,color\nnose,tail,#0000ff\n")
    with pytest.raises(ValueError, match="unknown name 'tail'"):
        read_keypoint_set("wrong", TABLES / "coco_17_keypoints.csv", limbs)
