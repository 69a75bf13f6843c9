"""The published reconstruction loss, one number per sample."""

from torch import Tensor


def reconstruction_error(prediction_BNP: Tensor, target_BNP: Tensor, mask_BN: Tensor) -> Tensor:
    """(B,) sum over the hidden patches of the mean squared error of a patch's values.

    Over the number of hidden patches in the batch: the published `PixelReconstructionLoss` with its mask.
    """
    per_patch = (prediction_BNP.float() - target_BNP.float()).square().mean(dim=2)
    return (per_patch * mask_BN).sum(dim=1)
