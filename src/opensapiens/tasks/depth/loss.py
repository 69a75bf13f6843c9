"""Scale-invariant log loss as published, an L1 term that also teaches where that one is blind, and a correlation."""

import torch
from torch import Tensor, linalg

EPSILON = 1e-6


def silog(prediction_BHW: Tensor, target_BHW: Tensor, floor: float = EPSILON) -> Tensor:
    """(B,) sqrt(mean(d^2) - mean(d)^2 / 2) with d = log(target) - log(prediction) over the pixels with target > 1e-6.

    Its mean is the published `SiLogLoss`: a sample without such pixels is 0 and counts, and the nearest pixel, whose
    target is 0, is left out. Both are clamped at `floor` (published: 1e-6): a pixel predicted below it gets no
    gradient, and one just above it a gradient of 1 / floor, which drowns every other loss while a head learns from
    scratch. There, take a higher floor and the L1 term as well.
    """
    valid = target_BHW > EPSILON  # false for NaN too
    difference = target_BHW.clamp(min=floor).log() - prediction_BHW.clamp(min=floor).log()
    difference = torch.where(valid, difference, 0).flatten(1)
    pixels = valid.flatten(1).sum(dim=1).clamp(min=1)
    mean_square = difference.square().sum(dim=1) / pixels
    variance = mean_square - 0.5 * (difference.sum(dim=1) / pixels).square()
    # The root has no gradient at 0, where empty and perfect samples are (there the published code gives NaN).
    return torch.where(valid.flatten(1).any(dim=1), variance.clamp(min=1e-12).sqrt(), 0)


def depth_l1(prediction_BHW: Tensor, target_BHW: Tensor) -> Tensor:
    """(B,) mean absolute error over the person (target >= 0), 0 where there is none. Not in the published training."""
    inside = target_BHW >= 0
    error = torch.where(inside, (prediction_BHW - target_BHW).abs(), 0).flatten(1)
    return error.sum(dim=1) / inside.flatten(1).sum(dim=1).clamp(min=1)


def decorrelation(prediction_BHW: Tensor, target_BHW: Tensor) -> Tensor:
    """(B,) 1 - Pearson's correlation over the person (target >= 0), 0 where there is none or it is flat.

    Depth is judged after the best scale and shift per person, and what is left then is 1 - correlation squared. The
    nearest and farthest pixel, by which the target is scaled, do not matter here. Not in the published training.
    """
    inside = (target_BHW >= 0).flatten(1)
    pixels = inside.sum(dim=1, keepdim=True).clamp(min=1)

    def centered(values_BHW: Tensor) -> Tensor:
        values = torch.where(inside, values_BHW.flatten(1), 0)
        return torch.where(inside, values - values.sum(dim=1, keepdim=True) / pixels, 0)

    prediction, target = centered(prediction_BHW), centered(target_BHW)
    spread = target.square().sum(dim=1)
    length = (spread * prediction.square().sum(dim=1)).clamp(min=1e-12).sqrt()
    return torch.where(spread > 1e-6, 1 - linalg.vecdot(prediction, target) / length, 0)
