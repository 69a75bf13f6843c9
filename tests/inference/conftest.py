"""A network that reads its answers off the pixels, so that where they end up in the image can be checked."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model, save_model
from opensapiens.geometry.view import IMAGE_MEAN, IMAGE_STD, Preprocessing, Resize
from opensapiens.inference.forward import LoadedModel
from opensapiens.recipes.nano import describe

PERSON_CLASS = 22
HEADS = {
    "pose": HeadDescription(17, (4,), (4,), "coco_17"),
    "segmentation": HeadDescription(28, (4,), (4,), "sapiens_28"),
    "depth": HeadDescription(1, (4,), (4,)),
    "normals": HeadDescription(3, (4,), (4,)),
}


class PixelReader(nn.Module):
    """Pose: all points where green peaks. Parts: PERSON_CLASS where blue. Depth: red. Normals: turned by red."""

    def __init__(self, heads: Sequence[str] = tuple(HEADS)) -> None:
        super().__init__()
        self.heads = heads
        self.nothing = nn.Parameter(torch.zeros(1))
        self.inputs = 0

    def forward(
        self, images_B3HW: Tensor, heads: Sequence[str] | None = None, inputs: object = None
    ) -> dict[str, Tensor]:
        self.inputs += len(images_B3HW)
        mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
        red, green, blue = ((images_B3HW * std + mean) / 255).split(1, dim=1)
        height, width = images_B3HW.shape[2:]
        half = [F.avg_pool2d(channel, 2) for channel in (red, blue)]
        logits = torch.zeros(len(images_B3HW), 28, height // 2, width // 2)
        logits[:, :1], logits[:, PERSON_CLASS : PERSON_CLASS + 1] = 4 * (1 - half[1]), 4 * half[1]
        maps = {
            # Heatmap pixels stand over the crop from corner center to corner center (UDP).
            "pose": F.interpolate(green, (height // 4, width // 4), mode="bilinear", align_corners=True).repeat(
                1, 17, 1, 1
            ),
            "segmentation": logits,
            "depth": half[0],
            "normals": 3 * torch.cat([2 * half[0] - 1, 0 * half[0], 0 * half[0] + 1], dim=1),
        }
        return {head: maps[head] for head in heads or self.heads}


def painted_model(
    resize: Resize = "person_crop", heads: Sequence[str] = tuple(HEADS), flip_test: bool = False
) -> LoadedModel:
    description = ModelDescription(
        name="painted",
        backbone=SapiensConfig((128, 96), 8, 1, 1),
        heads={head: HEADS[head] for head in heads},
        preprocessing=Preprocessing((128, 96), resize=resize, flip_test=flip_test),
    )
    return LoadedModel(PixelReader(heads), description)  # type: ignore[arg-type]


def paint(boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int] = (120, 200)) -> np.ndarray:
    """Red rises from left to right, blue fills the boxes, green peaks a little off the middle of the first box."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((height, width, 3), np.float64)
    image[..., 0] = columns / width * 255
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2, 2] = 255
    if boxes:
        x, y = peak(boxes[0])
        image[..., 1] = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 6**2))
    return np.round(image).astype(np.uint8)


class PaintedDetector:
    """Finds the boxes of `paint`, best first, with scores of 0.9, 0.89, ..."""

    name = "painted"

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 2] > 127).astype(np.uint8))
        boxes = stats[1:, :4].astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        return boxes, (0.9 - 0.01 * np.arange(count - 1)).astype(np.float32)


def peak(box: tuple[int, int, int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2 + 3.3, (box[1] + box[3]) / 2 - 2.2


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random nano of toy size."""
    torch.manual_seed(0)
    description = describe(SapiensConfig((64, 48), 24, 2, 2), (8, 8), (8, 8))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, build_model(description), description)
    return folder
