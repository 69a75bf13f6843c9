"""The heads of Sapiens2 for maps in the input's resolution: 3x3 convolutions, and pixels from channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .upsampling_head import INSTANCE_NORM_EPS, HeadShape, ScaleBranch

RMS_NORM_EPS = 1e-6


class InstanceNorm(nn.Module):
    """Each channel of each image by its own mean and variance, without parameters, in training and in use."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """The same shape."""
        return F.group_norm(maps_BCHW, maps_BCHW.shape[1], eps=INSTANCE_NORM_EPS)


class ChannelNorm(nn.Module):
    """Each pixel by the root mean square over its channels, with a weight per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """The same shape."""
        size = (maps_BCHW.shape[1],)
        return F.rms_norm(maps_BCHW.movedim(1, -1), size, self.weight, RMS_NORM_EPS).movedim(-1, 1)


class Step(nn.Module):
    """A convolution, to sides twice as long if `enlarges`, a norm and SiLU."""

    def __init__(
        self, in_channels: int, out_channels: int, norm: type[InstanceNorm | ChannelNorm], enlarges: bool = False
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels * (4 if enlarges else 1), 3, padding=1)
        self.norm = norm(out_channels)
        self.enlarges = enlarges

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W), or 2 H and 2 W."""
        maps_BCHW = self.convolution(maps_BCHW)
        return F.silu(self.norm(F.pixel_shuffle(maps_BCHW, 2) if self.enlarges else maps_BCHW))


class PixelShuffleHead(nn.Module):
    """Features (B, C, h, w) to maps (B, out_channels, h * 2^n, w * 2^n), with n enlarging steps.

    Initialized as published: convolutions Kaiming-normal by their outputs, biases 0.
    """

    def __init__(
        self, norm: type[InstanceNorm | ChannelNorm], in_channels: int, out_channels: int, shape: HeadShape
    ) -> None:
        """Raises ValueError for dropout, which these heads do not have."""
        super().__init__()
        if shape.dropout:
            raise ValueError("a pixel-shuffle head has no dropout")
        self.input = Step(in_channels, in_channels, norm)
        ups = (in_channels, *shape.deconv_channels)
        self.ups = nn.ModuleList(Step(before, width, norm, enlarges=True) for before, width in pairwise(ups))
        convs = (ups[-1], *shape.conv_channels)
        self.convs = nn.ModuleList(Step(before, width, norm) for before, width in pairwise(convs))
        self.output = nn.Conv2d(convs[-1], out_channels, 1)
        self.apply(_initialize)

    def forward(
        self, features_BDHW: Tensor, seeds_B: Tensor | None = None, inputs: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Features to maps; seeds and inputs are ignored."""
        maps = features_BDHW
        for step in (self.input, *self.ups, *self.convs):
            maps = step(maps)
        return self.output(maps)

    def steps(self) -> list[Step]:
        """All but the last layer, in order."""
        return [self.input, *self.ups, *self.convs]

    def multiply_adds(self, grid: tuple[int, int]) -> int:
        """See `Head`."""
        total, pixels = 0, grid[0] * grid[1]
        for step in self.steps():
            total += pixels * step.convolution.weight.numel()
            pixels *= 4 if step.enlarges else 1
        return total + pixels * self.output.weight.numel()

    def activation_bytes(self, grid: tuple[int, int], half: bool) -> int:
        """See `Head`: of each step its input, the output of its convolution and of its norm."""
        narrow = 2 if half else 4
        pixels = grid[0] * grid[1]
        total = pixels * self.input.convolution.weight.shape[1] * narrow
        for step in self.steps():
            pixels *= 4 if step.enlarges else 1
            width = step.convolution.weight.shape[0] // (4 if step.enlarges else 1)
            total += pixels * width * (4 + 4 + narrow)
        return total


