"""Published Sapiens2 files and those of trainings from them: names of tensors, task, model.

Published layouts: a pretrained backbone is flat; a task has "backbone." and "decode_head.", whose last layer is named
after the task. Everything but the size of the input follows from the shapes.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from pathlib import Path

from opensapiens.backbones.sapiens import weight_and_bias
from opensapiens.backbones.sapiens2 import PUBLISHED_SIZES, PUBLISHED_TENSORS, Sapiens2Config, published_config
from opensapiens.models.upsampling_head import ScaleBranch

from .model_description import HeadDescription, ModelDescription
from .published_table import PRETRAINING, PUBLISHED_MODELS, SIZE_4K, TASK_SIZE, PublishedModel
from .sapiens_files import Shapes, count_blocks, placeholder_labels, tensor_shape, under
from .strict_loading import CheckpointError
from .tensor_names import Rules, Value, renamed

MARK = "storage_tokens"
"""How the name of a tensor ends that every file of this family has, and no other."""
ROWS = [row for row in PUBLISHED_MODELS.values() if row.family == Sapiens2Config.family]
HEAD_OF_TASK = {row.task: row.head.split(".") for row in ROWS if row.head}
"""Task -> names of its head and the head's last layer in a published file."""


def _upsampling(output: str) -> Rules:
    layers = weight_and_bias(("conv_layers.{3i}", "convs.{i}"), (output, "output"))
    return [("deconv_layers.{3i}.weight", "deconvs.{i}.weight"), *layers]


def _pixel_shuffle(output: str) -> Rules:
    steps = {"input_conv": "input", "upsample_blocks.{i}": "ups.{i}"}
    convolutions = [(f"{published}.0", f"{ours}.convolution") for published, ours in steps.items()]
    return [
        *weight_and_bias(*convolutions, ("conv_layers.{3i}", "convs.{i}.convolution"), (output, "output")),
        ("input_conv.1.norm.weight", "input.norm.weight"),
        ("upsample_blocks.{i}.2.norm.weight", "ups.{i}.norm.weight"),
        ("conv_layers.{3i+1}.norm.weight", "convs.{i}.norm.weight"),
    ]


def _pointmap(output: str) -> Rules:
    layers = (("scale_conv_layers.{3i}", "scale_convs.{i}"), ("scale_final_layer.{2i+1}", "scale_layers.{i}"))
    return [*_pixel_shuffle(output), *weight_and_bias(*layers)]


HEAD_RULES = {
    "upsampling": _upsampling,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_shuffle_rms": _pixel_shuffle,
    "pointmap": _pointmap,
}
"""Kind of head -> names of its tensors, given that of its last layer."""

KIND_OF_TASK = {row.task: row.shape.kind for row in ROWS if row.shape is not None}
LAYOUTS: dict[str, Rules] = {
    "backbone": PUBLISHED_TENSORS,
    **{
        task: under("backbone", "backbone", PUBLISHED_TENSORS)
        + under(head, f"heads.{task}", HEAD_RULES[KIND_OF_TASK[task]](output))
        for task, (head, output) in HEAD_OF_TASK.items()
    },
}
"""Layout -> (published, ours) names: of a task's whole model, or "backbone", the flat file of pretraining."""


def from_published(tensors: Mapping[str, Value], layout: str) -> dict[str, Value]:
    """Tensors (or shapes, anything) by our names instead of the published ones.

    Raises:
        UnmappedNamesError: lists every name that the layout does not have.
        KeyError: no such layout.
    """
    return renamed(tensors, LAYOUTS[layout], layout)


def to_published(tensors: Mapping[str, Value], layout: str) -> dict[str, Value]:
    """The inverse of from_published. Raises as it does."""
    return renamed(tensors, [(ours, published) for published, ours in LAYOUTS[layout]], layout)


def layout_of(names: Mapping[str, object], path: Path, task: str | None) -> str:
    """The layout of a file with tensors of these (published) names: the name of the head's last layer says it.

    Raises:
        CheckpointError: a head of no known task, or not of `task`.
    """
    layers = {tuple(name.split(".")[:2]) for name in names if not name.startswith("backbone.")}
    found = [known for known, head in HEAD_OF_TASK.items() if tuple(head) in layers]
    if not any(name.startswith("backbone.") for name in names) or not found:
        heads = sorted({layer[0] for layer in layers if layer[0].endswith("head")})
        if heads or (task is not None and found == []):
            known = ", ".join(f"{head}.{output} ({task})" for task, (head, output) in HEAD_OF_TASK.items())
            raise CheckpointError(f"{path}: no head of a known task; their last layers are {known}")
        return "backbone"
    if len(found) > 1 or task not in (None, found[0]):
        raise CheckpointError(f"{path}: its head is of {' and '.join(found)}" + (f", not of {task}" if task else ""))
    return found[0]


