"""Masked-autoencoder pretraining of the backbone (He et al. 2022, as the Sapiens paper uses it, section 3.2).

Axes in names: B batch, N patches, K kept patches, D width, P values of a patch (rows, columns, channels).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from opensapiens.backbones import BackboneConfig
from opensapiens.backbones.position_embedding import sincos_2d
from opensapiens.backbones.transformer import LAYER_NORM_EPS, Block, initialize_transformer

from .human_model import blocks_of
from .sample_noise import sample_uniform

HEAD = "masked_pretraining"
MLP_RATIO = 4
TARGET_EPS = 1e-6


class Masking(NamedTuple):
    """Which patches the encoder sees.

    Attributes:
        kept_BK: indices of the kept patches, in the order of their noise.
        restore_BN: for every patch its place among kept-then-masked patches.
        mask_BN: float, 1 where the patch is masked, in raster order.
    """

    kept_BK: Tensor
    restore_BN: Tensor
    mask_BN: Tensor


class MaskedAutoencoderOutput(NamedTuple):
    """What one pass computes. A tuple, in which the hooks of sharded training find the tensors.

    Attributes:
        latent_BKD: the backbone's tokens, class token first, then the kept patches in the masking's order.
        prediction_BNP: predicted patches.
        target_BNP: the images' patches, each normalized by itself.
        masking: which patches were hidden.
    """

    latent_BKD: Tensor
    prediction_BNP: Tensor
    target_BNP: Tensor
    masking: Masking


class MaskRatioError(ValueError):
    """A mask ratio that leaves nothing to see or nothing to predict."""


def kept_patches(patches: int, mask_ratio: float) -> int:
    """How many of an image's patches the encoder sees, as published. Raises MaskRatioError for none or all."""
    kept = int(patches * (1 - mask_ratio))
    if not 1 <= kept < patches:
        raise MaskRatioError(f"a mask ratio of {mask_ratio} keeps {'none' if kept < 1 else 'all'} of {patches} patches")
    return kept


def draw_masking(noise_BN: Tensor, mask_ratio: float) -> Masking:
    """Keep the patches of lowest noise, as many of each image as `kept_patches` says."""
    kept = kept_patches(noise_BN.shape[1], mask_ratio)
    order = noise_BN.argsort(dim=1, stable=True)  # equal numbers must not fall differently on another device
    restore = order.argsort(dim=1)
    return Masking(order[:, :kept], restore, (restore >= kept).float())


def patchify(images_BCHW: Tensor, patch_size: int) -> Tensor:
    """Images to patches (B, N, patch_size * patch_size * C), each as (row, column, channel); sizes in whole patches."""
    batch, channels, height, width = images_BCHW.shape
    rows, columns = height // patch_size, width // patch_size
    patches = images_BCHW.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch_size * patch_size * channels)


def unpatchify(patches_BNP: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """The inverse of patchify for a grid (rows, columns)."""
    batch, rows, columns = patches_BNP.shape[0], *grid
    patches = patches_BNP.reshape(batch, rows, columns, patch_size, patch_size, -1)
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, rows * patch_size, columns * patch_size)


def normalized_patches(images_BCHW: Tensor, patch_size: int) -> Tensor:
    """The target: patches with their own mean removed, divided by their own (unbiased) standard deviation."""
    patches = patchify(images_BCHW, patch_size)
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + TARGET_EPS).sqrt()


