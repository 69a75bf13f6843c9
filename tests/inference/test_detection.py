import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.export.export import portrait
from opensapiens.geometry.boxes import box_iou
from opensapiens.geometry.view import Preprocessing
from opensapiens.inference import detectors
from opensapiens.inference.detection import DetectorError, PersonDetector, WholeImage
from opensapiens.inference.detectors import automatic_detector, find_detector
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.loading import load
from opensapiens.inference.pipeline import People, PipelineError
from opensapiens.storage.pictures import read_image
from opensapiens.tasks.detection import UNIT

from .conftest import PaintedDetector, paint, painted_model, peak

STRIDE = 8
RENDERED = Path(__file__).parents[2] / "examples" / "photos" / "rendered_person.jpg"


class Finds(nn.Module):
    """Answers with boxes (x1, y1, x2, y2, score) in pixels of the network's input, at the places of their middles."""

    def __init__(self, found: list[tuple[float, float, float, float, float]]) -> None:
        super().__init__()
        self.found = found
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(
        self, images_B3HW: torch.Tensor, heads: object = None, inputs: object = None
    ) -> dict[str, torch.Tensor]:
        height, width = (side // STRIDE for side in images_B3HW.shape[2:])
        maps = torch.zeros(len(images_B3HW), 5, height, width)
        maps[:, 0] = -9
        for x1, y1, x2, y2, score in self.found:
            column, row = int((x1 + x2) / 2 / STRIDE), int((y1 + y2) / 2 / STRIDE)
            x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
            distances = torch.tensor([x - x1, y - y1, x2 - x, y2 - y])
            maps[:, 0, row, column] = torch.logit(torch.tensor(score))
            maps[:, 1:, row, column] = (distances / UNIT).log()
        return {"detection": maps}


def found_by(*found: tuple[float, float, float, float, float], size: int = 128) -> list[LoadedModel]:
    """A network that sees pictures letterboxed to a square."""
    description = ModelDescription(
        name="finder",
        backbone=painted_model().description.backbone,
        heads={"detection": HeadDescription(5, (), (8,), kind="detection")},
        preprocessing=Preprocessing((size, size), resize="letterbox"),
    )
    return [LoadedModel(Finds(list(found)), description)]  # type: ignore[arg-type]


def test_boxes_come_back_to_pixels_of_the_picture_and_only_those_above_the_threshold() -> None:
    # 200 wide and 120 high: shrunk to 0.64, with 25 or 26 rows above (128 - 77 = 51).
    detector = PersonDetector(found_by((32, 40, 64, 90, 0.8), (96, 30, 120, 100, 0.3)), threshold=0.5)
    boxes, scores = detector(np.zeros((120, 200, 3), np.uint8))
    top = (128 - 77) // 2
    expected = np.array([[32, 40 - top, 64, 90 - top]]) / 0.64
    assert np.abs(boxes - expected).max() < 0.6 and scores == pytest.approx([0.8], abs=1e-4)
    assert (
        len(
            PersonDetector(found_by((32, 40, 64, 90, 0.8), (96, 30, 120, 100, 0.3)), 0.2)(
                np.zeros((120, 200, 3), np.uint8)
            )[0]
        )
        == 2
    )


def test_of_two_boxes_on_one_person_the_better_one_stays() -> None:
    found = (32, 40, 64, 90, 0.8), (32, 42, 64, 106, 0.7), (90, 40, 120, 90, 0.6)
    image = np.zeros((128, 128, 3), np.uint8)
    assert PersonDetector(found_by(*found), 0.5)(image)[1] == pytest.approx([0.8, 0.6], abs=1e-4)
    assert len(PersonDetector(found_by(*found), 0.5, nms=0.9)(image)[0]) == 3


def test_boxes_are_cut_at_the_edge_of_the_picture() -> None:
    boxes, _ = PersonDetector(found_by((-20, -30, 60, 140, 0.9)), 0.5)(np.zeros((128, 128, 3), np.uint8))
    assert np.abs(boxes - [[0, 0, 60, 128]]).max() < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
def test_tiny_images_are_no_crash(size: tuple[int, int]) -> None:
    boxes, scores = PersonDetector(found_by((32, 40, 64, 90, 0.8)), 0.5)(np.full((*size, 3), 255, np.uint8))
    assert boxes.shape == (len(scores), 4)


def test_a_model_without_a_detection_head_cannot_detect() -> None:
    with pytest.raises(DetectorError, match="no detection head"):
        PersonDetector([painted_model(heads=["pose"])])


def test_the_whole_image_is_one_box() -> None:
    boxes, scores = WholeImage()(np.zeros((30, 40, 3), np.uint8))
    assert boxes.tolist() == [[0, 0, 40, 30]] and scores.tolist() == [1]


def test_large_people_are_those_of_the_small_picture() -> None:
    small, middling, large = (16, 16, 32, 48, 0.8), (64, 16, 80, 60, 0.7), (40, 4, 120, 120, 0.9)
    halved = [tuple(value / 2 for value in box[:4]) + (0.6,) for box in (small, middling, large)]
    looks = found_by(small, middling, large) + found_by(*halved, size=64)
    boxes, scores = PersonDetector(looks, 0.1)(np.zeros((128, 128, 3), np.uint8))
    assert scores == pytest.approx([0.8, 0.7, 0.6], abs=1e-4), "the large one of the second look, the others once"
    assert np.abs(boxes - [small[:4], middling[:4], large[:4]]).max() < 1e-3


def test_a_detector_alone_predicts_nothing() -> None:
    for heads in ([], ["detection"]):
        model = found_by()[0] if heads else painted_model(heads=[])
        with pytest.raises(PipelineError, match="or finds people"):
            People([model])(np.zeros((128, 128, 3), np.uint8))


def test_results_name_the_detector_and_given_boxes_have_none(tmp_path: Path) -> None:
    people = People([painted_model(heads=["pose"])], PaintedDetector())
    image = paint([(70, 20, 130, 100)])
    assert people(image).to_coco()["info"] == {"detector": "painted"}
    assert people(image, boxes=[(70, 20, 130, 100)]).detector is None
    assert "info" not in people(image, boxes=[]).to_coco()


def test_of_two_people_with_the_same_pose_the_less_sure_one_goes() -> None:
    first, second = (70, 20, 130, 100), (66, 16, 134, 104)

    class Double:
        def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.array([first, second], np.float32), np.array([0.5, 0.9], np.float32)

    people = People([painted_model(heads=["pose", "segmentation"])], Double())
    result = people(paint([first]))
    assert result.detector == "Double" and [person.box.tolist() for person in result.persons] == [list(second)]
    assert np.abs(result.persons[0].keypoints[0] - peak(first)).max() < 0.5
    assert len(people(paint([first]), boxes=[first, second]).persons) == 2, "boxes that are given all stay"


def test_the_embedded_detector_finds_the_person_of_a_picture() -> None:
    boxes, scores = find_detector("detector")(read_image(RENDERED))
    assert box_iou(boxes[:1], np.array([[165, 20, 390, 705]], np.float32)).item() > 0.7
    assert scores[0] > 0.8 and len(boxes) == 1


def test_nano_finds_the_person_of_a_portrait() -> None:
    result = load("nano", runtime="torch", detector="auto")(read_image(portrait()))
    assert max(box_iou(np.array([p.box for p in result.persons]), np.array([[10, 12, 320, 375]]))[:, 0]) > 0.7


def test_auto_is_a_detr_only_where_its_weights_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def chosen(installed: bool, cached: Path | None) -> str:
        automatic_detector.cache_clear()
        monkeypatch.setattr(detectors, "find_spec", lambda name: name if installed else None)
        monkeypatch.setattr(detectors, "cached_folder", lambda *_: cached)
        return automatic_detector()

    with caplog.at_level(logging.WARNING):
        assert chosen(installed=False, cached=None) == "detector" and not caplog.records
        assert chosen(installed=True, cached=Path("x")) == detectors.DEFAULT_DETECTOR and not caplog.records
        assert chosen(installed=True, cached=None) == "detector"
    assert "downloads 81 MB once" in caplog.text
    automatic_detector.cache_clear()
