from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from opensapiens.geometry.boxes import box_iou
from opensapiens.inference.detection import PersonDetector
from opensapiens.inference.detectors import find_detector
from opensapiens.inference.second_look import WHOLE_SCORE, SecondLook

from .conftest import PixelReader, paint, painted_model

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
    boxes, scores = look(paint([PERSON]), (4, 12, 62, 100), heads=["segmentation"])
    assert box_iou(np.array([PERSON], np.float32), boxes).item() > 0.85 and scores == pytest.approx([0.9])


def test_scenery_passes_neither_without_foreground_nor_without_a_body() -> None:
    painted, empty = (140, 30, 190, 100), (80, 20, 120, 100)
    image = paint([PERSON, painted])  # points peak in the first alone
    boxes, _ = look(image, PERSON, painted, empty, heads=["segmentation", "pose"])
    assert len(boxes) == 1 and box_iou(np.array([PERSON], np.float32), boxes).item() > 0.85
    assert len(look(image, PERSON, painted, empty, heads=["segmentation"])[0]) == 2, "without points there is no body"


def test_two_boxes_on_one_person_become_one() -> None:
    boxes, scores = look(paint([PERSON]), (8, 18, 52, 112), (12, 24, 48, 100), heads=["segmentation"])
    assert len(boxes) == 1 and scores == pytest.approx([0.9])


def test_whoever_fills_the_picture_is_found_though_the_detector_finds_nobody() -> None:
    truth = (20, 5, 180, 118)
    boxes, scores = look(paint([truth]), heads=["segmentation", "pose"])
    assert box_iou(np.array([truth], np.float32), boxes).item() > 0.85 and scores == pytest.approx([WHOLE_SCORE])
    assert look(paint([]))[0].shape == (0, 4)


def test_whoever_fills_the_picture_takes_the_place_of_unsure_things_beside_them() -> None:
    truth, thing = (20, 5, 150, 118), (160, 20, 180, 60)
    image = paint([truth, thing])
    unsure, sure = (
        SecondLook(Proposes(*[(0, 0, 2, 2)] * skipped, thing), painted_model(heads=["segmentation"]))(image)
        for skipped in (4, 0)
    )
    assert len(unsure[0]) == 1 and box_iou(np.array([truth], np.float32), unsure[0]).item() > 0.85
    assert unsure[1] == pytest.approx([WHOLE_SCORE]), "the thing scored 0.5"
    assert len(sure[0]) == 2 and sure[1] == pytest.approx([0.9, WHOLE_SCORE])


class SeesNoBodyMirrored(PixelReader):
    """Red rises from left to right in the image as it is."""

    def forward(
        self, images_B3HW: Tensor, heads: Sequence[str] | None = None, inputs: object = None
    ) -> dict[str, Tensor]:
        maps = super().forward(images_B3HW, heads)
        if "pose" in maps:
            rises = images_B3HW[:, 0, :, -8:].mean((1, 2)) > images_B3HW[:, 0, :, :8].mean((1, 2))
            maps["pose"] = torch.where(rises[:, None, None, None], maps["pose"], -maps["pose"])
        return maps


def test_a_body_must_show_in_the_mirrored_image_too_where_weights_ask_for_that() -> None:
    found = {}
    for flip in (False, True):
        model = painted_model(heads=["segmentation", "pose"], flip_test=flip)
        model.network = SeesNoBodyMirrored()  # type: ignore[assignment]
        found[flip] = len(SecondLook(Proposes(PERSON), model)(paint([PERSON]))[0])
    assert found == {False: 1, True: 0}


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
