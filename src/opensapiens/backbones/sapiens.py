"""The Sapiens vision transformer (ECCV 2024): one plain backbone for every size and task.

Axes in names: B batch, N tokens, K those of the kept patches, D width, H and W rows and columns.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from opensapiens.geometry.limits import LARGEST_SIDE, MOST_CHANNELS, MOST_LAYERS, check_bounds

from . import transformer
from .position_embedding import resize_position_embedding, sincos_2d
from .transformer import LAYER_NORM_EPS, Block, PatchConvolution, Transformer, in_whole_patches, initialize_transformer

PUBLISHED_SIZES: dict[str, dict[str, int]] = {
    "0.3b": {"embed_dim": 1024, "layers": 24, "heads": 16},
    "0.6b": {"embed_dim": 1280, "layers": 32, "heads": 16},
    "1b": {"embed_dim": 1536, "layers": 40, "heads": 24},
    "2b": {"embed_dim": 1920, "layers": 48, "heads": 32},
}
"""Width, depth and attention heads of the four published backbones (paper, Table 1)."""

PUBLISHED_BLOCK = [
    ("ln1", "norm1"),
    ("attn.qkv", "attention.qkv"),
    ("attn.proj", "attention.projection"),
    ("ln2", "norm2"),
    ("ffn.layers.0.0", "mlp.fc1"),
    ("ffn.layers.1", "mlp.fc2"),
]
"""(published, ours) names of a block's layers, each of which has a weight and a bias."""


def weight_and_bias(*layers: tuple[str, str]) -> list[tuple[str, str]]:
    """(published, ours) names of the two tensors of each layer, from those of the layers."""
    return [(f"{published}.{kind}", f"{ours}.{kind}") for published, ours in layers for kind in ("weight", "bias")]


PUBLISHED_TENSORS = [
    ("cls_token", "class_token"),
    ("pos_embed", "position_embedding"),
    *weight_and_bias(("patch_embed.projection", "patch_embedding.projection")),
    *weight_and_bias(*((f"layers.{{i}}.{published}", f"blocks.{{i}}.{ours}") for published, ours in PUBLISHED_BLOCK)),
    *weight_and_bias(("ln1", "norm")),
]
"""(published, ours) names of all tensors; {i} is a block's number."""


