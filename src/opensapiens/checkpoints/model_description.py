"""The description of a model in its folder: backbone, heads, preprocessing. Checked on construction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from opensapiens.backbones import BACKBONES, BackboneConfig
from opensapiens.geometry.limits import MOST_CHANNELS, MOST_LAYERS, check_bounds
from opensapiens.geometry.view import Preprocessing
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.own_labels import label_set_from_json
from opensapiens.labels.parts import PartSet
from opensapiens.models.heads import HEADS
from opensapiens.models.upsampling_head import HeadShape, ScaleBranch

from .from_dict import from_dict
from .strict_loading import CheckpointError

MOST_UPSAMPLINGS = 8  # each doubles the sides of a head's maps


@dataclass(frozen=True)
class HeadDescription:
    """One head: channels of its layers, and the label set of its output channels, if any.

    labels: the name of a known set, or a set as written by `labels.own_labels.label_entry`. kind: a key of
    `models.heads.HEADS`. scale: see `HeadShape`.
    """

    out_channels: int
    deconv_channels: tuple[int, ...]
    conv_channels: tuple[int, ...]
    labels: str | dict[str, Any] | None = None
    dropout: float = 0.0
    kind: str = "upsampling"
    scale: ScaleBranch | None = None

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            raise ValueError(f"no kind of head {self.kind!r}; there are {', '.join(HEADS)}")
        for channels in (self.out_channels, *self.deconv_channels, *self.conv_channels):
            check_bounds(MOST_CHANNELS, channels=channels)
        check_bounds(MOST_UPSAMPLINGS, 0, deconvolutions=len(self.deconv_channels))
        check_bounds(MOST_LAYERS, 0, convolutions=len(self.conv_channels))
        if self.scale is not None:
            for channels in (*self.scale.channels, self.scale.inputs, *self.scale.hidden):
                check_bounds(MOST_CHANNELS, scale=channels)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout!r}")
        if self.label_set is not None and len(self.label_set) != self.out_channels:
            raise ValueError(
                f"{self.out_channels} output channels, but {self.label_set.name} has {len(self.label_set)}"
            )

    @property
    def shape(self) -> HeadShape:
        """Its layers."""
        return HeadShape(self.deconv_channels, self.conv_channels, self.dropout, kind=self.kind, scale=self.scale)

    @cached_property
    def label_set(self) -> KeypointSet | PartSet | None:
        """The labels of the output channels, if they have any."""
        return None if self.labels is None else label_set_from_json(self.labels)


@dataclass(frozen=True)
class DecoderDescription:
    """The decoder of a masked autoencoder: its width, its blocks and their attention heads."""

    embed_dim: int
    layers: int
    heads: int

    def __post_init__(self) -> None:
        check_bounds(MOST_CHANNELS, embed_dim=self.embed_dim, heads=self.heads)
        check_bounds(MOST_LAYERS, layers=self.layers)
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not divisible by {self.heads} heads")


@dataclass(frozen=True)
class ModelDescription:
    """The content of a model folder's config.json.

    Attributes:
        name: of the model.
        backbone: its family and shape.
        heads: task -> head; empty for a pretrained backbone.
        preprocessing: of the network's input.
        license: SPDX name of the weights' license, or text.
        source: where the weights come from.
        metrics: scores of the model, any JSON.
        decoder: of a masked autoencoder, else None.
        sha256: of the published file that the weights were converted from, empty for our own.

    Raises:
        CheckpointError: a decoder for a backbone without class token.
    """

    name: str
    backbone: BackboneConfig
    heads: dict[str, HeadDescription]
    preprocessing: Preprocessing
    license: str = ""
    source: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    decoder: DecoderDescription | None = None
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.decoder is not None and not self.backbone.prefix_tokens:
            raise CheckpointError(
                f"model {self.name!r}: the backbone of a masked autoencoder has a class token, this one has none"
            )

    def to_json(self) -> dict[str, Any]:
        """A dict for json, which from_json reads back."""
        written = asdict(self)
        written["backbone"] = {"family": self.backbone.family, **written["backbone"]}
        return written

    @staticmethod
    def from_json(
        content: object, where: str = "config.json", backbones: Mapping[str, type[BackboneConfig]] = BACKBONES
    ) -> "ModelDescription":
        """The description from parsed JSON; backbones: family -> its config.

        Raises:
            CheckpointError: an unknown or missing key, or a value of the wrong kind; it says which, and where.
        """
        if isinstance(content, Mapping) and "vit" in content and "backbone" not in content:
            raise CheckpointError(
                f"{where} is in a format that this version does not read: convert the published file again, or change "
                'it by hand, see "Model folders" in docs/migration.md'
            )
        return from_dict(ModelDescription, content, where, {BackboneConfig: backbones})
