import numpy as np
import pytest

from opensapiens.geometry.boxes import box_iou
from opensapiens.inference.detection import PersonDetector
from opensapiens.inference.detectors import find_detector
from opensapiens.inference.second_look import SecondLook

from .conftest import paint, painted_model

PERSON = (10, 20, 50, 110)


class Proposes:
    """Finds the given boxes, with scores of 0.9, 0.8, ..."""

    name = "proposals"

    def __init__(self, *boxes: tuple[int, int, int, int]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.boxes, (0.9 - 0.1 * np.arange(len(self.boxes))).astype(np.float32)


def look(image: np.ndarray, *boxes: tuple[int, int, int, int], **model: object) -> tuple[np.ndarray, np.ndarray]:
    return SecondLook(Proposes(*boxes), painted_model(**model))(image)


def test_a_loose_box_becomes_that_of_the_foreground() -> None:
    boxes, _ = look(paint([PERSON]), (4, 12, 62, 100), heads=["segmentation"])
    assert len(boxes) == 1 and box_iou(np.array([PERSON], np.float32), boxes).item() > 0.85


def test_scenery_passes_neither_without_foreground_nor_without_a_body() -> None:
    painted, empty = (140, 30, 190, 100), (80, 20, 120, 100)
    image = paint([PERSON, painted])  # points peak in the first alone
    boxes, _ = look(image, PERSON, painted, empty, heads=["segmentation", "pose"])
    assert len(boxes) == 1 and box_iou(np.array([PERSON], np.float32), boxes).item() > 0.85
    assert len(look(image, PERSON, painted, empty, heads=["segmentation"])[0]) == 2, "without points there is no body"


def test_a_surer_box_scores_higher_and_the_threshold_is_of_the_new_score() -> None:
    image, boxes = paint([PERSON, (140, 30, 190, 100)]), (PERSON, (140, 30, 190, 100))
    model = painted_model(heads=["segmentation"])
    found, scores = SecondLook(Proposes(*boxes), model)(image)
    assert box_iou(np.array([PERSON], np.float32), found[:1]).item() > 0.85 and scores[0] > scores[1]
    assert len(SecondLook(Proposes(*boxes), model, float(scores.mean()))(image)[0]) == 1


def test_two_boxes_on_one_person_become_one() -> None:
    boxes, scores = look(paint([PERSON]), (8, 18, 52, 112), (12, 24, 48, 100), heads=["segmentation"])
    assert len(boxes) == 1 and scores == pytest.approx(
        look(paint([PERSON]), PERSON, heads=["segmentation"])[1], abs=0.01
    )


def test_whoever_fills_the_picture_is_found_though_the_detector_finds_nobody() -> None:
    truth = (20, 5, 180, 118)
    boxes, _ = look(paint([truth]), heads=["segmentation", "pose"])
    assert box_iou(np.array([truth], np.float32), boxes).item() > 0.85
    assert look(paint([]))[0].shape == (0, 4)


def test_an_unsure_box_around_somebody_surer_goes_and_a_sure_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    inner, outer = (60, 30, 90, 100), (20, 5, 180, 115)
    look = SecondLook(Proposes(), painted_model(heads=["segmentation"]))
    for logit, count in ((-2.6, 1), (2.0, 2)):
        features = np.array([[5.0, 0, 0.95], [logit, 0, 0.95]])
        monkeypatch.setattr(look, "features", lambda *_, rows=features: (np.array([inner, outer], np.float32), rows))
        boxes, scores = look(paint([]))
        assert len(boxes) == count and scores[0] > 0.9 and boxes[0].tolist() == list(inner)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
def test_tiny_images_are_no_crash(size: tuple[int, int]) -> None:
    assert look(np.full((*size, 3), 255, np.uint8), heads=["segmentation"])[0].shape[1] == 4


def test_auto_takes_a_second_look_where_a_network_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opensapiens.inference.detectors.automatic_detector", lambda: "detector")
    chosen = find_detector(models=[painted_model(heads=["pose"]), painted_model()])
    assert isinstance(chosen, SecondLook) and chosen.name == "opensapiens-detector, checked by painted"
    for models in ([painted_model(heads=["pose"])], [painted_model("squash", ["segmentation"])], []):
        assert isinstance(find_detector(models=models), PersonDetector)
    assert isinstance(find_detector("detector", models=[painted_model()]), PersonDetector)