class Decoder(nn.Module):
    """The light transformer that turns the latent of the kept patches into all patches' pixels."""

    def __init__(self, config: BackboneConfig, embed_dim: int, layers: int, heads: int) -> None:
        super().__init__()
        self.prefix = config.prefix_tokens
        self.embedding = nn.Linear(config.embed_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        if not self.mask_token.is_meta:  # drawing there would import PyTorch's compiler
            nn.init.normal_(self.mask_token, std=0.02)
        self.position_embedding = nn.Parameter(
            sincos_2d(embed_dim, config.grid(), config.prefix_tokens), requires_grad=False
        )
        self.blocks = nn.ModuleList(Block(embed_dim, heads, MLP_RATIO) for _ in range(layers))
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.output = nn.Linear(embed_dim, config.patch_size**2 * 3)
        initialize_transformer(self)

    def forward(self, latent_BKD: Tensor, restore_BN: Tensor) -> Tensor:
        """Latent, prefix tokens first, and each patch's place behind them, to predicted patches (B, N, P)."""
        tokens, extra = self.embedding(latent_BKD), self.prefix
        batch, length = restore_BN.shape
        hidden = self.mask_token.expand(batch, length + extra - tokens.shape[1], -1)
        places = restore_BN.unsqueeze(-1).expand(-1, -1, tokens.shape[2])
        patches = torch.cat([tokens[:, extra:], hidden], dim=1).gather(1, places)
        tokens = torch.cat([tokens[:, :extra], patches], dim=1) + self.position_embedding
        for block in self.blocks:
            tokens = block(tokens)
        return self.output(self.norm(tokens))[:, extra:]


class MaskedAutoencoder(nn.Module):
    """Encoder over the visible patches, light decoder over all.

    Both position embeddings are the fixed sine-cosine table and take no gradient.

    Args:
        config: the encoder, with a class token and images in whole patches.
        decoder_dim, decoder_layers, decoder_heads: the decoder; the published one is 512 wide, 8 deep, 16 heads.
        mask_ratio: share of the patches that is hidden.
    """

    def __init__(
        self,
        config: BackboneConfig,
        decoder_dim: int = 512,
        decoder_layers: int = 8,
        decoder_heads: int = 16,
        mask_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        if not config.prefix_tokens:
            raise ValueError("the masked autoencoder is trained with a class token: set class_token=True")
        if any(side % config.patch_size for side in config.image_size):
            raise ValueError(f"an image of {config.image_size} pixels is not made of patches of {config.patch_size}")
        self.mask_ratio = mask_ratio
        self.backbone = config.build()
        self.backbone.hold_positions()
        self.decoder = Decoder(config, decoder_dim, decoder_layers, decoder_heads)

    def forward(
        self,
        images_B3HW: Tensor,
        heads: Sequence[str] | None = None,
        seeds_B: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> dict[str, MaskedAutoencoderOutput]:
        """Hides patches and predicts them, with the interface of a HumanModel whose one head is named `HEAD`.

        Args:
            images_B3HW: normalized RGB images of the config's size.
            heads, inputs: ignored.
            seeds_B: int64 seeds of the hidden patches; None = the global generator.
        """
        rows, columns = self.backbone.config.grid()
        if seeds_B is None:
            noise = torch.rand(images_B3HW.shape[0], rows * columns, device=images_B3HW.device)
        else:
            noise = sample_uniform(seeds_B, rows * columns)
        return {HEAD: self.reconstruct(images_B3HW, noise)}

    def reconstruct(self, images_B3HW: Tensor, noise_BN: Tensor) -> MaskedAutoencoderOutput:
        """Hides all patches but those of lowest noise, and predicts them. Images: normalized, of the config's size."""
        config = self.backbone.config
        if tuple(images_B3HW.shape[2:]) != config.image_size:
            raise ValueError(
                f"images of {tuple(images_B3HW.shape[2:])} pixels given, the model is for {config.image_size}"
            )
        masking = draw_masking(noise_BN, self.mask_ratio)
        latent = self.backbone.tokens(images_B3HW, masking.kept_BK)
        prediction = self.decoder(latent, masking.restore_BN)
        return MaskedAutoencoderOutput(latent, prediction, normalized_patches(images_B3HW, config.patch_size), masking)

    def blocks(self) -> list[nn.Module]:
        """What is compiled, checkpointed and sharded one by one. Raises NoBlocks."""
        return [*blocks_of(self.backbone), *self.decoder.blocks]

    def no_decay(self) -> Collection[str]:
        """See `Backbone.no_decay`."""
        return {f"backbone.{name}" for name in self.backbone.no_decay()} | {"decoder.mask_token"}
