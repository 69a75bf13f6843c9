"""The kinds of heads: what stands between a backbone's feature map and a task's maps."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor

from .placed_head import PlacedHead, sloped, turned
from .upsampling_head import UpsamplingHead


class Head(Protocol):
    """An nn.Module that maps features to the raw maps of a task. Its last layer is called `output`."""

    def __call__(
        self, features_BDHW: Tensor, seeds_B: Tensor | None = None, inputs: Mapping[str, Tensor] | None = None, /
    ) -> Tensor:
        """Features (B, C, h, w) to maps (B, out_channels, ...).

        Args:
            features_BDHW: the backbone's feature map.
            seeds_B: int64, from which what is drawn at random for each image follows in training.
            inputs: what the backbone's config has made of the views beside pixels.
        """
        ...

    def multiply_adds(self, grid: tuple[int, int]) -> int:
        """Multiply-adds on features of a grid (rows, columns)."""
        ...

    def activation_bytes(self, grid: tuple[int, int], half: bool) -> int:
        """Bytes kept for the backward pass over features of a grid; half: products take 16-bit inputs."""
        ...


class MakeHead(Protocol):
    """What builds a head, freshly initialized."""

    def __call__(
        self,
        in_channels: int,
        out_channels: int,
        deconv_channels: Sequence[int],
        conv_channels: Sequence[int],
        dropout: float,
    ) -> Head: ...


HEADS: dict[str, MakeHead] = {
    "upsampling": UpsamplingHead,
    "sloped": partial(PlacedHead, sloped),
    "turned": partial(PlacedHead, turned),
}
"""Kind of head, as config.json has it -> what builds it."""
