from pathlib import Path

import numpy as np
import pytest

from opensapiens.labels.parts import PART_SETS, SAPIENS_28, SAPIENS_29, part_lookup, read_part_set


def test_the_28_parts() -> None:
    assert PART_SETS["sapiens_28"] is SAPIENS_28 and len(SAPIENS_28) == len(set(SAPIENS_28.names)) == 28
    assert [SAPIENS_28.index(name) for name in ("Background", "Face_Neck", "Torso", "Tongue")] == [0, 2, 21, 27]
    assert SAPIENS_28.colors.shape == (28, 3) and SAPIENS_28.colors.dtype == np.uint8
    assert len(np.unique(SAPIENS_28.colors, axis=0)) == 28
    assert SAPIENS_28.loss_weights.dtype == np.float32 and SAPIENS_28.loss_weights[[0, 8, 12]].tolist() == [
        np.float32(0.1),
        6,
        1,
    ]
    with pytest.raises(KeyError, match="no part 'Wing'"):
        SAPIENS_28.index("Wing")


def test_the_29_parts_are_the_28_and_eyeglasses() -> None:
    assert PART_SETS["sapiens_29"] is SAPIENS_29 and SAPIENS_29.index("Eyeglass") == 2
    others = np.delete(np.arange(29), 2)
    assert tuple(SAPIENS_29.names[i] for i in others) == SAPIENS_28.names
    np.testing.assert_array_equal(SAPIENS_29.colors[others], SAPIENS_28.colors)
    np.testing.assert_array_equal(SAPIENS_29.loss_weights[others], SAPIENS_28.loss_weights)
    swapped = np.flatnonzero(SAPIENS_29.flip_indices != np.arange(29))
    assert swapped.tolist() == [*range(5, 13), *range(14, 22)]
    to_28 = part_lookup(SAPIENS_29, SAPIENS_28)
    assert to_28[[0, 1, 2, 3, 28]].tolist() == [0, 1, 255, 2, 27]


def test_flip_swaps_exactly_the_sided_parts() -> None:
    flip = SAPIENS_28.flip_indices
    np.testing.assert_array_equal(flip[flip], np.arange(28))
    for name, mirror in zip(SAPIENS_28.names, flip, strict=True):
        other = name.replace("Left_", "Right_") if name.startswith("Left_") else name.replace("Right_", "Left_")
        assert SAPIENS_28.names[mirror] == other
    assert (flip != np.arange(28)).sum() == 16
    np.testing.assert_array_equal(SAPIENS_28.loss_weights[flip], SAPIENS_28.loss_weights)


def test_a_users_table(tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    table.write_text("name,mirror,loss_weight,color\nnothing,,0.5,#000000\nwing,,2,#ffffff\n")
    parts = read_part_set("bird", table)
    assert parts.names == ("nothing", "wing") and parts.loss_weights.tolist() == [0.5, 2]
    table.write_text("name,mirror,color\nnothing,,#000000\n")
    with pytest.raises(ValueError, match="no column loss_weight"):
        read_part_set("bird", table)
    table.write_text("name,mirror,loss_weight,color\nnothing,,-1,#000000\n")
    with pytest.raises(ValueError, match="loss_weight: numbers must be"):
        read_part_set("bird", table)
    table.write_text("name,mirror,loss_weight,color\nnothing,,1,black\n")
    with pytest.raises(ValueError, match="'black' is no color"):
        read_part_set("bird", table)


def test_classes_that_the_target_lacks_are_ignored_not_background(tmp_path: Path) -> None:
    table = tmp_path / "lip.csv"
    rows = "background,,1,#000000\nhair,,1,#010101\nScarf,,1,#020202\nCoat,,1,#030303\n"
    table.write_text("name,mirror,loss_weight,color\n" + rows)
    lookup = part_lookup(read_part_set("lip", table), SAPIENS_28, {"Coat": "Upper_Clothing"})
    assert lookup[[0, 1, 2, 3]].tolist() == [0, SAPIENS_28.index("Hair"), 255, SAPIENS_28.index("Upper_Clothing")]
    assert (lookup[4:] == 255).all()
    with pytest.raises(KeyError, match="no part 'Hat'"):
        part_lookup(read_part_set("lip", table), SAPIENS_28, {"Hat": "Hair"})
