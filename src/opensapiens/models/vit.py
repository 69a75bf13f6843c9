"""The Sapiens vision transformer (ECCV 2024): one plain backbone for every size and task.

Axes in names: B batch, N tokens, D width, H and W rows and columns.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolutional_pyramid import FINEST, ConvolutionalDecoder, ConvolutionalStem, check_pyramid
from .position_embedding import resize_position_embedding, sincos_2d

LAYER_NORM_EPS = 1e-6
PLAIN_UP_TO = 512
"""Tokens for which the matrix of all pairs may stand in memory."""

PUBLISHED_SIZES: dict[str, dict[str, int]] = {
    "0.3b": {"embed_dim": 1024, "layers": 24, "heads": 16},
    "0.6b": {"embed_dim": 1280, "layers": 32, "heads": 16},
    "1b": {"embed_dim": 1536, "layers": 40, "heads": 24},
    "2b": {"embed_dim": 1920, "layers": 48, "heads": 32},
}
"""Width, depth and attention heads of the four published backbones (paper, Table 1)."""


@dataclass(frozen=True)
class ViTConfig:
    """Everything that decides the shape of a backbone.

    Attributes:
        image_size: height and width in pixels that the position embedding is made for.
        embed_dim: width of a token.
        layers: number of transformer blocks.
        heads: attention heads; divides embed_dim.
        patch_size: side of a patch in pixels.
        patch_padding: zeros put around the normalised image inside the patch convolution. The published pose and normal
            weights need 2, those of pretraining, 28-part segmentation and depth need 0. A wrong value loads without a
            word and shifts every patch.
        mlp_ratio: hidden width of the MLP over embed_dim.
        class_token: prepend a learned token (pretraining only).
        stem_channels: of the maps of a convolutional stem beside the patches, from stride 2 on, one for each power of
            two below the patch size; then the feature map has stride 4, and as many channels as the stem there. Empty:
            no stem, as in all published models.
    """

    image_size: tuple[int, int]
    embed_dim: int
    layers: int
    heads: int
    patch_size: int = 16
    patch_padding: int = 0
    mlp_ratio: int = 4
    class_token: bool = False
    stem_channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # Lists come from JSON; tuples keep the config hashable.
        object.__setattr__(self, "image_size", tuple(self.image_size))
        object.__setattr__(self, "stem_channels", tuple(self.stem_channels))
        if len(self.image_size) != 2 or min(self.image_size) < self.patch_size:
            raise ValueError(f"image_size must be (height, width) of at least one patch, not {self.image_size}")
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not divisible by {self.heads} heads")
        if self.stem_channels:
            check_pyramid(self.stem_channels, self.embed_dim, self.patch_size)
            if self.patch_padding or self.class_token:
                raise ValueError("a convolutional stem goes with neither patch_padding nor a class token")

    @property
    def feature_channels(self) -> int:
        """Channels of the feature map, which heads take."""
        return self.stem_channels[1] if self.stem_channels else self.embed_dim

    @property
    def feature_stride(self) -> int:
        """Pixels between neighbours in the feature map."""
        return FINEST if self.stem_channels else self.patch_size

    def grid(self, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
        """Rows and columns of patches for an image of the given (height, width), by default the model's own."""
        height, width = image_size or self.image_size
        # The published model pads right and below up to whole patches, unless patch_padding is set; then the
        # convolution floors. At whole patches both give size / patch_size.
        spare = 2 * self.patch_padding if self.patch_padding else self.patch_size - 1
        return (height + spare) // self.patch_size, (width + spare) // self.patch_size


class PatchConvolution(nn.Module):
    """The published patch embedding: one convolution with stride = kernel = patch."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(
            3, config.embed_dim, config.patch_size, stride=config.patch_size, padding=config.patch_padding
        )
        # Xavier over the flattened (D, 3 p p) matrix, as a linear layer; the bias keeps PyTorch's default.
        nn.init.xavier_uniform_(self.projection.weight.view(config.embed_dim, -1))

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalised images to a (B, D, rows, columns) map; what is over after whole patches is left out."""
        return self.projection(images_B3HW)


