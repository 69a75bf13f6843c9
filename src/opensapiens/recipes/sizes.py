"""The sizes that recipes know by name: the published backbones, nano and small ones of ours, with heads to fit."""

from dataclasses import dataclass, replace
from typing import Literal

from opensapiens.backbones import BackboneConfig
from opensapiens.backbones.nano import NanoConfig
from opensapiens.backbones.sapiens import PUBLISHED_SIZES, SapiensConfig
from opensapiens.backbones.sapiens2 import Sapiens2Config, published_config
from opensapiens.checkpoints.model_description import DecoderDescription, HeadDescription
from opensapiens.checkpoints.sapiens2_files import ROWS
from opensapiens.labels.own_labels import label_entry
from opensapiens.models.pixel_shuffle_head import scale_branch
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.task import HeadTask
from opensapiens.training.run import Size

SizeName = Literal[
    "toy", "tiny", "mini", "small", "nano", "0.3b", "0.6b", "1b", "2b",
    "sapiens2-toy", "sapiens2-0.1b", "sapiens2-0.4b", "sapiens2-0.8b", "sapiens2-1b", "sapiens2-5b",
]  # fmt: skip
PretrainingSize = Literal[
    "toy", "tiny", "mini", "small", "0.3b", "0.6b", "1b", "2b",
    "sapiens2-toy", "sapiens2-0.1b", "sapiens2-0.4b", "sapiens2-0.8b", "sapiens2-1b", "sapiens2-5b",
]  # fmt: skip
"""Of transformers, whose patches masked pretraining can leave out; nano's convolutions would see them."""

PUBLISHED_INPUT: Size = (1024, 768)
NANO = NanoConfig((256, 208), 192, 14, 6, (32, 64, 96))
"""The backbone of the weights that ship inside the package."""
SAPIENS2_TOY = Sapiens2Config((64, 48), 24, 2, 2, (2, 1), 48)
TOY_CHANNELS = 8
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


def is_sapiens2(size: str) -> bool:
    """Whether a size is one of Sapiens2."""
    return size.startswith(f"{Sapiens2Config.family}-")


def backbone(
    size: PretrainingSize, image_size: Size, patch_padding: int = 0, class_token: bool = False
) -> SapiensConfig | Sapiens2Config:
    """The config of a transformer by its name. Those of Sapiens2 have a class token and no padding anyway."""
    if is_sapiens2(size):
        name = size.partition("-")[2]
        return replace(SAPIENS2_TOY, image_size=image_size) if name == "toy" else published_config(name, image_size)
    shape = SIZES[size]
    return SapiensConfig(
        image_size,
        shape.embed_dim,
        shape.layers,
        shape.heads,
        patch_padding=patch_padding,
        class_token=class_token,
    )


def decoder(size: PretrainingSize) -> DecoderDescription:
    """The decoder of masked pretraining at a size."""
    like = "toy" if size == "sapiens2-toy" else size
    return SIZES[like].decoder if like in SIZES else PUBLISHED_DECODER


def head(size: SizeName, task: HeadTask, image_size: Size = PUBLISHED_INPUT) -> HeadDescription:
    """The head of a task at a size: as many layers as the published one, of nano those of its own.

    image_size: of the input, by which the scale branch of a pointmap reads the features.
    """
    if size == "nano":
        return nano_head(task, NANO_POSE_CHANNELS if isinstance(task, PoseTask) else NANO_DENSE_CHANNELS)
    if is_sapiens2(size):
        shape, width = _sapiens2_shape(size, task), TOY_CHANNELS if size == "sapiens2-toy" else None
    else:
        shape = HeadShape(task.published.deconv_channels, task.published.conv_channels, task.published.dropout)
        width = SIZES[size].head_channels

    def narrowed(widths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(width or channels for channels in widths)

    scale = shape.scale
    if scale is not None:
        grid = task_backbone("sapiens2-0.1b", image_size, 0).grid()
        scale = scale_branch(narrowed(scale.channels), narrowed(scale.hidden), grid)
    return HeadDescription(
        task.channels,
        narrowed(shape.deconv_channels),
        narrowed(shape.conv_channels),
        None if task.labels is None else label_entry(task.labels),
        shape.dropout,
        shape.kind,
        scale,
    )


def _sapiens2_shape(size: str, task: HeadTask) -> HeadShape:
    """The published one of a task at a size of Sapiens2, or of the first size that has one; else that of the task."""
    rows = [row for row in ROWS if row.task == task.name]
    row = next((row for row in rows if row.size_name == size), rows[0] if rows else None)
    return (row.shape if row is not None else None) or task.published


def nano_head(task: HeadTask, channels: tuple[int, ...]) -> HeadDescription:
    """The head of a task behind nano's convolutions; those of depth and normals are told where a crop lies."""
    kind = {DepthTask.name: "sloped", NormalsTask.name: "turned"}.get(task.name, "upsampling")
    labels = None if task.labels is None else label_entry(task.labels)
    return HeadDescription(task.channels, (), channels, labels, kind=kind)
