"""The Sapiens2 vision transformer (arXiv 2604.21681): rotary positions, grouped queries, gated MLPs, registers.

Axes in names: B batch, H heads, N tokens, K those of the kept patches, D width, W windows.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from opensapiens.geometry.limits import MOST_CHANNELS, MOST_LAYERS, check_bounds

from .grouped_attention import NORM_EPS, GatedMLP, GroupedAttention
from .rotary import RopeDtype, rotary_periods, rotation
from .sapiens import check_transformer, weight_and_bias
from .transformer import PatchConvolution

PUBLISHED_SIZES: dict[str, dict[str, int]] = {
    "0.1b": {"embed_dim": 768, "layers": 12, "heads": 12},
    "0.4b": {"embed_dim": 1024, "layers": 24, "heads": 16},
    "0.8b": {"embed_dim": 1280, "layers": 32, "heads": 16},
    "1b": {"embed_dim": 1536, "layers": 40, "heads": 24},
    "1b-4k": {"embed_dim": 1536, "layers": 40, "heads": 24, "patch_size": 64, "window": 4, "tokenizer_layers": 4},
    "5b": {"embed_dim": 2432, "layers": 56, "heads": 32},
}
"""Width, depth, attention heads and tokenizer of the published backbones."""

FULL_ATTENTION_ENDS = 8  # of the published: blocks at either end whose keys and values have as many heads as queries
START_STD = 0.02
TOKENIZER_MLP_RATIO = 4
WINDOWS_AT_ONCE = 1024  # in the tokenizer, so that the hidden layers of a 4K image fit into memory

_LINEAR = [
    ("attn.wq", "attention.query"),
    ("attn.wk", "attention.key"),
    ("attn.wv", "attention.value"),
    ("attn.proj", "attention.projection"),
    ("ffn.w12", "mlp.fc1"),
    ("ffn.w3", "mlp.fc2"),
]
_PLAIN_BLOCK = [("ln1.weight", "norm1.weight"), *weight_and_bias(*_LINEAR), ("ln2.weight", "norm2.weight")]
_BLOCK = [
    *_PLAIN_BLOCK,
    ("attn.q_norm.weight", "attention.query_norm.weight"),
    ("attn.k_norm.weight", "attention.key_norm.weight"),
    ("attn.gamma.weight", "attention.scale"),
]
PUBLISHED_TENSORS = [
    ("cls_token", "class_token"),
    ("storage_tokens", "registers"),
    *weight_and_bias(("patch_embed.projection", "patch_embedding.projection")),
    ("rope_embed.periods", "periods"),
    ("ln1.weight", "norm.weight"),
    *((f"blocks.{{i}}.{published}", f"blocks.{{i}}.{ours}") for published, ours in _BLOCK),
    ("tokenizer.local_pos_embed", "tokenizer.position_embedding"),
    ("tokenizer.w_cls", "tokenizer.class_token"),
    *((f"tokenizer.blocks.{{i}}.{published}", f"tokenizer.blocks.{{i}}.{ours}") for published, ours in _PLAIN_BLOCK),
]
"""(published, ours) names of all tensors; {i} is a block's number."""


