"""Heads that are told where in its picture a crop lies, as nano's backbone says it (`backbones.nano.PLACE`).

A network sees a person as a camera would that is turned towards them. The picture's own camera is turned away by an
angle that grows with the distance from the picture's middle and with how wide the lens is: its depth has another slope
across the crop, and its normals are turned. These heads compute one channel more than they give, which says how much at
each pixel, since lens and proportions differ. It starts at 1: a focal length of the picture's diagonal.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from opensapiens.backbones.nano import PLACE

from .upsampling_head import UpsamplingHead

SLOPE = 2.0
"""How many times longer the diagonal of a crop is than the person in it is deep, about: depth is in the latter."""

Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps (B, C, h, w), and how far right and down of the picture's middle they are (B, 1, h, w), to such maps."""


class PlacedHead(UpsamplingHead):
    """An upsampling head whose maps are as the picture's camera sees them.

    Args:
        change: `sloped` or `turned`.
        The others as of UpsamplingHead; out_channels: without the one that says how much.
    """

    def __init__(
        self,
        change: Change,
        in_channels: int,
        out_channels: int,
        deconv_channels: Sequence[int] = (768, 768),
        conv_channels: Sequence[int] = (768, 768),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels + 1, deconv_channels, conv_channels, dropout)
        self.change = change
        assert self.output.bias is not None
        if not self.output.bias.is_meta:  # drawing there would import PyTorch's compiler
            nn.init.ones_(self.output.bias[-1:])

    def forward(
        self, features_BDHW: Tensor, seeds_B: Tensor | None = None, inputs: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """As UpsamplingHead, in float32; inputs: PLACE (B, 2), without which crops are in their pictures' middle."""
        maps = super().forward(features_BDHW, seeds_B).float()
        maps, change_B1hw = maps.split([maps.shape[1] - 1, 1], dim=1)
        if not inputs or PLACE not in inputs:
            return maps
        right, down = inputs[PLACE].to(maps)[:, :, None, None, None].unbind(dim=1)
        return self.change(maps, change_B1hw * right, change_B1hw * down)

    def extra_repr(self) -> str:
        """Which change, beside what the layers are."""
        return self.change.__name__


def sloped(depth_B1hw: Tensor, right_B1hw: Tensor, down_B1hw: Tensor) -> Tensor:
    """Depth with a slope across the crop, `right` and `down` for each SLOPE-th of the crop's diagonal."""
    # All of it tensors: ONNX has no arithmetic of sizes that are free in a graph.
    rows, columns = (torch.arange(side, device=depth_B1hw.device).float() for side in depth_B1hw.shape[-2:])
    diagonal = ((rows[-1] + 1) ** 2 + (columns[-1] + 1) ** 2).sqrt()
    across, below = (columns - columns[-1] / 2) / diagonal, (rows - rows[-1] / 2) / diagonal
    return depth_B1hw - SLOPE * (right_B1hw * across + down_B1hw * below[:, None])


def turned(normals_B3hw: Tensor, right_B1hw: Tensor, down_B1hw: Tensor) -> Tensor:
    """Normals (+x right, +y up) turned by small angles: what faces a camera that looks to the right faces left."""
    x, y, z = normals_B3hw.split(1, dim=1)
    return torch.cat([x - right_B1hw * z, y + down_B1hw * z, z + right_B1hw * x - down_B1hw * y], dim=1)
