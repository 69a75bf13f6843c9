"""What a model costs: parameters, floating-point operations and bytes, computed from its config alone."""

import math

import torch
from torch import nn

from .convolutional_pyramid import ConvolutionalDecoder, ConvolutionalStem
from .masked_autoencoder import kept_patches
from .upsampling_head import UpsamplingHead
from .vit import ViTConfig

PUBLISHED_TOKENS = 64 * 64 + 1
"""Tokens of the 1024x1024 pretraining image with its class token, which the published FLOPs are counted over."""


def parameters(module: nn.Module, trainable_only: bool = False) -> int:
    """Number of parameters of a module (meta device will do); trainable_only leaves the frozen ones out."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def linear_multiply_adds(config: ViTConfig, tokens: int) -> int:
    """Multiply-adds of the blocks' linear layers over a number of tokens."""
    per_token = 4 * config.embed_dim**2 + 2 * config.mlp_ratio * config.embed_dim**2
    return config.layers * per_token * tokens


def published_flops(config: ViTConfig) -> int:
    """The FLOPs that the paper's Table 1 states (1.242, 2.583, 4.647, 8.709 T): what its counting tool counted.

    Multiply-adds counted once, of the linear layers over 4097 tokens and of the patch convolution, and five operations
    for each element a layer norm touches. Not the attention products; image_size and class_token are not used.
    """
    patches = PUBLISHED_TOKENS - 1
    patch_convolution = patches * 3 * config.patch_size**2 * config.embed_dim
    layer_norms = 5 * (2 * config.layers + 1) * PUBLISHED_TOKENS * config.embed_dim
    return linear_multiply_adds(config, PUBLISHED_TOKENS) + patch_convolution + layer_norms


def head_multiply_adds(head: UpsamplingHead, grid: tuple[int, int]) -> int:
    """Multiply-adds of a head's convolutions on features of a grid (rows, columns)."""
    total = 0
    pixels = grid[0] * grid[1]
    for layer in (*head.deconvs, *head.convs, head.output):
        # A transposed convolution spends its whole kernel on each input pixel, before the map grows.
        total += pixels * layer.weight.numel()
        if isinstance(layer, nn.ConvTranspose2d):
            pixels *= layer.stride[0] * layer.stride[1]
    return total


def pyramid_multiply_adds(config: ViTConfig) -> int:
    """Multiply-adds of the convolutional stem and its decoder; 0 for a backbone without."""
    if not config.stem_channels:
        return 0
    with torch.device("meta"):
        stem = ConvolutionalStem(config.stem_channels, config.embed_dim)
        decoder = ConvolutionalDecoder(config.stem_channels, config.embed_dim)
    patches = math.prod(config.grid())

    def weights(module: nn.Module) -> int:
        return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d))

    total = patches * weights(stem.projection)
    for finer, level in enumerate(reversed(stem.levels)):  # the last has the patches' stride
        total += patches * 4**finer * weights(level)
    for finer, (up, level) in enumerate(zip(decoder.ups, decoder.levels, strict=True)):
        total += patches * 4**finer * (up.weight.numel() + 4 * weights(level))  # type: ignore[operator]
    return total


def full_flops(config: ViTConfig, heads: tuple[UpsamplingHead, ...] = ()) -> int:
    """Honest floating-point operations of one image of the config's size through the backbone and the heads.

    A multiply-add counts as two. Linear layers, convolutions and both attention products are in it; norms, activations
    and the softmax (below a hundredth together) are not.
    """
    rows, columns = config.grid()
    tokens = rows * columns + int(config.class_token)
    attention = config.layers * 2 * tokens**2 * config.embed_dim
    patches = rows * columns * 3 * config.patch_size**2 * config.embed_dim
    backbone = patches + pyramid_multiply_adds(config) + linear_multiply_adds(config, tokens) + attention
    scale = config.patch_size // config.feature_stride
    return 2 * (backbone + sum(head_multiply_adds(head, (scale * rows, scale * columns)) for head in heads))


def masked_autoencoder_flops(config: ViTConfig, decoder: ViTConfig, mask_ratio: float) -> int:
    """Floating-point operations of one image through masked pretraining, forward only; a multiply-add counts as two.

    The encoder sees the kept patches and the class token, the decoder all of them. decoder: its width, layers and
    heads; its other values are not used but for mlp_ratio.
    """
    rows, columns = config.grid()
    patches, values = rows * columns, 3 * config.patch_size**2
    kept = kept_patches(patches, mask_ratio)
    multiply_adds = (
        patches * values * config.embed_dim + (patches + 1) * decoder.embed_dim * values
    )  # pixels in and out
    multiply_adds += (kept + 1) * config.embed_dim * decoder.embed_dim
    for part, tokens in ((config, kept + 1), (decoder, patches + 1)):
        multiply_adds += linear_multiply_adds(part, tokens) + part.layers * 2 * tokens**2 * part.embed_dim
    return 2 * multiply_adds


def block_activation_bytes(config: ViTConfig, tokens: int, half: bool) -> int:
    """Bytes that one block keeps for its backward pass, with fused attention.

    half: matrix products take 16-bit inputs; the residual stream and what the norms take stay float32, as autocast has
    it. In units of tokens times width: the inputs of both norms (4 bytes each), the inputs of the four linear layers
    (1 + 1 + 1 + 4 widths), queries, keys and values (3 widths), and the input of the GELU (4 widths).
    """
    narrow = 2 if half else 4
    norms = 2 * 4
    per_width = norms + narrow * (1 + 3 + 1 + 1 + 4 + 4)
    softmax_and_norm_statistics = 4 * (config.heads + 2 * 2)
    return tokens * (config.embed_dim * per_width + softmax_and_norm_statistics)


def head_activation_bytes(head: UpsamplingHead, grid: tuple[int, int], half: bool) -> int:
    """Bytes that a head keeps for its backward pass over features of a grid (rows, columns).

    Of each layer but the last its output before and after the norm, in float32, and after the SiLU as the next layer
    takes it; with half, that and the features are 16-bit (autocast on a GPU runs the norm in float32).
    """
    narrow = 2 if half else 4
    pixels = grid[0] * grid[1]
    layers = (*head.deconvs, *head.convs, head.output)
    first = layers[0].weight.shape  # (in, out, 4, 4) of a transposed convolution, (out, in, 1, 1) of the others
    total = pixels * (first[0] if isinstance(layers[0], nn.ConvTranspose2d) else first[1]) * narrow
    for layer in layers[:-1]:
        transposed = isinstance(layer, nn.ConvTranspose2d)
        if transposed:
            pixels *= layer.stride[0] * layer.stride[1]
        total += pixels * layer.weight.shape[1 if transposed else 0] * (4 + 4 + narrow)
    return total
