"""Heatmap losses of the published pose code, and one that finds peaks sooner; one number per sample."""

from typing import Any

import torch
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


def gaussian_losses(
    prediction_BKhw: Tensor, along_y_BKh: Tensor, along_x_BKw: Tensor, weights_BK: Tensor
) -> tuple[Tensor, Tensor]:
    """(B,) `heatmap_mse` and (B,) `location_cross_entropy` against heatmaps that are outer products of two vectors."""
    squares, overlap, log_sum = _HeatmapSums.apply(prediction_BKhw, along_y_BKh, along_x_BKw)
    target_squares = along_y_BKh.square().sum(dim=2) * along_x_BKw.square().sum(dim=2)
    error_BK = (squares - 2 * overlap + target_squares) / prediction_BKhw[0, 0].numel()
    total = along_y_BKh.sum(dim=2) * along_x_BKw.sum(dim=2)
    location_BK = log_sum - SHARPNESS * overlap / total.clamp(min=1e-6)
    return (error_BK * weights_BK).mean(dim=1), (location_BK * weights_BK * (total > 1e-6)).mean(dim=1)


class _HeatmapSums(torch.autograd.Function):
    """(B, K) sums over the pixels of maps P and of targets T, the outer products of two vectors: P * P, P * T, and the
    logarithm of that of exp(SHARPNESS * P).

    T is never made, and on a CPU a sample's maps, two megabytes, are read and written while they are in the cache: the
    losses of 308 heatmaps written plainly take as long as a third of nano's network.
    """

    @staticmethod
    def forward(ctx: Any, maps_BKhw: Tensor, along_y_BKh: Tensor, along_x_BKw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sums = []
        for maps, along_y, along_x in zip(*_in_pieces(maps_BKhw, along_y_BKh, along_x_BKw), strict=True):
            values = maps.float()
            flat = values.flatten(2)
            overlap = ((along_y[:, :, None] @ values) @ along_x[..., None]).flatten(1)
            sums.append((linalg.vecdot(flat, flat), overlap, (SHARPNESS * flat).logsumexp(dim=2)))
        squares, overlaps, log_sums = (torch.cat(parts) for parts in zip(*sums, strict=True))
        ctx.save_for_backward(maps_BKhw, along_y_BKh, along_x_BKw, log_sums)
        return squares, overlaps, log_sums

    @staticmethod
    def backward(ctx: Any, *gradients_BK: Tensor) -> tuple[Tensor, None, None]:
        maps_BKhw, *saved = ctx.saved_tensors
        result = torch.empty_like(maps_BKhw)
        pieces = _in_pieces(result, maps_BKhw, *saved, *gradients_BK)
        for written, maps, along_y, along_x, log_sum, of_squares, of_overlap, of_log_sum in zip(*pieces, strict=True):
            values = maps.float().flatten(2)
            gradient = (SHARPNESS * values).sub_(log_sum[..., None]).exp_().mul_(SHARPNESS * of_log_sum[..., None])
            gradient.addcmul_(values, 2 * of_squares[..., None]).unflatten(2, maps.shape[2:]).flatten(0, 1).baddbmm_(
                (of_overlap[..., None] * along_y).flatten(0, 1)[..., None], along_x.flatten(0, 1)[:, None]
            )
            written.copy_(gradient.view_as(maps))
        return result, None, None


def _in_pieces(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Each tensor cut along its first axis: sample by sample on a CPU, not at all elsewhere."""
    return [tensor.split(1 if tensor.device.type == "cpu" else len(tensor)) for tensor in tensors]
