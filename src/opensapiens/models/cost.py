"""What a model costs: parameters and floating-point operations, computed from its config alone."""

from torch import nn

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


def full_flops(config: ViTConfig, heads: tuple[UpsamplingHead, ...] = ()) -> int:
    """Honest floating-point operations of one image of the config's size through the backbone and the heads.

    A multiply-add counts as two. Linear layers, convolutions and both attention products are in it; norms, activations
    and the softmax (below a hundredth together) are not.
    """
    rows, columns = config.grid()
    tokens = rows * columns + int(config.class_token)
    attention = config.layers * 2 * tokens**2 * config.embed_dim
    patches = rows * columns * 3 * config.patch_size**2 * config.embed_dim
    backbone = patches + linear_multiply_adds(config, tokens) + attention
    return 2 * (backbone + sum(head_multiply_adds(head, (rows, columns)) for head in heads))
