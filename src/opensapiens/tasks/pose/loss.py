"""Heatmap losses of the published pose code, one number per sample."""

from torch import Tensor


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
