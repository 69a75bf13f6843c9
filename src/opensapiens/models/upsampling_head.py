"""The one head of every dense Sapiens task: transposed convolutions up, then 1x1 convolutions (paper, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from .sample_noise import sample_uniform

INSTANCE_NORM_EPS = 1e-5


@dataclass(frozen=True)
class ScaleBranch:
    """What reads one scale per image from the features, beside a head of points.

    channels: of its 1x1 convolutions of stride 2. inputs: numbers that these leave, of all channels and places, which
    fixes the size of the input. hidden: widths of the linear layers between them and the scale.
    """

    channels: tuple[int, ...]
    inputs: int
    hidden: tuple[int, ...]


@dataclass(frozen=True)
class HeadShape:
    """Channels of a head's enlarging layers and of the convolutions after them, and the share of channels dropped
    before the output.

    start_std: initial standard deviation of all convolutions of an UpsamplingHead; None = as it starts. kind: a key of
    `models.heads.HEADS`. scale: the branch of a head of points.
    """

    deconv_channels: tuple[int, ...]
    conv_channels: tuple[int, ...]
    dropout: float = 0.0
    start_std: float | None = None
    kind: str = "upsampling"
    scale: ScaleBranch | None = None


def _start(layer: nn.Module, std: float) -> None:
    """Normal(0, std) weight and zero bias; skips the meta device, where drawing imports PyTorch's compiler."""
    if any(parameter.is_meta for parameter in layer.parameters()):
        return
    for name, parameter in layer.named_parameters():
        nn.init.zeros_(parameter) if name == "bias" else nn.init.normal_(parameter, std=std)


class UpsamplingHead(nn.Module):
    """Features (B, C, h, w) to maps (B, out_channels, h * 2^n, w * 2^n), with n transposed convolutions.

    Every layer but the last is followed by instance normalization (without parameters, always by the image's own
    statistics) and SiLU. In training, whole channels are dropped before the last layer.

    Initialized as the published segmentation, depth and normal heads: output Normal(0, 0.01), the rest by PyTorch.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        deconv_channels: Sequence[int] = (768, 768),
        conv_channels: Sequence[int] = (768, 768),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.deconvs = nn.ModuleList()
        self.convs = nn.ModuleList()
        width = in_channels
        for channels in deconv_channels:
            self.deconvs.append(nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1, bias=False))
            width = channels
        for channels in conv_channels:
            # The normalization removes the bias, but the published weights have one.
            self.convs.append(nn.Conv2d(width, channels, 1))
            width = channels
        self.output = nn.Conv2d(width, out_channels, 1)
        _start(self.output, std=0.01)

    def forward(
        self, features_BDHW: Tensor, seeds_B: Tensor | None = None, inputs: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Features to maps. seeds_B: int64, of the dropped channels; None = the global generator. inputs: ignored."""
        maps = features_BDHW
        for layer in (*self.deconvs, *self.convs):
            maps = layer(maps)
            # Instance normalization; this kernel is faster than instance_norm and keeps the memory format.
            maps = F.silu(F.group_norm(maps, maps.shape[1], eps=INSTANCE_NORM_EPS))
        if self.dropout and self.training and seeds_B is not None:
            kept = sample_uniform(seeds_B, maps.shape[1]) >= self.dropout
            maps = maps * (kept / (1 - self.dropout))[:, :, None, None].to(maps.dtype)
        elif self.dropout:
            maps = F.dropout2d(maps, self.dropout, self.training)
        return self.output(maps)

    def start(self, std: float) -> None:
        """Sets all weights to Normal(0, std) and biases to 0, as published for pose heads, with 0.001."""
        for layer in (*self.deconvs, *self.convs, self.output):
            _start(layer, std)

    def multiply_adds(self, grid: tuple[int, int]) -> int:
        """See `Head`."""
        total = 0
        pixels = grid[0] * grid[1]
        for layer in (*self.deconvs, *self.convs, self.output):
            # A transposed convolution applies its whole kernel to each input pixel, before the map grows.
            total += pixels * layer.weight.numel()
            if isinstance(layer, nn.ConvTranspose2d):
                pixels *= layer.stride[0] * layer.stride[1]
        return total

    def activation_bytes(self, grid: tuple[int, int], half: bool) -> int:
        """See `Head`.

        For each layer but the last these are its output before and after the norm, in float32, and after the SiLU; the
        latter and the features are 16-bit with half (autocast on a GPU runs the norm in float32).
        """
        narrow = 2 if half else 4
        pixels = grid[0] * grid[1]
        layers = (*self.deconvs, *self.convs, self.output)
        first = layers[0].weight.shape  # (in, out, 4, 4) of a transposed convolution, (out, in, 1, 1) of the others
        total = pixels * (first[0] if isinstance(layers[0], nn.ConvTranspose2d) else first[1]) * narrow
        for layer in layers[:-1]:
            transposed = isinstance(layer, nn.ConvTranspose2d)
            if transposed:
                pixels *= layer.stride[0] * layer.stride[1]
            total += pixels * layer.weight.shape[1 if transposed else 0] * (4 + 4 + narrow)
        return total
