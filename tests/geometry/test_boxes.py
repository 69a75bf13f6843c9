import numpy as np
import pytest

from opensapiens.geometry.boxes import box_iou, box_of_mask, center_and_scale, non_maximum_suppression


def test_center_and_scale_grow_the_short_side() -> None:
    center, scale = center_and_scale(np.array([[10, 20, 110, 60], [10, 20, 20, 120], [0, 0, 80, 100]]))
    np.testing.assert_allclose(center, [[60, 40], [15, 70], [40, 50]])
    np.testing.assert_allclose(scale, [[125, 125 / 0.75], [125 * 0.75, 125], [100, 100 / 0.75]])
    assert center.dtype == scale.dtype == np.float32
    _, scale = center_and_scale(np.array([0, 0, 10, 10]), aspect=1.0, padding=1.0)
    assert scale.tolist() == [10, 10]


def test_a_line_has_a_region_and_a_point_has_none() -> None:
    _, scale = center_and_scale(np.array([5, 0, 5, 40]))
    np.testing.assert_allclose(scale, [37.5, 50])
    for box in ([5, 5, 5, 5], [10, 0, 5, 40], [0, 0, np.nan, 1], [0, 0, np.inf, 1]):
        with pytest.raises(ValueError, match="not a box"):
            center_and_scale(np.array(box))


def test_iou() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]])
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0], [10, 0, 20, 10]])
    np.testing.assert_allclose(box_iou(a, b), [[1, 1 / 3, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_suppression_keeps_the_best_and_what_only_the_suppressed_overlap() -> None:
    boxes = np.array([[6, 0, 16, 10], [0, 0, 10, 10], [12, 0, 22, 10], [50, 50, 60, 60]])
    scores = np.array([0.8, 0.9, 0.7, 0.95])
    # 1 removes 0; 2 overlaps only 0, which is gone.
    assert non_maximum_suppression(boxes, scores, threshold=0.2).tolist() == [3, 1, 2]
    assert non_maximum_suppression(boxes, scores, threshold=0.5).tolist() == [3, 1, 0, 2]
    assert non_maximum_suppression(boxes[:0], scores[:0], threshold=0.5).tolist() == []
    assert non_maximum_suppression(boxes[[1, 1]], scores[[1, 1]], threshold=0.5).tolist() == [0]


def test_box_of_mask() -> None:
    mask = np.zeros((8, 9), dtype=bool)
    assert box_of_mask(mask) is None
    mask[3, 5] = True
    assert box_of_mask(mask).tolist() == [5, 3, 6, 4]
    mask[6, 2] = True
    assert box_of_mask(mask).tolist() == [2, 3, 6, 7]
