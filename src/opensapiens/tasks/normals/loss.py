"""The published normal losses: cosine, and L1 of the raw prediction; sums over valid pixels, per sample."""

import torch
from torch import Tensor
from torch.nn import functional

from opensapiens.tasks.normals.targets import VALID_ABOVE


def valid_pixels(target_B3HW: Tensor) -> Tensor:
    """(B, H, W) bool: where the target is a normal and not background (first channel > -100, the published rule)."""
    return target_B3HW[:, 0] > VALID_ABOVE


def cosine_loss(prediction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """(B,) sum over the valid pixels of 1 - cos; over their number in the batch: published `CosineSimilarityLoss`."""
    valid = valid_pixels(target_B3HW)
    cosine = (functional.normalize(prediction_B3HW, dim=1, eps=1e-6) * target_B3HW).sum(dim=1)
    return torch.where(valid, 1 - cosine, 0).flatten(1).sum(dim=1)


def l1_loss(prediction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """(B,) sum over the valid pixels and the three channels of |prediction - target|; the prediction is not normalised.

    Over the number of valid pixels in the batch: the published `L1Loss`, which thus is three times a mean.
    """
    valid = valid_pixels(target_B3HW)
    error = (prediction_B3HW - target_B3HW).abs().sum(dim=1)
    return torch.where(valid, error, 0).flatten(1).sum(dim=1)
