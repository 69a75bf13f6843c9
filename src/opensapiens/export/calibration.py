"""The images on which a network's 8-bit ranges are found."""

from itertools import product

import numpy as np
import torch
from torch import Tensor

from opensapiens.checkpoints.model_description import Preprocessing
from opensapiens.export.export import portrait
from opensapiens.export.parity import check_images
from opensapiens.models.cost import full_flops
from opensapiens.models.human_model import HumanModel
from opensapiens.storage.pictures import read_image

WINDOWS = (
    (0.0, 1.0, 0.0, 1.0),  # all
    (0.0, 0.5, 0.15, 0.85),  # bust
    (0.3, 1.0, 0.0, 1.0),  # trunk
    (0.1, 0.4, 0.3, 0.7),  # face
    (0.0, 0.7, 0.0, 0.7),
)
"""Pieces of the portrait: top, bottom, left and right as shares of its height and width."""
GAINS = (1.0, 0.5, 1.6)
AFFORDABLE_FLOPS = 5e11
"""What finding the ranges may cost: of a large network there is time for one image, a small one sees all."""


def calibration_images(network: HumanModel, preprocessing: Preprocessing) -> Tensor:
    """(B, 3, h, w) float32: the portrait that comes with the package, then pieces of it and their mirror images, as
    they are, darker and brighter; as many as a network of this size can afford, at least one."""
    photo = read_image(portrait())
    height, width = photo.shape[:2]
    images = []
    for gain, (top, bottom, left, right) in product(GAINS, WINDOWS):
        piece = photo[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
        images.append(check_images(np.clip(piece * gain, 0, 255).astype(np.uint8), preprocessing))
    flops = full_flops(network.backbone.config, network.heads.values())  # type: ignore[arg-type]
    return torch.cat(images)[: max(1, int(AFFORDABLE_FLOPS / flops))]
