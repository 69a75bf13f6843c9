import numpy as np
import pytest

from opensapiens.drawing import draw_box, draw_keypoints
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308


def coco_points(**places: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    points, scores = np.zeros((17, 2), np.float32), np.zeros(17, np.float32)
    for name, place in places.items():
        points[COCO_17.index(name)], scores[COCO_17.index(name)] = place, 1
    return points, scores


def test_a_limb_has_the_color_of_the_set_and_lies_between_its_points() -> None:
    image = np.full((400, 400, 3), 128, np.uint8)
    points, scores = coco_points(left_shoulder=(20, 50), left_elbow=(80, 50))
    drawn = draw_keypoints(image, points, scores, COCO_17, person_size=400)
    limb = [set(pair) for pair in COCO_17.limbs.tolist()].index(
        {COCO_17.index("left_shoulder"), COCO_17.index("left_elbow")}
    )
    assert drawn[50, 50].tolist() == COCO_17.limb_colors[limb].tolist()
    assert (drawn[10] == 128).all() and (image == 128).all(), "nothing elsewhere, and the input is untouched"


def test_what_scores_below_the_threshold_is_not_drawn() -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    points, scores = coco_points(left_shoulder=(20, 50), left_elbow=(80, 50))
    scores[COCO_17.index("left_elbow")] = 0.2
    drawn = draw_keypoints(image, points, scores, COCO_17, threshold=0.3, person_size=400)
    assert (drawn[50, 18:23] != 128).any()
    assert (drawn[:, 30:] == 128).all(), "neither the weak point nor the limb that ends in it"


def test_lines_grow_with_the_person() -> None:
    image = np.zeros((1000, 1000, 3), np.uint8)
    points, scores = coco_points(left_shoulder=(20, 50), left_elbow=(80, 50))
    thickness = [
        int((draw_keypoints(image, points, scores, COCO_17, person_size=size)[:, 50, 1] > 128).sum())
        for size in (100, 800)
    ]
    assert 1 <= thickness[0] < thickness[1]


def test_points_outside_the_image_or_not_numbers_do_no_harm() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    points = np.full((308, 2), np.nan, np.float32)
    points[:100] = 1e9
    points[100:200] = -50
    assert draw_keypoints(image, points, np.ones(308), SAPIENS_308).shape == image.shape


def test_the_number_of_points_must_fit_the_set() -> None:
    with pytest.raises(ValueError, match="coco_17 has 17 points"):
        draw_keypoints(np.zeros((10, 10, 3), np.uint8), np.zeros((16, 2)), np.zeros(16), COCO_17)


def test_a_box_is_a_frame() -> None:
    drawn = draw_box(np.zeros((50, 50, 3), np.uint8), np.array([10, 10, 40, 30]), (255, 0, 0))
    assert drawn[10, 25, 0] > 200 and drawn[10, 25, 1] < 40, "red, its edge smoothed"
    assert drawn[20, 25].tolist() == [0, 0, 0]
