from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from opensapiens.geometry.boxes import box_iou
from opensapiens.inference.detection import PartMapDetector, WholeImage

from .conftest import PixelReader, paint, painted_model


@pytest.mark.parametrize("resize", ["person_crop", "squash"])
@pytest.mark.parametrize(
    "truth",
    [
        [(70, 20, 130, 100)],
        [(0, 0, 60, 120)],  # touches the border
        [(10, 20, 50, 110), (120, 30, 170, 90)],
        [(70, 20, 130, 100), (138, 45, 160, 88)],  # the small one's crop shows more of the large one
        [(5, 40, 35, 100), (80, 30, 120, 110), (160, 50, 190, 100)],
    ],
)
def test_it_finds_each_person_once(truth: list[tuple[int, int, int, int]], resize: str) -> None:
    heads = ["segmentation"]
    boxes, scores = PartMapDetector(painted_model(resize, heads))(paint(truth))
    assert len(boxes) == len(truth) == len(scores)
    overlaps = box_iou(np.array(truth, np.float32), boxes)
    assert (overlaps.max(axis=1) > 0.85).all(), overlaps
    assert ((scores > 0.6) & (scores <= 1)).all()


def test_the_second_look_makes_a_small_person_precise() -> None:
    truth = (301, 203, 337, 279)
    boxes, _ = PartMapDetector(painted_model(heads=["segmentation"]))(paint([truth], size=(480, 640)))
    assert box_iou(np.array([truth], np.float32), boxes).max() > 0.9


def test_windows_find_those_who_are_too_small_in_the_whole_image() -> None:
    truth = (501, 203, 525, 253)
    boxes, _ = PartMapDetector(painted_model(heads=["segmentation"]))(paint([truth], size=(800, 1200)))
    assert box_iou(np.array([truth], np.float32), boxes).max(initial=0) > 0.8


def test_what_is_painted_like_a_person_without_a_body_is_none() -> None:
    person, scenery = (10, 20, 50, 110), (140, 30, 190, 100)
    image = paint([person, scenery])  # points peak in the first alone
    boxes, _ = PartMapDetector(painted_model(heads=["segmentation", "pose"]))(image)
    assert len(boxes) == 1 and box_iou(np.array([person], np.float32), boxes).item() > 0.85


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
    image = paint([(10, 20, 50, 110)])
    plain, flipped = (painted_model(heads=["segmentation", "pose"], flip_test=flip) for flip in (False, True))
    plain.network = flipped.network = SeesNoBodyMirrored()  # type: ignore[assignment]
    assert len(PartMapDetector(plain)(image)[0]) == 1
    assert len(PartMapDetector(flipped)(image)[0]) == 0
    assert len(PartMapDetector(flipped, flip=False)(image)[0]) == 1


def test_whoever_fills_the_picture_is_found_though_the_coarse_look_sees_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = (20, 5, 180, 118)
    detector = PartMapDetector(painted_model(heads=["segmentation", "pose"]))
    monkeypatch.setattr(detector, "_coarse_views", lambda size: [])
    boxes, _ = detector(paint([truth]))
    assert len(boxes) == 1 and box_iou(np.array([truth], np.float32), boxes).item() > 0.85


def test_nobody_is_found_in_a_speck() -> None:
    boxes, _ = PartMapDetector(painted_model(heads=["segmentation"]))(paint([(301, 203, 318, 236)], size=(480, 640)))
    assert len(boxes) == 0


def test_nobody() -> None:
    boxes, scores = PartMapDetector(painted_model())(paint([]))
    assert boxes.shape == (0, 4) and scores.shape == (0,)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
def test_tiny_images_are_no_crash(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    for resize in ("person_crop", "squash"):
        boxes, _ = PartMapDetector(painted_model(resize, ["segmentation"]))(image)
        assert boxes.shape[1] == 4


def test_a_model_without_parts_cannot_detect() -> None:
    with pytest.raises(ValueError, match="no segmentation head"):
        PartMapDetector(painted_model(heads=["pose"]))


def test_the_whole_image_is_one_box() -> None:
    boxes, scores = WholeImage()(np.zeros((30, 40, 3), np.uint8))
    assert boxes.tolist() == [[0, 0, 40, 30]] and scores.tolist() == [1]
