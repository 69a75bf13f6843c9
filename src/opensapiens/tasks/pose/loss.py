"""Heatmap losses of the published pose code, and one that finds peaks sooner; one number per sample."""

from torch import Tensor, linalg

SHARPNESS = 6.0


def heatmap_mse(prediction_BKhw: Tensor, target_BKhw: Tensor, weights_BK: Tensor) -> Tensor:
    """(B,) mean over K, h, w of weight * squared error; its mean is the published `KeypointMSELoss`.

    Points of weight 0 still count in the denominator, as published.
    """
    error_BK = (prediction_BKhw - target_BKhw).flatten(2).square().mean(dim=2)
    return (error_BK * weights_BK).mean(dim=1)


def hardest_keypoints_mse(prediction_BKhw: Tensor, target_BKhw: Tensor, weights_BK: Tensor, hardest: int) -> Tensor:
    """(B,) mean squared error of each sample's `hardest` points; its mean is the published `KeypointOHKMMSELoss`.

    The weight is squared, since the published code multiplies it into both the prediction and the target.
    Published for 308 points: hardest=128 for the 0.3b and 1b models.
    """
    error_BK = (prediction_BKhw - target_BKhw).flatten(2).square().mean(dim=2) * weights_BK.square()
    return error_BK.topk(hardest, dim=1, sorted=False).values.mean(dim=1)


def location_cross_entropy(prediction_BKhw: Tensor, target_BKhw: Tensor, weights_BK: Tensor) -> Tensor:
    """(B,) mean over K of weight * cross entropy of softmax(SHARPNESS * prediction) against the target's distribution
    over the pixels.

    Not in the published training. The squared error of a small peak in an empty map hardly differs from that of no peak
    at all, so a network that starts from random weights learns to say nothing first; this term asks only where. At the
    sharpness chosen, maps that fit the squared error nearly fit this too. A target without a peak counts as 0.
    """
    target, logits = target_BKhw.flatten(2), SHARPNESS * prediction_BKhw.flatten(2)
    total = target.sum(dim=2)
    expected = linalg.vecdot(target, logits) / total.clamp(min=1e-6)
    return ((logits.logsumexp(dim=2) - expected) * weights_BK * (total > 1e-6)).mean(dim=1)
