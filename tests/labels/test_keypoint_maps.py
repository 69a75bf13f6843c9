from dataclasses import replace

import numpy as np
import pytest

from opensapiens.labels.keypoint_maps import FINGER_ROOTS, SHARED_114, convert_keypoints, source_indices, subset
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet


def numbered(keypoints: KeypointSet) -> tuple[np.ndarray, np.ndarray]:
    """Points (2, K, 2) and scores (2, K) that say which keypoint they are."""
    index = np.arange(len(keypoints), dtype=np.float32)
    points = np.stack([index + 1, index + 1000], axis=-1)
    return np.stack([points, points + 0.5]), np.stack([index + 1, index + 2])


def test_308_to_17_is_the_published_order() -> None:
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 62, 41, 9, 10, 11, 12, 13, 14]
    assert source_indices(SAPIENS_308, COCO_17).tolist() == expected
    assert source_indices(WHOLEBODY_133, COCO_17).tolist() == list(range(17))
    assert source_indices(SAPIENS_308, SAPIENS_308).tolist() == list(range(308))


def test_308_to_133_has_body_feet_and_fingers() -> None:
    indices = source_indices(SAPIENS_308, WHOLEBODY_133)
    assert indices.shape == (133,) and indices.dtype == np.int64
    assert (indices >= 0).sum() == 63 and len(set(indices[indices >= 0])) == 63
    absent = {WHOLEBODY_133.names[i] for i in np.flatnonzero(indices < 0)}
    assert absent == {f"face-{i}" for i in range(68)} | {"left_hand_root", "right_hand_root"}
    assert SAPIENS_308.names[indices[WHOLEBODY_133.index("right_pinky_finger1")]] == "right_pinky_finger_third_joint"
    for name, source in zip(WHOLEBODY_133.names, indices, strict=True):
        if source >= 0:
            assert SAPIENS_308.names[source] in (name, f"{name.removesuffix('1')}_third_joint")


def test_a_map_commutes_with_the_flip() -> None:
    for source, target in (
        (SAPIENS_308, WHOLEBODY_133),
        (SAPIENS_308, COCO_17),
        (WHOLEBODY_133, COCO_17),
        (WHOLEBODY_133, SAPIENS_308),
        (COCO_17, SAPIENS_308),
    ):
        indices = source_indices(source, target)
        present = indices >= 0
        np.testing.assert_array_equal(present, present[target.flip_indices])
        np.testing.assert_array_equal(source.flip_indices[indices[present]], indices[target.flip_indices][present])


def test_convert() -> None:
    points, scores = numbered(SAPIENS_308)
    converted, converted_scores = convert_keypoints(points, scores, SAPIENS_308, WHOLEBODY_133)
    assert converted.shape == (2, 133, 2) and converted_scores.shape == (2, 133)
    assert converted.dtype == converted_scores.dtype == np.float32
    wrist = WHOLEBODY_133.index("left_wrist")
    assert converted[:, wrist].tolist() == [[63, 1062], [63.5, 1062.5]] and converted_scores[:, wrist].tolist() == [
        63,
        64,
    ]


def test_absent_points_are_zero_whatever_the_others_are() -> None:
    points, scores = np.full((308, 2), np.nan), np.full(308, np.nan)
    converted, converted_scores = convert_keypoints(points, scores, SAPIENS_308, WHOLEBODY_133)
    face = WHOLEBODY_133.group("face")
    assert not converted[face].any() and not converted_scores[face].any()
    assert np.isnan(converted[0]).all()


def test_errors() -> None:
    points, scores = numbered(COCO_17)
    other = replace(COCO_17, name="cat", names=tuple(f"paw_{i}" for i in range(17)))
    with pytest.raises(ValueError, match="coco_17 and cat have no point in common"):
        convert_keypoints(points, scores, COCO_17, other)
    with pytest.raises(ValueError, match="sapiens_308 has 308 points"):
        convert_keypoints(points, np.zeros((2, 308)), SAPIENS_308, COCO_17)
    with pytest.raises(ValueError, match="sapiens_308 has 308 points"):
        convert_keypoints(np.zeros((2, 308, 2)), scores, SAPIENS_308, COCO_17)


def test_maps_go_both_ways() -> None:
    there, back = source_indices(SAPIENS_308, WHOLEBODY_133), source_indices(WHOLEBODY_133, SAPIENS_308)
    for target, source in enumerate(there):
        assert source < 0 or back[source] == target
    assert (back >= 0).sum() == 63


def test_the_114_shared_points_are_those_they_are_said_to_be() -> None:
    counts = {group: SHARED_114.groups.count(group) for group in dict.fromkeys(SHARED_114.groups)}
    assert counts == {"body": 17, "foot": 6, "face": 51, "left_hand": 20, "right_hand": 20}
    in_133, in_308 = source_indices(WHOLEBODY_133, SHARED_114), source_indices(SAPIENS_308, SHARED_114)
    for indices, whole in ((in_133, WHOLEBODY_133), (in_308, SAPIENS_308)):
        assert len(set(indices.tolist())) == 114 and indices.min() >= 0
        # the mirror image of a shared point is, in either set, the mirror image of the point
        np.testing.assert_array_equal(whole.flip_indices[indices], indices[SHARED_114.flip_indices])
    for name, other in zip(SHARED_114.names, (SAPIENS_308.names[i] for i in in_308), strict=True):
        assert name == other or FINGER_ROOTS.get(name) == other or name.startswith("face-")
    np.testing.assert_array_equal(SHARED_114.sigmas, WHOLEBODY_133.sigmas[in_133])


def test_the_shared_face_points_stand_in_order_on_the_face() -> None:
    """The known layout of the 68 points: brows from the right outward end to the left one, eyes, nose, lips."""
    names = {
        n: SAPIENS_308.names[i] for n, i in zip(SHARED_114.names, source_indices(SAPIENS_308, SHARED_114), strict=True)
    }
    expected = {
        17: "end_of_r_eyebrow",
        26: "end_of_l_eyebrow",
        27: "center_of_nose_root",
        30: "tip_of_nose",
        36: "r_outer_end_of_upper_lash_line",
        39: "r_inner_end_of_upper_lash_line",
        42: "l_inner_end_of_upper_lash_line",
        45: "l_outer_end_of_upper_lash_line",
        48: "r_outer_corner_of_mouth",
        54: "l_outer_corner_of_mouth",
        60: "r_inner_corner_of_mouth",
        66: "center_of_lower_inner_lip",
    }
    assert {number: names[f"face-{number}"] for number in expected} == expected


def test_a_subset_must_hold_its_mirror_images() -> None:
    with pytest.raises(ValueError, match="mirror images"):
        subset(COCO_17, np.array([0, 1]), "half")
