"""Backbones: one file per family, and what the rest of the package knows of them.

A family is a config, a frozen dataclass that says everything about the shape, and the network that it builds. Training,
export, cost and checkpoints ask the two protocols below and nothing else. A family of one's own goes into `load`,
`load_model` and `read_description` as `backbones={**BACKBONES, "name": Config}`.
"""

from collections.abc import Collection, Mapping
from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from .nano import NanoConfig
from .sapiens import SapiensConfig


class BackboneConfig(Protocol):
    """The shape of a backbone: a frozen dataclass of numbers, booleans and tuples, which config.json holds.

    family: its name in config.json.
    """

    family: ClassVar[str]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that it is made for."""
        ...

    @property
    def patch_size(self) -> int:
        """Images are whole numbers of it."""
        ...

    @property
    def embed_dim(self) -> int:
        """Width of a token."""
        ...

    @property
    def layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def feature_channels(self) -> int:
        """Of the feature map, which heads take."""
        ...

    @property
    def feature_stride(self) -> int:
        """Pixels between neighbors in the feature map."""
        ...

    @property
    def prefix_tokens(self) -> int:
        """Tokens before those of the patches; the first one, if any, is the class token."""
        ...

    def grid(self, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
        """Rows and columns of patches for an image of the given (height, width), by default the model's own."""
        ...

    def build(self) -> "Backbone":
        """The network, freshly initialized; under torch.device("meta") without memory."""
        ...

    def view_inputs(self, picture_3: np.ndarray, size_hw: tuple[int, int]) -> dict[str, np.ndarray]:
        """What the network wants of a view beside its pixels, by name: {} for most.

        Args:
            picture_3: of the whole picture that the view is of, in the view's pixels: see `geometry.location`.
            size_hw: height and width of the view.
        """
        ...

    def mirrored(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch of these inputs for the mirrored views."""
        ...

    def multiply_adds(self, image_size: tuple[int, int] | None = None, kept: int | None = None) -> int:
        """Multiply-adds of one image up to the feature map; kept: so many of its patches go through the blocks."""
        ...

    def block_activation_bytes(self, tokens: int, half: bool) -> int:
        """Bytes that one block keeps of so many tokens for its backward pass; half: products take 16-bit inputs."""
        ...


class Backbone(Protocol):
    """The network of a config: an nn.Module that maps normalized RGB images (B, 3, H, W) to a feature map
    (B, feature_channels, H / feature_stride, W / feature_stride).

    Attributes:
        blocks: what is compiled, checkpointed, sharded and adapted one by one, in order.
    """

    blocks: nn.ModuleList

    @property
    def config(self) -> BackboneConfig:
        """What it was built from."""
        ...

    def __call__(self, images_B3HW: Tensor, /) -> Tensor: ...

    def tokens(self, images_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """All tokens (B, prefix_tokens + N, D) after the last norm; kept_BK: the patches that are encoded, in this
        order, as masked pretraining has it, None = all."""
        ...

    def hold_positions(self) -> None:
        """Freezes what masked pretraining does not train: a position embedding that starts as a fixed table."""
        ...

    def no_decay(self) -> Collection[str]:
        """Names of parameters without weight decay, beside biases and all of one axis."""
        ...

    def layer_of(self, name: str) -> int:
        """The layer of a parameter for layer-wise decay: 0 for what takes the pixels, i + 1 for block i,
        len(blocks) + 1 for what comes after. Layer 0 is never stepped by Muon."""
        ...

    def fitted(self, tensors: Mapping[str, Tensor], trained: BackboneConfig) -> dict[str, Tensor]:
        """Tensors of a trained backbone as this one takes them: other image sizes, up to twice the blocks.

        Raises:
            ValueError: a trained backbone that this one cannot start from.
        """
        ...


BACKBONES: dict[str, type[BackboneConfig]] = {"sapiens": SapiensConfig, "nano": NanoConfig}
"""Family -> its config."""
