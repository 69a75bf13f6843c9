"""Convolutions around a small transformer: a stem down to its patches and a decoder back up, with skip connections.

What convolutions start with, that neighbouring pixels belong together, a vision transformer has to learn, from more
images than a small budget holds (Xiao et al., arXiv 2106.14881); and a patch's token has little room for where in the
patch an elbow is. The published models have neither part.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8
"""Of each group normalisation; every width is a multiple."""
FINEST = 4
"""Stride of the decoder's map."""


def check_pyramid(channels: Sequence[int], embed_dim: int, patch_size: int) -> None:
    """Raises ValueError where a stem of these channels does not fit the patches or its normalisation."""
    if 2 ** (len(channels) + 1) != patch_size or patch_size <= FINEST:
        raise ValueError(f"a stem has a map for each power of two between 1 and {patch_size}, not {len(channels)} maps")
    if any(width % GROUPS for width in (*channels, embed_dim)):
        raise ValueError(f"the widths of a stem and of a token must be multiples of {GROUPS}")


class ConvolutionalStem(nn.Module):
    """Feature maps at strides 2, 4, 8, ... of an image, and what they add to its patches.

    Args:
        channels: of the maps, from stride 2 on; see `check_pyramid`.
        embed_dim: width of a token.
    """

    def __init__(self, channels: Sequence[int], embed_dim: int) -> None:
        super().__init__()
        finest, *others = channels
        self.levels = nn.ModuleList([NormalisedConvolution(3, finest, stride=2)])
        for before, width in zip(channels[:-1], others, strict=True):
            down = NormalisedConvolution(before, width, stride=2)
            self.levels.append(nn.Sequential(down, ResidualConvolution(width)))
        self.levels.append(NormalisedConvolution(channels[-1], embed_dim, stride=2))
        self.projection = nn.Conv2d(embed_dim, embed_dim, 1)

    def forward(self, images_B3HW: Tensor) -> tuple[list[Tensor], Tensor]:
        """Normalised images, in whole patches, to the maps, finest first, and the (B, D, rows, columns) to add to the
        patches."""
        maps, pyramid = images_B3HW, []
        for level in self.levels:
            maps = level(maps)
            pyramid.append(maps)
        return pyramid[:-1], self.projection(maps)


class ConvolutionalDecoder(nn.Module):
    """The patches' features back up to stride 4, with the stem's maps added at each step."""

    def __init__(self, channels: Sequence[int], embed_dim: int) -> None:
        super().__init__()
        self.ups = nn.ModuleList()
        self.levels = nn.ModuleList()
        before = embed_dim
        for width in reversed(channels[1:]):
            self.ups.append(nn.ConvTranspose2d(before, width, 4, stride=2, padding=1, bias=False))
            self.levels.append(
                nn.Sequential(
                    nn.GroupNorm(GROUPS, width), nn.SiLU(), ResidualConvolution(width), ResidualConvolution(width)
                )
            )
            before = width

    def forward(self, features_BDHW: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        """Features of the patches (B, D, rows, columns) and the stem's maps to (B, channels[1], 4 rows, 4 columns)."""
        maps = features_BDHW
        for up, level, skip in zip(self.ups, self.levels, reversed(pyramid[1:]), strict=True):
            maps = level(up(maps) + skip)
        return maps


class NormalisedConvolution(nn.Module):
    """A 3x3 convolution, group normalisation and SiLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return F.silu(self.norm(self.convolution(maps)))


class ResidualConvolution(NormalisedConvolution):
    """The same, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return maps + super().forward(maps)
