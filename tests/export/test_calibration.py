"""How many images a network's 8-bit ranges are found on."""

from __future__ import annotations

import torch

from opensapiens.backbones.sapiens import SapiensBackbone, SapiensConfig
from opensapiens.export.calibration import GAINS, WINDOWS, calibration_images
from opensapiens.export.export import portrait
from opensapiens.export.parity import check_images
from opensapiens.geometry.view import Preprocessing
from opensapiens.models.human_model import HumanModel
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.storage.pictures import read_image


def network(size: tuple[int, int], width: int, layers: int, channels: int) -> HumanModel:
    with torch.device("meta"):
        backbone = SapiensBackbone(SapiensConfig(size, width, layers, heads=4))
        return HumanModel(backbone, {"segmentation": UpsamplingHead(width, 28, (channels, channels), (channels,))})


def test_a_small_network_sees_every_piece_once() -> None:
    preprocessing = Preprocessing((192, 144))
    images = calibration_images(network((192, 144), 192, 6, 48), preprocessing)
    assert images.shape == (2 * len(GAINS) * len(WINDOWS), 3, 192, 144)
    assert len({image.numpy().tobytes() for image in images}) == len(images)
    for piece, mirrored in zip(images[::2], images[1::2], strict=True):
        torch.testing.assert_close(piece.flip(2), mirrored)
    assert torch.equal(images[:2], check_images(read_image(portrait()), preprocessing))


def test_a_large_network_sees_the_portrait_alone() -> None:
    preprocessing = Preprocessing((1024, 768))
    images = calibration_images(network((1024, 768), 1024, 24, 768), preprocessing)
    assert torch.equal(images, check_images(read_image(portrait()), preprocessing)[:1])