@dataclass(frozen=True)
class SapiensConfig:
    """The shape of a Sapiens backbone.

    Attributes:
        image_size: (height, width) in pixels of the position embedding.
        embed_dim: width of a token.
        layers: number of transformer blocks.
        heads: attention heads; divides embed_dim.
        patch_size: side of a patch in pixels.
        patch_padding: zeros around the normalized image inside the patch convolution. The published pose and normal
            weights need 2, those of pretraining, 28-part segmentation and depth 0. A wrong value loads silently and
            shifts every patch.
        mlp_ratio: hidden width of the MLP over embed_dim.
        class_token: prepend a learned token (pretraining only).

    Raises:
        ValueError: a number out of bounds, or numbers that do not fit together.
    """

    family: ClassVar[str] = "sapiens"

    image_size: tuple[int, int]
    embed_dim: int
    layers: int
    heads: int
    patch_size: int = 16
    patch_padding: int = 0
    mlp_ratio: int = 4
    class_token: bool = False

    def __post_init__(self) -> None:
        check_transformer(self.image_size, self.embed_dim, self.layers, self.heads, self.patch_size, self.mlp_ratio)
        check_bounds(self.patch_size, 0, patch_padding=self.patch_padding)

    @property
    def feature_channels(self) -> int:
        """Channels of the feature map."""
        return self.embed_dim

    @property
    def feature_stride(self) -> int:
        """Pixels between neighbors in the feature map."""
        return self.patch_size

    @property
    def prefix_tokens(self) -> int:
        """Tokens before those of the patches."""
        return int(self.class_token)

    def grid(self, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
        """Rows and columns of patches for an image of the given (height, width), by default the model's own."""
        height, width = image_size or self.image_size
        # The published model pads right and below up to whole patches, unless patch_padding is set; then the
        # convolution floors. At whole patches both give size / patch_size.
        spare = 2 * self.patch_padding if self.patch_padding else self.patch_size - 1
        return (height + spare) // self.patch_size, (width + spare) // self.patch_size

    def build(self) -> "SapiensBackbone":
        """The network, freshly initialized."""
        return SapiensBackbone(self)

    def view_inputs(self, picture_3: np.ndarray, size_hw: tuple[int, int]) -> dict[str, np.ndarray]:
        """Nothing: this network takes only pixels."""
        return {}

    def mirrored(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same inputs."""
        return dict(inputs)

    def multiply_adds(self, image_size: tuple[int, int] | None = None, kept: int | None = None) -> int:
        """Multiply-adds of one image, without norms and activations (below 1 %); kept: patches encoded."""
        rows, columns = self.grid(image_size)
        tokens = self.prefix_tokens + (rows * columns if kept is None else kept)
        patches = rows * columns * 3 * self.patch_size**2 * self.embed_dim
        return patches + self.layers * transformer.block_multiply_adds(self.embed_dim, self.mlp_ratio, tokens)

    def block_activation_bytes(self, tokens: int, half: bool) -> int:
        """See `transformer.block_activation_bytes`."""
        return transformer.block_activation_bytes(self.embed_dim, self.heads, tokens, half)


def check_transformer(
    image_size: tuple[int, int], embed_dim: int, layers: int, heads: int, patch_size: int, mlp_ratio: int
) -> None:
    """Raises ValueError for an inconsistent or oversized vision transformer."""
    check_bounds(MOST_CHANNELS, embed_dim=embed_dim, heads=heads)
    check_bounds(MOST_LAYERS, layers=layers, patch_size=patch_size)
    check_bounds(64, mlp_ratio=mlp_ratio)
    if len(image_size) != 2 or not patch_size <= min(image_size) <= max(image_size) <= LARGEST_SIDE:
        raise ValueError(
            f"image_size must be (height, width) from one patch of {patch_size} to {LARGEST_SIDE:,} pixels, not "
            f"{image_size}"
        )
    if embed_dim % heads:
        raise ValueError(f"embed_dim {embed_dim} is not divisible by {heads} heads")


class SapiensBackbone(Transformer):
    """Patches, absolute position embedding, pre-norm blocks, a final norm."""

    def __init__(self, config: SapiensConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = PatchConvolution(config.embed_dim, config.patch_size, config.patch_padding)
        if config.class_token:
            self.class_token = nn.Parameter(torch.empty(1, 1, config.embed_dim))
            if not self.class_token.is_meta:  # drawing there would import PyTorch's compiler
                nn.init.normal_(self.class_token, std=0.02)
        # Published: a truncated normal of 0.02 without a checkpoint. Patch embeddings are sixty times larger, so that
        # blocks could not tell where a patch is; with the table, nano's pose loss initially falls about twice as fast.
        self.position_embedding = nn.Parameter(sincos_2d(config.embed_dim, config.grid(), config.prefix_tokens))
        self.blocks = nn.ModuleList(
            Block(config.embed_dim, config.heads, config.mlp_ratio) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        initialize_transformer(self.blocks)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalized RGB images (B, 3, H, W) to the feature map (B, D, rows, columns), final norm applied."""
        tokens, grid = self.embed(images_B3HW)
        patches = self.encode(tokens)[:, self.config.prefix_tokens :]
        # Contiguous: the view alone is channels-last, in which the backward of the heads' convolutions takes half as
        # long again on a CPU.
        return patches.transpose(1, 2).unflatten(2, grid).contiguous()

    def tokens(self, images_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """All tokens (B, N, D), class token first, final norm applied; kept_BK: see `Backbone.tokens`."""
        return self.encode(self.embed(images_B3HW, kept_BK)[0])

    def embed(self, images_B3HW: Tensor, kept_BK: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
        """The input tokens of the first block, class token first, and the patch grid; kept_BK: see `tokens`."""
        patches, grid = self.patch_tokens(images_B3HW)
        class_position, patch_positions = self.positions(grid)
        tokens = patches + patch_positions
        if kept_BK is not None:
            tokens = tokens.gather(1, kept_BK.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
        if class_position is not None:
            first = (self.class_token + class_position).expand(tokens.shape[0], -1, -1)
            tokens = torch.cat([first, tokens], dim=1)
        return tokens, grid

    def patch_tokens(self, images_B3HW: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Normalized images to patch tokens (B, N, D) without positions, row-major, and the grid (rows, columns)."""
        if not self.config.patch_padding:
            images_B3HW = in_whole_patches(images_B3HW, self.config.patch_size)
        patches = self.patch_embedding(images_B3HW)
        return patches.flatten(2).transpose(1, 2), (patches.shape[2], patches.shape[3])

    def positions(self, grid: tuple[int, int]) -> tuple[Tensor | None, Tensor]:
        """Position embeddings of the class token (or None) and of a grid's patches, resized if needed."""
        extra = self.config.prefix_tokens
        patch_positions = resize_position_embedding(self.position_embedding[:, extra:], self.config.grid(), grid)
        return (self.position_embedding[:, :1] if extra else None), patch_positions

    def no_decay(self) -> Collection[str]:
        """See `Backbone.no_decay`."""
        return {"position_embedding", "class_token"}

    def fitted(self, tensors: Mapping[str, Tensor], trained: object) -> dict[str, Tensor]:
        """See `Backbone.fitted`."""
        if not isinstance(trained, SapiensConfig):
            family = getattr(trained, "family", type(trained).__name__)
            raise ValueError(f"a backbone of the family {family} cannot start one of sapiens: give its --size")
        fitted = transformer.grown(tensors, trained.layers, self.config.layers)
        return transformer.fitted_transformer(
            fitted, trained.grid(), trained.class_token, self.config.grid(), self.config.class_token
        )


def published_config(
    size: str, image_size: tuple[int, int], patch_padding: int = 0, class_token: bool = False
) -> SapiensConfig:
    """Config of a published backbone: 1024x768 images for tasks, 1024x1024 and a class token for pretraining."""
    if size not in PUBLISHED_SIZES:
        raise ValueError(f"no published size {size!r}; there are {', '.join(PUBLISHED_SIZES)}")
    return SapiensConfig(image_size, **PUBLISHED_SIZES[size], patch_padding=patch_padding, class_token=class_token)