class Attention(nn.Module):
    """Multi-head self-attention: one fused linear layer gives queries, keys and values, in that order."""

    def __init__(self, embed_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.projection = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """Attention of all tokens to all; (B, N, D) to (B, N, D)."""
        batch, length, width = tokens_BND.shape
        qkv = self.qkv(tokens_BND).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind()
        mixed = attend(query, key, value)
        return self.projection(mixed.transpose(1, 2).reshape(batch, length, width))


def attend(query_BHND: Tensor, key_BHND: Tensor, value_BHND: Tensor) -> Tensor:
    """Scaled dot-product attention; (B, heads, N, D) to the same shape."""
    if query_BHND.device.type == "cpu" and query_BHND.dtype == torch.bfloat16 and query_BHND.shape[2] <= PLAIN_UP_TO:
        # PyTorch's kernel for this case takes five times as long, forward and backward.
        weights = (query_BHND * query_BHND.shape[-1] ** -0.5) @ key_BHND.transpose(-2, -1)
        return weights.softmax(dim=-1) @ value_BHND
    return F.scaled_dot_product_attention(query_BHND, key_BHND, value_BHND)


class MLP(nn.Module):
    """Two linear layers with the exact (erf) GELU between."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        return self.fc2(F.gelu(self.fc1(tokens_BND)))


class Block(nn.Module):
    """One pre-norm transformer block. No dropout, stochastic depth or layer scale: the published models use none."""

    def __init__(self, embed_dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.attention = Attention(embed_dim, heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.mlp = MLP(embed_dim, mlp_ratio * embed_dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        tokens_BND = tokens_BND + self.attention(self.norm1(tokens_BND))
        return tokens_BND + self.mlp(self.norm2(tokens_BND))


def initialise_transformer(module: nn.Module) -> None:
    """Start all linear layers of module as published: Xavier-uniform weights, zero biases (MLP: Normal(0, 1e-6))."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if ".mlp." in f".{name}." and not layer.bias.is_meta:  # drawing there would import PyTorch's compiler
                nn.init.normal_(layer.bias, std=1e-6)
            else:
                nn.init.zeros_(layer.bias)


class VisionTransformer(nn.Module):
    """The backbone: patches, absolute position embedding, pre-norm blocks, a final norm.

    The position embedding is learned and starts as the sine-cosine table that MaskedAutoencoder keeps fixed.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid()
        self.patch_embedding = PatchConvolution(config)
        if config.class_token:
            self.class_token = nn.Parameter(torch.empty(1, 1, config.embed_dim))
            if not self.class_token.is_meta:  # drawing there would import PyTorch's compiler
                nn.init.normal_(self.class_token, std=0.02)
        # Published: a truncated normal of 0.02 when there is no checkpoint. Beside patch embeddings that are sixty
        # times larger the blocks could not tell where a patch is; with the table of pretraining they can from the first
        # step, and nano's pose loss fell about twice as fast at first.
        self.position_embedding = nn.Parameter(sincos_2d(config.embed_dim, (rows, columns), config.class_token))
        self.blocks = nn.ModuleList(
            Block(config.embed_dim, config.heads, config.mlp_ratio) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        if config.stem_channels:
            self.stem = ConvolutionalStem(config.stem_channels, config.embed_dim)
            self.decoder = ConvolutionalDecoder(config.stem_channels, config.embed_dim)
        initialise_transformer(self.blocks)

    def patch_tokens(self, images_B3HW: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Normalised images to patch tokens (B, N, D) without positions, row-major, and the grid (rows, columns)."""
        return self.tokens_and_pyramid(images_B3HW)[:2]

    def tokens_and_pyramid(self, images_B3HW: Tensor) -> tuple[Tensor, tuple[int, int], list[Tensor]]:
        """The same, and the maps of the stem, finest first; none without a stem."""
        patch = self.config.patch_size
        below, right = -images_B3HW.shape[2] % patch, -images_B3HW.shape[3] % patch
        if not self.config.patch_padding and (below or right):
            images_B3HW = F.pad(images_B3HW, (0, right, 0, below))
        patches, pyramid = self.patch_embedding(images_B3HW), []
        if self.config.stem_channels:
            pyramid, at_patches = self.stem(images_B3HW)
            patches = patches + at_patches
        return patches.flatten(2).transpose(1, 2), (patches.shape[2], patches.shape[3]), pyramid

    def positions(self, grid: tuple[int, int]) -> tuple[Tensor | None, Tensor]:
        """Position embeddings of the class token (None without one) and of a grid's patches, resized if need be."""
        extra = int(self.config.class_token)
        patch_positions = resize_position_embedding(self.position_embedding[:, extra:], self.config.grid(), grid)
        return (self.position_embedding[:, :1] if extra else None), patch_positions

    def embed(self, images_B3HW: Tensor) -> tuple[Tensor, tuple[int, int], list[Tensor]]:
        """Normalised images to the tokens that enter the first block, class token first, the patch grid, and the
        stem's maps, finest first."""
        tokens, grid, pyramid = self.tokens_and_pyramid(images_B3HW)
        class_position, patch_positions = self.positions(grid)
        tokens = tokens + patch_positions
        return self.prepend_class_token(tokens, class_position), grid, pyramid

    def prepend_class_token(self, tokens_BND: Tensor, class_position: Tensor | None) -> Tensor:
        """Put the class token with its position before the others; nothing to do where the model has none."""
        if class_position is None:
            return tokens_BND
        first = (self.class_token + class_position).expand(tokens_BND.shape[0], -1, -1)
        return torch.cat([first, tokens_BND], dim=1)

    def encode(self, tokens_BND: Tensor) -> Tensor:
        """All blocks and the final norm."""
        for block in self.blocks:
            tokens_BND = block(tokens_BND)
        return self.norm(tokens_BND)

    def forward_tokens(self, images_B3HW: Tensor) -> Tensor:
        """Normalised RGB images (B, 3, H, W) to all tokens (B, N, D), class token first, final norm applied."""
        return self.encode(self.embed(images_B3HW)[0])

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalised RGB images (B, 3, H, W) to the feature map, final norm applied: (B, D, rows, columns), with a
        stem (B, feature_channels, H / 4, W / 4)."""
        return self.feature_map(*self.embed(images_B3HW))

    def feature_map(self, tokens_BND: Tensor, grid: tuple[int, int], pyramid: list[Tensor]) -> Tensor:
        """The feature map from what `embed` gives."""
        tokens = self.encode(tokens_BND)[:, int(self.config.class_token) :]
        # Contiguous: the heads' convolutions take over the layout of their input, and on a CPU their backward takes
        # half as long again in the channels-last one of the bare view. A model moved to channels_last gets that anyway.
        features = tokens.transpose(1, 2).unflatten(2, grid).contiguous()
        return self.decoder(features, pyramid) if pyramid else features


def published_config(
    size: str, image_size: tuple[int, int], patch_padding: int = 0, class_token: bool = False
) -> ViTConfig:
    """Config of a published backbone: 1024x768 images for the tasks, 1024x1024 and a class token for pretraining."""
    if size not in PUBLISHED_SIZES:
        raise ValueError(f"no published size {size!r}; there are {', '.join(PUBLISHED_SIZES)}")
    shape = PUBLISHED_SIZES[size]
    return ViTConfig(
        image_size,
        embed_dim=shape["embed_dim"],
        layers=shape["layers"],
        heads=shape["heads"],
        patch_padding=patch_padding,
        class_token=class_token,
    )
