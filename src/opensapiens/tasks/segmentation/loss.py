"""The published part loss: cross-entropy with class weights, one number per sample."""

from torch import Tensor
from torch.nn import functional

from opensapiens.tasks.segmentation.targets import IGNORE


def weighted_cross_entropy(logits_BPHW: Tensor, labels_BHW: Tensor, class_weights_P: Tensor | None = None) -> Tensor:
    """(B,) mean over all pixels of weight[label] * cross-entropy; its mean is the published loss.

    Ignored pixels (255) are 0 and count in the mean, which is not divided by the class weights: both as published.
    """
    per_pixel = functional.cross_entropy(
        logits_BPHW, labels_BHW.long(), weight=class_weights_P, ignore_index=IGNORE, reduction="none"
    )
    return per_pixel.flatten(1).mean(dim=1)