def describe_tensors(shapes: Shapes, source: str) -> ModelDescription:
    """The description of a model of this family from the shapes of its tensors, by our names in a folder.

    A head with as many outputs as a published one has its labels, others have placeholders: point_0, point_1, ...

    Args:
        shapes: name -> shape, of a backbone ("backbone.") with at most one head ("heads.TASK.").
        source: what to call the tensors in an error.

    Raises:
        CheckpointError: a tensor is missing without which the shape of the model cannot be told.
    """
    config = backbone_of_shapes(shapes, source)
    size = next((size for size in PUBLISHED_SIZES if published_config(size, config.image_size) == config), None)
    tasks = sorted({name.split(".")[1] for name in shapes if name.startswith("heads.")})
    task = tasks[0] if tasks else PRETRAINING
    rows = [row for row in ROWS if row.task == task]
    row = next((row for row in rows if row.size == size), None)
    described = (row or rows[0]).description(config.image_size)
    if row is None:  # of somebody's own training
        described = replace(described, name=f"sapiens2-{task}", license="", source="")
    head = {task: _head(row or rows[0], described.heads[task], shapes, source)} if tasks else {}
    if head and head[task].out_channels != described.heads[task].out_channels:
        described = replace(described, name=f"{described.name}-{head[task].out_channels}", license="", source="")
    return replace(described, backbone=config, heads=head)


def backbone_of_shapes(shapes: Shapes, source: str) -> Sapiens2Config:
    """The backbone whose tensors have these shapes, at the published size of the input. Raises CheckpointError."""

    def shape(name: str, axes: int) -> tuple[int, ...]:
        return tensor_shape(shapes, f"backbone.{name}", axes, source)

    (width,), layers = shape("norm.weight", 1), count_blocks(shapes, "backbone.blocks.")
    (head_dim,) = shape("blocks.0.attention.query_norm.weight", 1)
    tokenizer_layers = count_blocks(shapes, "backbone.tokenizer.blocks.")
    window = isqrt(shape("tokenizer.position_embedding", 3)[1] - 1) if tokenizer_layers else 1
    return Sapiens2Config(
        SIZE_4K if tokenizer_layers else TASK_SIZE,
        width,
        layers,
        width // head_dim,
        tuple(shape(f"blocks.{i}.attention.key.weight", 2)[0] // head_dim for i in range(layers)),
        shape("blocks.0.mlp.fc2.weight", 2)[1],
        shape("registers", 3)[1],
        window * shape("patch_embedding.projection.weight", 4)[2],
        window,
        tokenizer_layers,
    )


def _head(row: PublishedModel, described: HeadDescription, shapes: Shapes, source: str) -> HeadDescription:
    prefix = f"heads.{row.task}"
    outputs = tensor_shape(shapes, f"{prefix}.output.weight", 4, source)[0]

    def channels(layers: str, layer: str, axis: int, axes: int = 4) -> tuple[int, ...]:
        count = count_blocks(shapes, f"{prefix}.{layers}.")
        return tuple(tensor_shape(shapes, f"{prefix}.{layers}.{i}.{layer}", axes, source)[axis] for i in range(count))

    if described.kind == "upsampling":
        up, convs = channels("deconvs", "weight", 1), channels("convs", "weight", 0)
    else:
        up = tuple(width // 4 for width in channels("ups", "convolution.weight", 0))
        convs = channels("convs", "convolution.weight", 0)
    scale = None
    if described.scale is not None:
        first, *hidden = channels("scale_layers", "weight", 1, axes=2)
        scale = ScaleBranch(channels("scale_convs", "weight", 0), first, tuple(hidden))
    labels = (row.labels or None) if outputs == row.outputs else placeholder_labels(row, outputs, source)
    return replace(described, out_channels=outputs, deconv_channels=up, conv_channels=convs, labels=labels, scale=scale)
