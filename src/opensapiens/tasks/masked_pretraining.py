"""Masked pretraining (He et al. 2022; the paper's section 3.2): predict the hidden patches of an image, each normalized
by itself.

Targets are made on the device, from the input. `reconstruct` and `draw_reconstructions` make the paper's figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opensapiens.data.batch import stack_images
from opensapiens.data.sample import Sample
from opensapiens.drawing.sheet import sheet
from opensapiens.geometry.view import Preprocessing
from opensapiens.models.masked_autoencoder import (
    TARGET_EPS,
    MaskedAutoencoder,
    MaskedAutoencoderOutput,
    kept_patches,
    patchify,
    unpatchify,
)
from opensapiens.models.sample_noise import sample_uniform
from opensapiens.tasks.task import Targets, mean_over

HIDDEN_GRAY = 40


@dataclass(frozen=True)
class MaskedPretrainingTask:
    """Its "maps" are a MaskedAutoencoderOutput.

    Args:
        patch_size: of the model, in pixels.
        mask_ratio: share of the patches that is hidden; the model's.
    """

    patch_size: int
    mask_ratio: float

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """masked (B,) int64: how many patches are hidden of each image; labeled (B,): all of them."""
        height, width = samples[0].image.shape[:2]
        patches = (height // self.patch_size) * (width // self.patch_size)
        masked = patches - kept_patches(patches, self.mask_ratio)
        return {
            "masked": torch.full((len(samples),), masked),
            "labeled": torch.ones(len(samples), dtype=torch.bool),
        }

    def count(self, targets: Targets) -> Tensor:
        """The number of hidden patches."""
        return targets["masked"].sum().float()

    def losses(self, maps: MaskedAutoencoderOutput, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """reconstruction: the squared error of the hidden patches; 1 is what predicting their mean gives."""
        count = self.count(targets) if count is None else count
        errors = reconstruction_error(maps.prediction_BNP, maps.target_BNP, maps.masking.mask_BN)
        return {"reconstruction": mean_over(count, errors)}


def reconstruction_error(prediction_BNP: Tensor, target_BNP: Tensor, mask_BN: Tensor) -> Tensor:
    """(B,) sum over the hidden patches of the mean squared error of a patch's values.

    Over the number of hidden patches in the batch: the published `PixelReconstructionLoss` with its mask.
    """
    per_patch = (prediction_BNP.float() - target_BNP.float()).square().mean(dim=2)
    return (per_patch * mask_BN).sum(dim=1)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """image: H×W×3 uint8, the hidden pixels as predicted, the others as they were. hidden: H×W bool. mask_ratio: the
    share of patches that was hidden."""

    image: np.ndarray
    hidden: np.ndarray
    mask_ratio: float


@torch.no_grad()
def reconstruct(
    model: MaskedAutoencoder,
    image: np.ndarray,
    preprocessing: Preprocessing,
    mask_ratio: float,
    seed: int = 0,
) -> Reconstruction:
    """Hides patches of an H×W×3 uint8 image of the model's size and predicts them.

    The model predicts each patch normalized by itself: structure, without brightness and contrast, which are taken from
    the image, as in He et al.'s and the published pictures.

    Args:
        preprocessing: the model's.
        mask_ratio: need not be that of training; the encoder sees only the patches that are not hidden.
        seed: decides which patches are hidden.
    """
    config = model.backbone.config
    grid, device = config.grid(), next(model.parameters()).device
    images = preprocessing.normalize(stack_images([image]).to(device))
    noise = sample_uniform(torch.tensor([seed], device=device), grid[0] * grid[1])
    trained_ratio, model.mask_ratio = model.mask_ratio, mask_ratio
    try:
        kept_patches(noise.shape[1], mask_ratio)
        output = model.reconstruct(images, noise)
    finally:
        model.mask_ratio = trained_ratio
    patches = patchify(images, config.patch_size)
    variance, average = torch.var_mean(patches, dim=-1, keepdim=True)
    predicted = output.prediction_BNP.float() * (variance + TARGET_EPS).sqrt() + average
    mask = output.masking.mask_BN[..., None]
    shown = unpatchify(torch.where(mask > 0, predicted, patches), grid, config.patch_size)
    hidden = unpatchify(mask.expand(-1, -1, 3 * config.patch_size**2), grid, config.patch_size)[0, 0] > 0
    return Reconstruction(_picture(shown[0], preprocessing), hidden.cpu().numpy(), mask_ratio)


def _picture(image_3HW: Tensor, preprocessing: Preprocessing) -> np.ndarray:
    std, mean = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.std, preprocessing.mean))
    values = image_3HW.cpu() * std + mean
    return values.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def draw_reconstructions(
    images: Sequence[np.ndarray], reconstructions: Sequence[Sequence[Reconstruction]], height: int = 320
) -> np.ndarray:
    """A sheet with a row for each image: the image, then for each mask ratio what was shown and the reconstruction.

    images: N pictures H×W×3 uint8. reconstructions: for each ratio N, in the order of the images.
    """
    tiles, titles = [], []
    for image, *of_image in zip(images, *reconstructions, strict=True):
        tiles.append(image)
        titles.append("image")
        for reconstruction in of_image:
            shown = np.where(reconstruction.hidden[..., None], np.uint8(HIDDEN_GRAY), image)
            tiles += [shown, reconstruction.image]
            titles += [f"{reconstruction.mask_ratio:.0%} hidden", "reconstruction"]
    return sheet(tiles, titles, height, columns=1 + 2 * len(reconstructions))
