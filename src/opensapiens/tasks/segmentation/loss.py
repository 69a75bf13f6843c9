"""The published part loss, cross-entropy with class weights, and the one its successor adds; one number per sample."""

import torch
from torch import Tensor
from torch.nn import functional

from opensapiens.tasks.segmentation.targets import IGNORE

DICE_EPSILON = 1e-3


def weighted_cross_entropy(logits_BPHW: Tensor, labels_BHW: Tensor, class_weights_P: Tensor | None = None) -> Tensor:
    """(B,) mean over all pixels of weight[label] * cross-entropy; its mean is the published loss.

    Ignored pixels (255) are 0 and count in the mean, which is not divided by the class weights: both as published.
    """
    per_pixel = functional.cross_entropy(
        logits_BPHW, labels_BHW.long(), weight=class_weights_P, ignore_index=IGNORE, reduction="none"
    )
    return per_pixel.flatten(1).mean(dim=1)


def dice_loss(logits_BPHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """(B,) 1 - the mean over a sample's classes of (2 sum pg + e) / (sum pp + sum gg + e), with p the probability of a
    class and g 1 where it is. The background is left out, a sample of it alone is 0; ignored pixels (255) are in
    neither.

    Of Sapiens 2; a class of few pixels weighs as much as one of many.
    """
    labels, classes = labels_BHW.long().flatten(1), logits_BPHW.shape[1]
    known = labels != IGNORE
    probabilities = logits_BPHW.flatten(2).softmax(dim=1) * known[:, None]
    index = torch.where(known, labels, 0)[:, None]
    own_BN = probabilities.gather(1, index)[:, 0]

    def summed(values_BN: Tensor) -> Tensor:
        return values_BN.new_zeros(len(values_BN), classes).scatter_add(1, index[:, 0], values_BN)

    pixels_BP = summed(known.to(probabilities.dtype))
    dice_BP = (2 * summed(own_BN) + DICE_EPSILON) / (probabilities.square().sum(dim=2) + pixels_BP + DICE_EPSILON)
    present = (pixels_BP > 0) & (torch.arange(classes, device=labels.device) > 0)
    return torch.where(present, 1 - dice_BP, 0).sum(dim=1) / present.sum(dim=1).clamp(min=1)
