"""Heads that take the position of a crop in its picture (`backbones.nano.PLACE`).

A network sees a person like a camera turned towards them. The picture's camera is turned away by an angle that grows
with the distance from the picture's center and with the width of the lens, so its depth slopes differently across the
crop and its normals are turned. These heads compute one additional channel: by how much, at each pixel, since lens and
proportions vary. It starts at 1: a focal length equal to the picture's diagonal.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from opensapiens.backbones.nano import PLACE

from .upsampling_head import UpsamplingHead

SLOPE = 2.0  # diagonal of a crop over the extent in depth of the person in it, roughly; depth is in units of the latter
Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Changes maps (B, C, h, w) by how far right and down of the picture's center they are, (B, 1, h, w) each."""


class PlacedHead(UpsamplingHead):
    """An upsampling head whose maps are as seen by the picture's camera.

    Args:
        change: `sloped` or `turned`.
        out_channels: without the additional one. The rest is as in UpsamplingHead.
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
        """As UpsamplingHead, in float32; inputs: PLACE (B, 2), by default the picture's center."""
        maps = super().forward(features_BDHW, seeds_B).float()
        maps, change_B1hw = maps.split([maps.shape[1] - 1, 1], dim=1)
        if not inputs or PLACE not in inputs:
            return maps
        right, down = inputs[PLACE].to(maps)[:, :, None, None, None].unbind(dim=1)
        return self.change(maps, change_B1hw * right, change_B1hw * down)

    def extra_repr(self) -> str:
        """The name of the change."""
        return self.change.__name__


def sloped(depth_B1hw: Tensor, right_B1hw: Tensor, down_B1hw: Tensor) -> Tensor:
    """Depth with an added slope of `right` and `down` per 1 / SLOPE of the crop's diagonal."""
    # All tensors, since ONNX has no arithmetic on dynamic sizes.
    rows, columns = (torch.arange(side, device=depth_B1hw.device).float() for side in depth_B1hw.shape[-2:])
    diagonal = ((rows[-1] + 1) ** 2 + (columns[-1] + 1) ** 2).sqrt()
    across, below = (columns - columns[-1] / 2) / diagonal, (rows - rows[-1] / 2) / diagonal
    return depth_B1hw - SLOPE * (right_B1hw * across + down_B1hw * below[:, None])


def turned(normals_B3hw: Tensor, right_B1hw: Tensor, down_B1hw: Tensor) -> Tensor:
    """Normals (+x right, +y up) turned by small angles: a surface facing a camera that looks right faces left."""
    x, y, z = normals_B3hw.split(1, dim=1)
    return torch.cat([x - right_B1hw * z, y + down_B1hw * z, z + right_B1hw * x - down_B1hw * y], dim=1)
