"""The sizes that recipes know by name: the published backbones, nano and small ones of ours, with heads to fit."""

from dataclasses import dataclass, replace
from typing import Literal

from opensapiens.backbones import BackboneConfig
from opensapiens.backbones.nano import NanoConfig
from opensapiens.backbones.sapiens import PUBLISHED_SIZES, SapiensConfig
from opensapiens.checkpoints.model_description import DecoderDescription, HeadDescription
from opensapiens.labels.own_labels import label_entry
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.task import HeadTask
from opensapiens.training.run import Size

SizeName = Literal["toy", "tiny", "mini", "small", "nano", "0.3b", "0.6b", "1b", "2b"]
PretrainingSize = Literal["toy", "tiny", "mini", "small", "0.3b", "0.6b", "1b", "2b"]
"""Of plain transformers, whose patches masked pretraining can leave out; nano's convolutions would see them."""

PUBLISHED_INPUT: Size = (1024, 768)
NANO = NanoConfig((256, 208), 192, 14, 6, (32, 64, 96))
"""The backbone of the weights that ship inside the package."""
NANO_POSE_CHANNELS, NANO_DENSE_CHANNELS = (128,), (48,)


@dataclass(frozen=True)
class Shape:
    """A backbone's width, depth and attention heads, the widths of its task heads, and its pretraining's decoder.

    head_channels: of every layer of a task head, None for the published ones (768, depth 384).
    """

    embed_dim: int
    layers: int
    heads: int
    head_channels: int | None
    decoder: DecoderDescription


PUBLISHED_DECODER = DecoderDescription(512, 8, 16)
"""The same at every size."""

SIZES: dict[str, Shape] = {
    "toy": Shape(24, 2, 2, 8, DecoderDescription(16, 1, 2)),
    "tiny": Shape(96, 4, 3, 64, DecoderDescription(64, 2, 4)),
    "mini": Shape(192, 6, 6, 64, DecoderDescription(96, 2, 4)),
    "small": Shape(256, 10, 8, 64, DecoderDescription(128, 2, 4)),
} | {name: Shape(**shape, head_channels=None, decoder=PUBLISHED_DECODER) for name, shape in PUBLISHED_SIZES.items()}
"""Name -> shape. "toy" learns nothing of use and shows that everything runs; the backbones of "tiny", "mini" and
"small" have 0.5, 2.8 and 8.1 M parameters. "nano" is no plain transformer: see NANO."""


def default_input(size: SizeName) -> Size:
    """Height and width of the input that a size is made for: the published ones, of nano those of its weights."""
    return NANO.image_size if size == "nano" else PUBLISHED_INPUT


def task_backbone(size: SizeName, image_size: Size, patch_padding: int) -> BackboneConfig:
    """The config of a backbone for a task, by its name."""
    if size == "nano":
        return replace(NANO, image_size=image_size)
    return backbone(size, image_size, patch_padding)


def backbone(
    size: PretrainingSize, image_size: Size, patch_padding: int = 0, class_token: bool = False
) -> SapiensConfig:
    """The config of a plain transformer by its name."""
    shape = SIZES[size]
    return SapiensConfig(
        image_size,
        shape.embed_dim,
        shape.layers,
        shape.heads,
        patch_padding=patch_padding,
        class_token=class_token,
    )


def head(size: SizeName, task: HeadTask) -> HeadDescription:
    """The head of a task at a size: as many layers as the published one, of nano those of its own."""
    if size == "nano":
        return nano_head(task, NANO_POSE_CHANNELS if isinstance(task, PoseTask) else NANO_DENSE_CHANNELS)
    published, width = task.published, SIZES[size].head_channels
    return HeadDescription(
        task.channels,
        tuple(width or channels for channels in published.deconv_channels),
        tuple(width or channels for channels in published.conv_channels),
        None if task.labels is None else label_entry(task.labels),
        published.dropout,
    )


def nano_head(task: HeadTask, channels: tuple[int, ...]) -> HeadDescription:
    """The head of a task behind nano's convolutions; those of depth and normals are told where a crop lies."""
    kind = {DepthTask.name: "sloped", NormalsTask.name: "turned"}.get(task.name, "upsampling")
    labels = None if task.labels is None else label_entry(task.labels)
    return HeadDescription(task.channels, (), channels, labels, kind=kind)
