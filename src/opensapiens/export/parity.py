"""How far a converted network is from plain PyTorch, on a photo."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from torch import Tensor

from opensapiens.checkpoints.model_description import HeadDescription
from opensapiens.data.batch import stack_images
from opensapiens.export.formats import Session
from opensapiens.export.graph import extra_inputs
from opensapiens.geometry.view import Preprocessing
from opensapiens.models.human_model import HumanModel
from opensapiens.tasks.forward import maps


def check_images(photo: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """(2, 3, h, w) float32: the H×W×3 uint8 photo at the network's input size, normalized as its weights ask, and its
    mirror image."""
    height, width = preprocessing.input_size
    resized = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    pixels = stack_images([resized, resized[:, ::-1]])
    return preprocessing.normalize(pixels)


def compare(
    network: HumanModel, session: Session, images_B3HW: Tensor, heads: Mapping[str, HeadDescription]
) -> dict[str, dict[str, float]]:
    """Per head: the largest difference ("max"), the mean one ("mean"), the largest over the largest value ("relative"),
    and for heads of labels the share of pixels with the same largest channel ("same_argmax").

    A map with a value that is not finite differs without limit.
    """
    figures: dict[str, dict[str, float]] = {}
    inputs = extra_inputs(network.backbone.config, (images_B3HW.shape[2], images_B3HW.shape[3]), len(images_B3HW))
    found = session(images_B3HW, inputs)
    for head, expected in maps(network, images_B3HW, inputs=inputs).items():
        difference = (found[head] - expected).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
        figures[head] = {
            "max": difference.max().item(),
            "mean": difference.mean().item(),
            "relative": (difference.max() / expected.abs().max()).item(),
        }
        if heads[head].labels is not None:
            figures[head]["same_argmax"] = (found[head].argmax(1) == expected.argmax(1)).float().mean().item()
    return figures
