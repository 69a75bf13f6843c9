"""nano: a small transformer between a convolutional stem, down to its patches, and a convolutional decoder, back up.

Convolutions start with what a vision transformer must learn from many images: that neighboring pixels belong together
(Xiao et al., arXiv 2106.14881). A patch's token alone also has little room to say where in the patch an elbow is.

nano also takes the position of a crop in its picture: a camera sees objects off its axis from the side, which turns the
depth and normals of a crop with its position (CLIFF, Li et al., ECCV 2022). `models.placed_head` uses it.

Axes in names: B batch, N tokens, K those of the kept patches, D width, H and W rows and columns.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensapiens.geometry.limits import MOST_CHANNELS, check_bounds

from . import transformer
from .position_embedding import resize_position_embedding, sincos_2d
from .sapiens import SapiensConfig, check_transformer
from .transformer import LAYER_NORM_EPS, Block, PatchConvolution, Transformer, in_whole_patches, initialize_transformer

GROUPS = 8  # of each group normalization; divides every width
FINEST = 4  # the least stride of the feature map
PLACE = "place"
"""The input beside pixels, (2,): the vector from the picture's center to the crop's, right and down along the crop's
axes, in picture diagonals."""


@dataclass(frozen=True)
class NanoConfig:
    """The shape of a nano backbone.

    Attributes:
        image_size: (height, width) in pixels of the position embedding.
        embed_dim: width of a token.
        layers: number of transformer blocks.
        heads: attention heads; divides embed_dim.
        stem_channels: of the stem's maps, from stride 2 on, one per power of two below the patch size. The feature map
            has as many channels as the stem at its stride.
        patch_size: side of a patch in pixels.
        mlp_ratio: hidden width of the MLP over embed_dim.
        feature_stride: pixels between neighbors in the feature map, a power of two from 4 to half the patch size.

    Raises:
        ValueError: a number out of bounds, or numbers that do not fit together.
    """

    family: ClassVar[str] = "nano"

    image_size: tuple[int, int]
    embed_dim: int
    layers: int
    heads: int
    stem_channels: tuple[int, ...]
    patch_size: int = 16
    mlp_ratio: int = 4
    feature_stride: int = FINEST

    def __post_init__(self) -> None:
        check_transformer(self.image_size, self.embed_dim, self.layers, self.heads, self.patch_size, self.mlp_ratio)
        maps = len(self.stem_channels)
        if 2 ** (maps + 1) != self.patch_size or self.patch_size <= FINEST:
            raise ValueError(f"a stem has a map for each power of two between 1 and {self.patch_size}, not {maps} maps")
        if self.feature_stride not in [2**level for level in range(2, maps + 1)]:
            raise ValueError(f"the stride of the features is a power of two from 4 to {self.patch_size // 2}")
        for width in self.stem_channels:
            check_bounds(MOST_CHANNELS, stem_channels=width)
        if any(width % GROUPS for width in (*self.stem_channels, self.embed_dim)):
            raise ValueError(f"the widths of a stem and of a token must be multiples of {GROUPS}")

    @property
    def feature_channels(self) -> int:
        """Channels of the feature map."""
        return self.decoder_channels[-1]

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Channels of the decoder's maps, coarsest first."""
        return self.stem_channels[: self.feature_stride.bit_length() - 3 : -1]

    @property
    def prefix_tokens(self) -> int:
        """None: there are only patch tokens."""
        return 0

    def grid(self, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
        """Rows and columns of patches for an image of the given (height, width), by default the model's own."""
        height, width = image_size or self.image_size
        return -(-height // self.patch_size), -(-width // self.patch_size)

    def build(self) -> "NanoBackbone":
        """The network, freshly initialized."""
        return NanoBackbone(self)

    def view_inputs(self, picture_3: np.ndarray, size_hw: tuple[int, int]) -> dict[str, np.ndarray]:
        """PLACE of a crop of (height, width) in its picture, see `geometry.location`."""
        height, width = size_hw
        middle = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
        return {PLACE: (middle - picture_3[:2]) / picture_3[2]}

    def mirrored(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """PLACE with right and left swapped."""
        return {name: places * places.new_tensor([-1, 1]) for name, places in inputs.items()}

    def multiply_adds(self, image_size: tuple[int, int] | None = None, kept: int | None = None) -> int:
        """Multiply-adds of one image, without norms and activations (below 1 %); kept: patches encoded."""
        patches = math.prod(self.grid(image_size))
        tokens = patches if kept is None else kept
        embedding = patches * 3 * self.patch_size**2 * self.embed_dim
        blocks = self.layers * transformer.block_multiply_adds(self.embed_dim, self.mlp_ratio, tokens)
        return embedding + blocks + self._convolution_multiply_adds(patches)

    def _convolution_multiply_adds(self, patches: int) -> int:
        with torch.device("meta"):
            stem = ConvolutionalStem(self.stem_channels, self.embed_dim)
            decoder = ConvolutionalDecoder(self.decoder_channels, self.embed_dim)

        def weights(module: nn.Module) -> int:
            return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d))

        total = patches * weights(stem.projection)
        for finer, level in enumerate(reversed(stem.levels)):  # the last has the patches' stride
            total += patches * 4**finer * weights(level)
        for finer, (up, level) in enumerate(zip(decoder.ups, decoder.levels, strict=True)):
            total += patches * 4**finer * (up.weight.numel() + 4 * weights(level))  # type: ignore[operator]
        return total

    def block_activation_bytes(self, tokens: int, half: bool) -> int:
        """See `transformer.block_activation_bytes`."""
        return transformer.block_activation_bytes(self.embed_dim, self.heads, tokens, half)


class NanoBackbone(Transformer):
    """Patches and a convolutional stem, absolute position embedding, pre-norm blocks, a final norm, and a decoder."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = PatchConvolution(config.embed_dim, config.patch_size)
        self.position_embedding = nn.Parameter(sincos_2d(config.embed_dim, config.grid()))
        self.blocks = nn.ModuleList(
            Block(config.embed_dim, config.heads, config.mlp_ratio) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.stem = ConvolutionalStem(config.stem_channels, config.embed_dim)
        self.decoder = ConvolutionalDecoder(config.decoder_channels, config.embed_dim)
        initialize_transformer(self.blocks)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalized RGB images (B, 3, H, W) to the feature map (B, feature_channels, H / stride, W / stride)."""
        tokens, grid, pyramid = self.embed(images_B3HW)
        features = self.encode(tokens).transpose(1, 2).unflatten(2, grid).contiguous()
        return self.decoder(features, pyramid)

    def tokens(self, images_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """All tokens (B, N, D), final norm applied; kept_BK: see `Backbone.tokens`."""
        tokens = self.embed(images_B3HW)[0]
        if kept_BK is not None:
            tokens = tokens.gather(1, kept_BK.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
        return self.encode(tokens)

    def embed(self, images_B3HW: Tensor) -> tuple[Tensor, tuple[int, int], list[Tensor]]:
        """The input tokens of the first block, the patch grid, and the stem's maps, finest first."""
        images_B3HW = in_whole_patches(images_B3HW, self.config.patch_size)
        pyramid, at_patches = self.stem(images_B3HW)
        patches = self.patch_embedding(images_B3HW) + at_patches
        grid = patches.shape[2], patches.shape[3]
        positions = resize_position_embedding(self.position_embedding, self.config.grid(), grid)
        return patches.flatten(2).transpose(1, 2) + positions, grid, pyramid

    def no_decay(self) -> Collection[str]:
        """See `Backbone.no_decay`."""
        return {"position_embedding"}

    def fitted(self, tensors: Mapping[str, Tensor], trained: object) -> dict[str, Tensor]:
        """See `Backbone.fitted`. From a Sapiens backbone, which has no convolutions, those of this one stay; from a
        deeper nano, or one with a finer feature map, the first blocks and the coarse maps are taken."""
        if not isinstance(trained, NanoConfig | SapiensConfig):
            raise ValueError("a nano backbone starts from a nano or a Sapiens backbone")
        fitted = transformer.grown(tensors, trained.layers, self.config.layers)
        if isinstance(trained, NanoConfig):
            own = self.state_dict().keys()
            fitted = {name: tensor for name, tensor in fitted.items() if name in own}
        fitted = transformer.fitted_transformer(
            fitted, trained.grid(), bool(trained.prefix_tokens), self.config.grid(), class_token=False
        )
        if isinstance(trained, SapiensConfig):
            fitted |= {name: t for name, t in self.state_dict().items() if name.startswith(("stem.", "decoder."))}
        return fitted


class ConvolutionalStem(nn.Module):
    """Feature maps of an image at strides 2, 4, 8, ..., and what they add to its patches."""

    def __init__(self, channels: Sequence[int], embed_dim: int) -> None:
        super().__init__()
        finest, *others = channels
        self.levels = nn.ModuleList([NormalizedConvolution(3, finest, stride=2)])
        for before, width in zip(channels[:-1], others, strict=True):
            down = NormalizedConvolution(before, width, stride=2)
            self.levels.append(nn.Sequential(down, ResidualConvolution(width)))
        self.levels.append(NormalizedConvolution(channels[-1], embed_dim, stride=2))
        self.projection = nn.Conv2d(embed_dim, embed_dim, 1)

    def forward(self, images_B3HW: Tensor) -> tuple[list[Tensor], Tensor]:
        """Normalized images in whole patches to the maps, finest first, and (B, D, rows, columns) for the patches."""
        maps, pyramid = images_B3HW, []
        for level in self.levels:
            maps = level(maps)
            pyramid.append(maps)
        return pyramid[:-1], self.projection(maps)


class ConvolutionalDecoder(nn.Module):
    """Upsamples the patches' features to the feature map's stride, adding the stem's map at each step."""

    def __init__(self, channels: Sequence[int], embed_dim: int) -> None:
        super().__init__()
        self.ups = nn.ModuleList()
        self.levels = nn.ModuleList()
        before = embed_dim
        for width in channels:
            self.ups.append(nn.ConvTranspose2d(before, width, 4, stride=2, padding=1, bias=False))
            self.levels.append(
                nn.Sequential(
                    nn.GroupNorm(GROUPS, width), nn.SiLU(), ResidualConvolution(width), ResidualConvolution(width)
                )
            )
            before = width

    def forward(self, features_BDHW: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        """Features of the patches (B, D, rows, columns) and the stem's maps, finest first, to the feature map."""
        maps = features_BDHW
        for up, level, skip in zip(self.ups, self.levels, reversed(pyramid), strict=False):
            maps = level(up(maps) + skip)
        return maps


class NormalizedConvolution(nn.Module):
    """A 3x3 convolution, group normalization and SiLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return F.silu(self.norm(self.convolution(maps)))


class ResidualConvolution(NormalizedConvolution):
    """A NormalizedConvolution added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return maps + super().forward(maps)