def published_key_value_heads(layers: int, heads: int) -> tuple[int, ...]:
    """Heads of keys and values of each block: in the middle, half as many as queries have."""
    ends = FULL_ATTENTION_ENDS
    return tuple(heads if number < ends or number >= layers - ends else heads // 2 for number in range(layers))


@dataclass(frozen=True)
class Sapiens2Config:
    """The shape of a Sapiens2 backbone.

    Attributes:
        image_size: (height, width) in pixels that the weights are for; others do as well.
        embed_dim: width of a token.
        layers: number of transformer blocks.
        heads: attention heads; divides embed_dim into a multiple of 4.
        key_value_heads: of each block, the heads of its keys and values, each of which serves heads / key_value_heads
            queries.
        hidden_dim: of the gated MLP.
        registers: tokens without a place, after the class token.
        patch_size: side in pixels of what a token stands for.
        window: patches along the side of the square that the tokenizer makes one token of; 1 = no tokenizer.
        tokenizer_layers: its blocks.
        rope_dtype: of the rotation of queries and keys. "bfloat16", as published, rounds them in each block, with the
            periods that the weights hold. "float32" takes exact periods, as transformers and timm do; outputs differ by
            0.3 %.

    Raises:
        ValueError: a number out of bounds, or numbers that do not fit together.
    """

    family: ClassVar[str] = "sapiens2"

    image_size: tuple[int, int]
    embed_dim: int
    layers: int
    heads: int
    key_value_heads: tuple[int, ...]
    hidden_dim: int
    registers: int = 8
    patch_size: int = 16
    window: int = 1
    tokenizer_layers: int = 0
    rope_dtype: RopeDtype = "bfloat16"

    def __post_init__(self) -> None:
        check_transformer(self.image_size, self.embed_dim, self.layers, self.heads, self.patch_size, 1)
        check_bounds(MOST_CHANNELS, hidden_dim=self.hidden_dim)
        check_bounds(MOST_LAYERS, 0, registers=self.registers, tokenizer_layers=self.tokenizer_layers)
        check_bounds(self.patch_size, window=self.window)
        if (self.embed_dim // self.heads) % 4:
            raise ValueError(f"a head of {self.embed_dim // self.heads} channels is not divisible by 4")
        if len(self.key_value_heads) != self.layers:
            raise ValueError(f"key_value_heads of {len(self.key_value_heads)} blocks, and there are {self.layers}")
        if any(heads < 1 or self.heads % heads for heads in self.key_value_heads):
            raise ValueError(f"{self.heads} heads are not divisible by each of the key_value_heads")
        if self.patch_size % self.window or (self.window > 1) != (self.tokenizer_layers > 0):
            raise ValueError("a tokenizer has layers and a window above 1 that divides patch_size")

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
        """The class token and the registers."""
        return 1 + self.registers

    @property
    def head_dim(self) -> int:
        """Channels of an attention head."""
        return self.embed_dim // self.heads

    def grid(self, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
        """Rows and columns of patches for an image of the given (height, width), by default the model's own. A
        remainder after whole patches is dropped, as published."""
        height, width = image_size or self.image_size
        return height // self.patch_size, width // self.patch_size

    def build(self) -> "Sapiens2Backbone":
        """The network, freshly initialized."""
        return Sapiens2Backbone(self)

    def view_inputs(self, picture_3: np.ndarray, size_hw: tuple[int, int]) -> dict[str, np.ndarray]:
        """Nothing: this network takes only pixels."""
        return {}

    def mirrored(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same inputs."""
        return dict(inputs)

    def multiply_adds(self, image_size: tuple[int, int] | None = None, kept: int | None = None) -> int:
        """Multiply-adds of one image, without norms and activations (below 1 %); kept: patches encoded."""
        patches = math.prod(self.grid(image_size))
        tokens = self.prefix_tokens + (patches if kept is None else kept)
        total = patches * 3 * self.patch_size**2 * self.embed_dim
        for key_value_heads in self.key_value_heads:
            total += self._block_multiply_adds(key_value_heads, self.hidden_dim, tokens)
        in_window = self._block_multiply_adds(self.heads, TOKENIZER_MLP_RATIO * self.embed_dim, self.window**2 + 1)
        return total + self.tokenizer_layers * patches * in_window

    def _block_multiply_adds(self, key_value_heads: int, hidden_dim: int, tokens: int) -> int:
        width = self.embed_dim
        attention = 2 * width * (width + key_value_heads * self.head_dim)
        return (attention + 3 * width * hidden_dim) * tokens + 2 * tokens**2 * width

    def block_activation_bytes(self, tokens: int, half: bool) -> int:
        """See `BackboneConfig.block_activation_bytes`.

        The inputs of both norms and three widths more of what norms keep, all in 4 bytes; the inputs of the linear
        layers, the queries, keys and values before and after the norms and the rotation (with half, the norms give
        4 bytes), the outputs of attention and of its projection, the two halves of the first layer of the MLP, the
        activation and their product.
        """
        narrow = 2 if half else 4
        shared = sum(self.key_value_heads) / (self.layers * self.heads)
        normed = 4 * (1 + shared) if half else 0
        per_width = 5 * 4 + normed + narrow * (2 + 1 + 2 * shared + 4 + 2)
        return int(tokens * (self.embed_dim * per_width + narrow * 4 * self.hidden_dim))


class Sapiens2Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, embed_dim: int, heads: int, key_value_heads: int, hidden_dim: int, plain: bool = False) -> None:
        """plain: as in the tokenizer, see GroupedAttention."""
        super().__init__()
        self.norm1 = nn.RMSNorm(embed_dim, eps=NORM_EPS)
        self.attention = GroupedAttention(embed_dim, heads, key_value_heads, plain)
        self.norm2 = nn.RMSNorm(embed_dim, eps=NORM_EPS)
        self.mlp = GatedMLP(embed_dim, hidden_dim)

    def forward(self, tokens_BND: Tensor, rotation_2ND: Tensor | None = None) -> Tensor:
        """(B, N, D) to (B, N, D); rotation_2ND: see `rotary.rotate`."""
        tokens_BND = tokens_BND + self.attention(self.norm1(tokens_BND), rotation_2ND)
        return tokens_BND + self.mlp(self.norm2(tokens_BND))


class WindowTokenizer(nn.Module):
    """Makes one token of each window of patches: a class token that attends to them through a few blocks."""

    def __init__(self, config: Sapiens2Config) -> None:
        super().__init__()
        self.window, width = config.window, config.embed_dim
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.position_embedding = nn.Parameter(torch.empty(1, config.window**2 + 1, width))
        self.blocks = nn.ModuleList(
            Sapiens2Block(width, config.heads, config.heads, TOKENIZER_MLP_RATIO * width, plain=True)
            for _ in range(config.tokenizer_layers)
        )

    def forward(self, patches_BDhw: Tensor) -> Tensor:
        """A map of patches in whole windows to one of windows, (B, D, rows, columns)."""
        side = self.window
        windows = patches_BDhw.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        batch, _, rows, _, columns, _ = windows.shape
        patches_WND = windows.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)
        if torch.compiler.is_exporting():  # a graph cannot count its pieces
            tokens_WD = self._pooled(patches_WND)
        else:
            tokens_WD = torch.cat([self._pooled(piece) for piece in patches_WND.split(WINDOWS_AT_ONCE)])
        return tokens_WD.unflatten(0, (batch, rows, columns)).permute(0, 3, 1, 2)

    def _pooled(self, patches_WND: Tensor) -> Tensor:
        first = self.class_token.expand(patches_WND.shape[0], -1, -1)
        tokens = torch.cat([first, patches_WND], dim=1) + self.position_embedding
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 0]


class Sapiens2Backbone(nn.Module):
    """Patches, a tokenizer for the largest images, class token and registers, pre-norm blocks, a final norm."""

    periods: Tensor

    def __init__(self, config: Sapiens2Config) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = PatchConvolution(config.embed_dim, config.patch_size // config.window)
        self.tokenizer = WindowTokenizer(config) if config.window > 1 else None
        self.class_token = nn.Parameter(torch.empty(1, 1, config.embed_dim))
        self.registers = nn.Parameter(torch.empty(1, config.registers, config.embed_dim))
        # Part of the weights: bfloat16 arithmetic rounds them, and not equally everywhere.
        self.register_buffer("periods", rotary_periods(config.head_dim, config.rope_dtype))
        self.blocks = nn.ModuleList(
            Sapiens2Block(config.embed_dim, config.heads, shared, config.hidden_dim)
            for shared in config.key_value_heads
        )
        self.norm = nn.RMSNorm(config.embed_dim, eps=NORM_EPS)
        _initialize(self)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalized RGB images (B, 3, H, W) to the feature map (B, D, rows, columns), final norm applied."""
        tokens, rotation_2ND, grid = self.embed(images_B3HW)
        patches = self.encode(tokens, rotation_2ND)[:, self.config.prefix_tokens :]
        return patches.transpose(1, 2).unflatten(2, grid).contiguous()

    def tokens(self, images_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """All tokens (B, 1 + registers + N, D), final norm applied; kept_BK: see `Backbone.tokens`."""
        tokens, rotation_2ND, _ = self.embed(images_B3HW, kept_BK)
        return self.encode(tokens, rotation_2ND)

    def embed(self, images_B3HW: Tensor, kept_BK: Tensor | None = None) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """The input tokens of the first block (class token, registers, patches), the rotation that the blocks take, and
        the grid of patches; kept_BK: see `tokens`."""
        if self.tokenizer is not None:
            side = self.config.patch_size
            height, width = (side * (size // side) for size in images_B3HW.shape[2:])
            patches_BDhw = self.tokenizer(self.patch_embedding(images_B3HW[:, :, :height, :width]))
        else:
            patches_BDhw = self.patch_embedding(images_B3HW)
        grid = patches_BDhw.shape[2], patches_BDhw.shape[3]
        patches, turn = patches_BDhw.flatten(2).transpose(1, 2), self.rotation(grid)
        if kept_BK is not None:
            patches = patches.gather(1, kept_BK.unsqueeze(-1).expand(-1, -1, patches.shape[2]))
            turn = turn[:, kept_BK].unsqueeze(2)
        prefix = torch.cat([self.class_token, self.registers], dim=1).expand(patches.shape[0], -1, -1)
        return torch.cat([prefix, patches], dim=1), turn, grid

    def rotation(self, grid: tuple[int, int]) -> Tensor:
        """(2, rows * columns, head_dim): cosines and sines for the patches of a grid."""
        dtype = self.config.rope_dtype
        exact = dtype == "float32"
        periods = rotary_periods(self.config.head_dim, dtype).to(self.periods.device) if exact else self.periods
        return rotation(periods, grid, dtype)

    def encode(self, tokens_BND: Tensor, rotation_2ND: Tensor) -> Tensor:
        """All blocks and the final norm."""
        for block in self.blocks:
            tokens_BND = block(tokens_BND, rotation_2ND)
        return self.norm(tokens_BND)

    def hold_positions(self) -> None:
        """Nothing: rotary positions are not trained."""

    def no_decay(self) -> Collection[str]:
        """See `Backbone.no_decay`. The class token and the registers decay, as published."""
        return set() if self.tokenizer is None else {"tokenizer.position_embedding"}

    def layer_of(self, name: str) -> int:
        """See `Backbone.layer_of`; the tokenizer is an embedding, as published."""
        block = re.match(r"blocks\.(\d+)\.", name)
        if block is not None:
            return int(block[1]) + 1
        is_embedding = name.startswith(("patch_embedding.", "class_token", "registers", "tokenizer."))
        return 0 if is_embedding else len(self.blocks) + 1

    def fitted(self, tensors: Mapping[str, Tensor], trained: object) -> dict[str, Tensor]:
        """See `Backbone.fitted`; only from a backbone of the same shape, of any image size."""
        if not isinstance(trained, Sapiens2Config):
            family = getattr(trained, "family", type(trained).__name__)
            raise ValueError(f"a backbone of the family {family} cannot start one of sapiens2: give its --size")
        if trained.key_value_heads != self.config.key_value_heads:
            raise ValueError(
                f"a backbone of {trained.layers} blocks with {sum(trained.key_value_heads)} heads of keys cannot start "
                f"one of {self.config.layers} with {sum(self.config.key_value_heads)}"
            )
        return dict(tensors)


def _initialize(backbone: Sapiens2Backbone) -> None:
    """As published: weights and tokens truncated normal, biases 0."""
    if backbone.class_token.is_meta:  # drawing there would import PyTorch's compiler
        return
    for name, parameter in backbone.named_parameters():
        if name.endswith(".bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=START_STD)


def published_config(size: str, image_size: tuple[int, int], rope_dtype: RopeDtype = "bfloat16") -> Sapiens2Config:
    """Config of a published backbone. Raises ValueError for an unknown size."""
    if size not in PUBLISHED_SIZES:
        raise ValueError(f"no published size {size!r}; there are {', '.join(PUBLISHED_SIZES)}")
    shape = PUBLISHED_SIZES[size]
    return Sapiens2Config(
        image_size,
        key_value_heads=published_key_value_heads(shape["layers"], shape["heads"]),
        hidden_dim=4 * shape["embed_dim"],
        rope_dtype=rope_dtype,
        **shape,
    )
