"""The head of the person detector: 3x3 convolutions at the feature map's own stride (as in FCOS, arXiv 1904.01355)."""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8
RARE = -4.6
"""Logit of 1 %: few places are the middle of a person."""


class DetectionHead(nn.Module):
    """Features (B, C, h, w) to maps (B, out_channels, h, w), of which the first is a score.

    Not an UpsamplingHead: the instance normalization there removes how strong a channel is in the whole picture, and so
    whether there is anybody.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        deconv_channels: Sequence[int] = (),
        conv_channels: Sequence[int] = (96,),
        dropout: float = 0.0,
    ) -> None:
        """Raises ValueError for transposed convolutions or dropout, which it does not have."""
        super().__init__()
        if deconv_channels or dropout:
            raise ValueError("a detection head has neither transposed convolutions nor dropout")
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        width = in_channels
        for channels in conv_channels:
            self.convs.append(nn.Conv2d(width, channels, 3, padding=1, bias=False))
            self.norms.append(nn.GroupNorm(GROUPS, channels))
            width = channels
        self.output = nn.Conv2d(width, out_channels, 1)
        if not self.output.weight.is_meta:  # drawing there would import PyTorch's compiler
            nn.init.normal_(self.output.weight, std=0.01)
            nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]
            nn.init.constant_(self.output.bias[:1], RARE)  # type: ignore[index]

    def forward(
        self, features_BDHW: Tensor, seeds_B: Tensor | None = None, inputs: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Features to maps; seeds and inputs are ignored."""
        maps = features_BDHW
        for convolution, norm in zip(self.convs, self.norms, strict=True):
            maps = F.silu(norm(convolution(maps)))
        return self.output(maps)

    def multiply_adds(self, grid: tuple[int, int]) -> int:
        """See `Head`."""
        return grid[0] * grid[1] * sum(layer.weight.numel() for layer in (*self.convs, self.output))

    def activation_bytes(self, grid: tuple[int, int], half: bool) -> int:
        """See `Head`: of each layer the output before and after the norm, in float32, and after the SiLU."""
        narrow = 2 if half else 4
        widths = [layer.weight.shape[1] for layer in (*self.convs, self.output)]
        return grid[0] * grid[1] * (widths[0] * narrow + sum(width * (8 + narrow) for width in widths[1:]))
