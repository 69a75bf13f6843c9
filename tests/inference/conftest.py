"""A network that reads its answers off the pixels, so that where they end up in the image can be checked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensapiens.checkpoints.model_description import ModelDescription, standard_preprocessing
from opensapiens.checkpoints.model_folder import build_model, save_model
from opensapiens.inference.forward import LoadedModel
from opensapiens.models.vit import ViTConfig
from opensapiens.recipes.nano import describe

PERSON_CLASS = 22
HEADS = {
    "pose": {"out_channels": 17, "deconv_channels": [4], "conv_channels": [4], "labels": "coco_17"},
    "segmentation": {"out_channels": 28, "deconv_channels": [4], "conv_channels": [4], "labels": "sapiens_28"},
    "depth": {"out_channels": 1, "deconv_channels": [4], "conv_channels": [4], "labels": None},
    "normals": {"out_channels": 3, "deconv_channels": [4], "conv_channels": [4], "labels": None},
}


class PixelReader(nn.Module):
    """Pose: all points where green peaks. Parts: PERSON_CLASS where blue. Depth: red. Normals: turned by red."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.inputs = 0

    def forward(self, images_B3HW: Tensor, heads: Sequence[str] | None = None) -> dict[str, Tensor]:
        self.inputs += len(images_B3HW)
        mean, std = (
            torch.tensor(values)[:, None, None] for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
        )
        red, green, blue = ((images_B3HW * std + mean) / 255).split(1, dim=1)
        height, width = images_B3HW.shape[2:]
        half = [F.avg_pool2d(channel, 2) for channel in (red, blue)]
        logits = torch.zeros(len(images_B3HW), 28, height // 2, width // 2)
        logits[:, :1], logits[:, PERSON_CLASS : PERSON_CLASS + 1] = 4 * (1 - half[1]), 4 * half[1]
        maps = {
            # Heatmap pixels stand over the crop from corner centre to corner centre (UDP).
            "pose": F.interpolate(green, (height // 4, width // 4), mode="bilinear", align_corners=True).repeat(
                1, 17, 1, 1
            ),
            "segmentation": logits,
            "depth": half[0],
            "normals": 3 * torch.cat([2 * half[0] - 1, 0 * half[0], 0 * half[0] + 1], dim=1),
        }
        return {head: maps[head] for head in heads or maps}


def painted_model(resize: str = "person_crop", heads: Sequence[str] = tuple(HEADS)) -> LoadedModel:
    description = ModelDescription(
        name="painted",
        vit=ViTConfig((128, 96), 8, 1, 1),
        heads={head: HEADS[head] for head in heads},  # type: ignore[misc]
        preprocessing=standard_preprocessing((128, 96), resize),  # type: ignore[arg-type]
    )
    return LoadedModel(PixelReader(), description)  # type: ignore[arg-type]


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


def peak(box: tuple[int, int, int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2 + 3.3, (box[1] + box[3]) / 2 - 2.2


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random nano of toy size."""
    torch.manual_seed(0)
    description = describe(ViTConfig((64, 48), 24, 2, 2), (8, 8), (8, 8))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, build_model(description), description)
    return folder