class PointmapHead(PixelShuffleHead):
    """A pixel-shuffle head of points, and beside it a branch that predicts one scale per image from the features.

    The scale comes out as one more channel of the maps, with the same value everywhere.
    """

    def __init__(
        self, norm: type[InstanceNorm | ChannelNorm], in_channels: int, out_channels: int, shape: HeadShape
    ) -> None:
        """out_channels: without the scale. Raises ValueError for a shape without a scale branch."""
        super().__init__(norm, in_channels, out_channels, shape)
        if shape.scale is None:
            raise ValueError("a pointmap head has a scale branch")
        convs = (in_channels, *shape.scale.channels)
        self.scale_convs = nn.ModuleList(nn.Conv2d(before, width, 1, stride=2) for before, width in pairwise(convs))
        layers = (shape.scale.inputs, *shape.scale.hidden, 1)
        self.scale_layers = nn.ModuleList(nn.Linear(before, width) for before, width in pairwise(layers))
        self.scale_convs.apply(_initialize)
        self.scale_layers.apply(_initialize)

    def forward(
        self, features_BDHW: Tensor, seeds_B: Tensor | None = None, inputs: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Features to (B, out_channels + 1, H, W), the scale last; seeds and inputs are ignored.

        Raises ValueError for features of another size than the scale branch is for.
        """
        maps = super().forward(features_BDHW)
        scale_B1 = self.scale(features_BDHW)
        return torch.cat([maps, scale_B1[:, :, None, None].expand(-1, -1, *maps.shape[2:])], dim=1)

    def scale(self, features_BDHW: Tensor) -> Tensor:
        """(B, 1): the focal length that the points are for over the image's own."""
        small = features_BDHW
        for convolution in self.scale_convs:
            small = convolution(small)
            # Not functional.group_norm, which refuses a single place, as small inputs leave.
            small = F.silu(torch.group_norm(small, small.shape[1], eps=INSTANCE_NORM_EPS))
        values = small.flatten(1)
        first = self.scale_layers[0]
        assert isinstance(first, nn.Linear)
        if values.shape[1] != first.in_features:
            raise ValueError(
                f"the scale of a pointmap is read from {first.in_features} numbers, and features of "
                f"{features_BDHW.shape[2]}x{features_BDHW.shape[3]} give {values.shape[1]}: this head is for one size "
                "of input"
            )
        *hidden, last = self.scale_layers
        for layer in hidden:
            values = F.silu(layer(values))
        return last(values)

    def multiply_adds(self, grid: tuple[int, int]) -> int:
        """See `Head`."""
        total = super().multiply_adds(grid)
        rows, columns = grid
        for convolution in self.scale_convs.children():
            rows, columns = -(-rows // 2), -(-columns // 2)
            total += rows * columns * _weights(convolution)
        return total + sum(_weights(layer) for layer in self.scale_layers)


def _weights(layer: nn.Module) -> int:
    return sum(parameter.numel() for name, parameter in layer.named_parameters() if name == "weight")


def scale_branch(channels: Sequence[int], hidden: Sequence[int], grid: tuple[int, int]) -> ScaleBranch:
    """The branch of these layers on features of a grid (rows, columns)."""
    rows, columns = grid
    for _ in channels:
        rows, columns = -(-rows // 2), -(-columns // 2)
    return ScaleBranch(tuple(channels), channels[-1] * rows * columns, tuple(hidden))


def _initialize(layer: nn.Module) -> None:
    if not isinstance(layer, nn.Conv2d | nn.Linear) or layer.weight.is_meta:  # drawing there would import a compiler
        return
    nn.init.kaiming_normal_(
        layer.weight, mode="fan_out" if isinstance(layer, nn.Conv2d) else "fan_in", nonlinearity="relu"
    )
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


pixel_shuffle = partial(PixelShuffleHead, InstanceNorm)
pixel_shuffle_rms = partial(PixelShuffleHead, ChannelNorm)
pointmap = partial(PointmapHead, InstanceNorm)
