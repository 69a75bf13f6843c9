"""The kinds of heads, which turn a backbone's feature map into a task's maps."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor

from .detection_head import DetectionHead
from .placed_head import PlacedHead, sloped, turned
from .upsampling_head import UpsamplingHead


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


HEADS: dict[str, Callable[[int, int, Sequence[int], Sequence[int], float], Head]] = {
    "upsampling": UpsamplingHead,
    "sloped": partial(PlacedHead, sloped),
    "turned": partial(PlacedHead, turned),
    "detection": DetectionHead,
}
"""Kind of head in config.json -> its constructor, which takes the arguments of `UpsamplingHead`."""
