"""Backbones: one file per family, and the two protocols that the rest of the package uses.

A family is a config, a frozen dataclass that determines the shape, and the network that it builds. Pass your own family
to `load`, `load_model` and `read_description` as `backbones={**BACKBONES, "name": Config}`.
"""

from collections.abc import Collection, Mapping
from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from .nano import NanoConfig
from .sapiens import SapiensConfig
from .sapiens2 import Sapiens2Config


class BackboneConfig(Protocol):
    """The shape of a backbone: a frozen dataclass of numbers, booleans and tuples, stored in config.json.

    family: its name in config.json.
    """

    family: ClassVar[str]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
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
        """Channels of the feature map, the input of heads."""
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
        """Inputs beside the pixels of a view, by name; {} for most.

        Args:
            picture_3: the whole picture in the view's pixels, see `geometry.location`.
            size_hw: height and width of the view.
        """
        ...

    def mirrored(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """These inputs, as a batch, for the mirrored views."""
        ...

    def multiply_adds(self, image_size: tuple[int, int] | None = None, kept: int | None = None) -> int:
        """Multiply-adds of one image up to the feature map; kept: number of patches that enter the blocks."""
        ...

    def block_activation_bytes(self, tokens: int, half: bool) -> int:
        """Bytes that one block keeps for its backward pass; half: matrix products take 16-bit inputs."""
        ...


class Backbone(Protocol):
    """The network of a config: an nn.Module that maps normalized RGB images (B, 3, H, W) to a feature map
    (B, feature_channels, H / feature_stride, W / feature_stride).

    blocks: what is compiled, checkpointed, sharded and adapted one by one, in order.
    """

    blocks: nn.ModuleList

    @property
    def config(self) -> BackboneConfig:
        """Its config."""
        ...

    def __call__(self, images_B3HW: Tensor, /) -> Tensor: ...

    def tokens(self, images_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """All tokens (B, prefix_tokens + N, D) after the last norm; kept_BK: the patches to encode, in this order, for
        masked pretraining; None = all."""
        ...

    def hold_positions(self) -> None:
        """Freezes the position embedding, for masked pretraining."""
        ...

    def no_decay(self) -> Collection[str]:
        """Names of parameters without weight decay, beside biases and others with one axis."""
        ...

    def layer_of(self, name: str) -> int:
        """The layer of a parameter for layer-wise decay: 0 for embeddings (which Muon never trains), i + 1 for block i,
        len(blocks) + 1 for the rest."""
        ...

    def fitted(self, tensors: Mapping[str, Tensor], trained: BackboneConfig) -> dict[str, Tensor]:
        """Tensors of a trained backbone, adapted to this one's image size and (up to twice the) blocks.

        Raises:
            ValueError: this backbone cannot start from the trained one.
        """
        ...


BACKBONES: dict[str, type[BackboneConfig]] = {
    config.family: config for config in (SapiensConfig, Sapiens2Config, NanoConfig)
}
"""Family -> its config."""
