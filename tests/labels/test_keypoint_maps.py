import numpy as np
import pytest

from opensapiens.labels.keypoint_maps import convert_keypoints, source_indices
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
    for source, target in ((SAPIENS_308, WHOLEBODY_133), (SAPIENS_308, COCO_17), (WHOLEBODY_133, COCO_17)):
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
    with pytest.raises(ValueError, match="no map from the keypoints coco_17 to sapiens_308"):
        convert_keypoints(points, scores, COCO_17, SAPIENS_308)
    with pytest.raises(ValueError, match="sapiens_308 has 308 points"):
        convert_keypoints(points, np.zeros((2, 308)), SAPIENS_308, COCO_17)
    with pytest.raises(ValueError, match="sapiens_308 has 308 points"):
        convert_keypoints(np.zeros((2, 308, 2)), scores, SAPIENS_308, COCO_17)
