"""What a model costs: parameters and floating-point operations, counted from its config and its heads."""

import math
from collections.abc import Iterable

from torch import nn

from opensapiens.backbones import BackboneConfig
from opensapiens.backbones.transformer import block_multiply_adds

from .heads import Head
from .masked_autoencoder import MLP_RATIO, kept_patches


def parameters(module: nn.Module, trainable_only: bool = False) -> int:
    """Number of parameters of a module, which may be on the meta device."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def feature_grid(config: BackboneConfig, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Rows and columns of an image's feature map, by default for the config's image size."""
    rows, columns = config.grid(image_size)
    scale = config.patch_size // config.feature_stride
    return scale * rows, scale * columns


def full_flops(config: BackboneConfig, heads: Iterable[Head] = (), image_size: tuple[int, int] | None = None) -> int:
    """Floating-point operations of one image, by default of the config's size, through backbone and heads.

    A multiply-add counts as two. Linear layers, convolutions and both attention products are counted; norms,
    activations and the softmax (below 1 % together) are not.
    """
    grid = feature_grid(config, image_size)
    return 2 * (config.multiply_adds(image_size) + sum(head.multiply_adds(grid) for head in heads))


def masked_autoencoder_flops(
    config: BackboneConfig, width: int, layers: int, mask_ratio: float, image_size: tuple[int, int] | None = None
) -> int:
    """Floating-point operations of a forward pass of one image in masked pretraining; a multiply-add counts as two.

    The encoder sees the kept patches and the prefix tokens, the decoder (width, layers) all tokens.
    """
    patches, values = math.prod(config.grid(image_size)), 3 * config.patch_size**2
    kept = kept_patches(patches, mask_ratio)
    tokens = patches + config.prefix_tokens
    multiply_adds = config.multiply_adds(image_size, kept)
    multiply_adds += (kept + config.prefix_tokens) * config.embed_dim * width + tokens * width * values
    return 2 * (multiply_adds + layers * block_multiply_adds(width, MLP_RATIO, tokens))
