"""The kinds of heads, which turn a backbone's feature map into a task's maps."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from torch import Tensor

from .detection_head import DetectionHead
from .pixel_shuffle_head import pixel_shuffle, pixel_shuffle_rms, pointmap
from .placed_head import PlacedHead, sloped, turned
from .upsampling_head import HeadShape, UpsamplingHead


class Head(Protocol):
    """An nn.Module that maps features to the raw maps of a task. Its last layer is called `output`."""

    def __call__(
        self, features_BDHW: Tensor, seeds_B: Tensor | None = None, inputs: Mapping[str, Tensor] | None = None, /
    ) -> Tensor:
        """The backbone's features (B, C, h, w) to maps (B, out_channels, ...); see `HumanModel.forward`."""
        ...

    def multiply_adds(self, grid: tuple[int, int]) -> int:
        """Multiply-adds on features of a grid (rows, columns)."""
        ...

    def activation_bytes(self, grid: tuple[int, int], half: bool) -> int:
        """Bytes kept for the backward pass over features of a grid; half: matrix products take 16-bit inputs."""
        ...


def _of_widths(constructor: Callable[..., Head]) -> Callable[[int, int, HeadShape], Head]:
    """A constructor of heads without a scale branch, which takes the arguments of `UpsamplingHead`."""

    def build(in_channels: int, out_channels: int, shape: HeadShape) -> Head:
        return constructor(in_channels, out_channels, shape.deconv_channels, shape.conv_channels, shape.dropout)

    return build


HEADS: dict[str, Callable[[int, int, HeadShape], Head]] = {
    "upsampling": _of_widths(UpsamplingHead),
    "sloped": _of_widths(partial(PlacedHead, sloped)),
    "turned": _of_widths(partial(PlacedHead, turned)),
    "detection": _of_widths(DetectionHead),
    "pixel_shuffle": pixel_shuffle,
    "pixel_shuffle_rms": pixel_shuffle_rms,
    "pointmap": pointmap,
}
"""Kind of head in config.json -> what builds it from the channels of the features, its outputs and its shape."""


def build_head(in_channels: int, out_channels: int, shape: HeadShape) -> Head:
    """A freshly initialized head. Raises ValueError for a shape that its kind cannot have."""
    head = HEADS[shape.kind](in_channels, out_channels, shape)
    if shape.start_std is not None and isinstance(head, UpsamplingHead):
        head.start(shape.start_std)
    return head
