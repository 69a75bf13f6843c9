"""How far a converted network is from plain PyTorch, on a photo."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from opensapiens.data.batch import stack_images
from opensapiens.export.formats import Session
from opensapiens.geometry.view import Preprocessing
from opensapiens.models.human_model import HumanModel
from opensapiens.tasks.forward import maps


def check_images(photo: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """(2, 3, h, w) float32: the H×W×3 uint8 photo at the network's input size, normalised as its weights ask, and its
    mirror image."""
    height, width = preprocessing.input_size
    resized = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    pixels = stack_images([resized, resized[:, ::-1]])
    return preprocessing.normalize(pixels)


def compare(network: HumanModel, session: Session, images_B3HW: Tensor) -> dict[str, dict[str, float]]:
    """Per head: the largest difference ("max"), the mean one ("mean"), the largest over the largest value ("relative"),
    and for heads of labels the share of pixels with the same largest channel ("same_argmax").

    A map with a value that is not finite differs without limit.
    """
    figures: dict[str, dict[str, float]] = {}
    found = session(images_B3HW)
    for head, expected in maps(network, images_B3HW).items():
        difference = (found[head] - expected).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
        figures[head] = {
            "max": difference.max().item(),
            "mean": difference.mean().item(),
            "relative": (difference.max() / expected.abs().max()).item(),
        }
        if head in ("pose", "segmentation"):
            figures[head]["same_argmax"] = (found[head].argmax(1) == expected.argmax(1)).float().mean().item()
    return figures
