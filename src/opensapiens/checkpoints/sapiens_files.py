"""Published Sapiens files and those of trainings from them: names of tensors, task, model.

Published layouts: a pretrained backbone is flat; a task has "backbone." and the head's name from the table of published
models; a masked autoencoder has "backbone." and "neck.". Our names are those in a model folder: "backbone.",
"heads.TASK.", "decoder.".
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from pathlib import Path

from opensapiens.backbones.sapiens import (
    PUBLISHED_BLOCK,
    PUBLISHED_SIZES,
    PUBLISHED_TENSORS,
    SapiensConfig,
    weight_and_bias,
)
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.own_labels import (
    keypoint_set_of_category,
    label_entry,
    label_set_from_json,
    part_set_of_categories,
)

from .model_description import DecoderDescription, ModelDescription
from .published_table import PRETRAINING, PUBLISHED_MODELS, PublishedModel
from .strict_loading import CheckpointError
from .tensor_names import Rules, Value, renamed

AUTOENCODER = "masked_autoencoder"
DECODER_HEADS = 16
"""Attention heads of the decoder in published pretraining. Its weights were never released; raw checkpoints of one's
own training hold one."""

ROWS = [row for row in PUBLISHED_MODELS.values() if row.family == SapiensConfig.family]
HEAD_OF_TASK = {row.task: row.head.split(".") for row in ROWS if row.head}
"""Task -> names of its head and the head's last layer in a published file."""

Shapes = Mapping[str, tuple[int, ...]]


def under(published: str, ours: str, rules: Rules) -> list[tuple[str, str]]:
    """Rules for names below a published and one of our prefixes."""
    return [(f"{published}.{a}", f"{ours}.{b}") for a, b in rules]


def _head(output: str) -> Rules:
    layers = weight_and_bias(("conv_layers.{3i}", "convs.{i}"), (output, "output"))
    return [("deconv_layers.{3i}.weight", "deconvs.{i}.weight"), *layers]


_DECODER: Rules = [
    ("mask_token", "mask_token"),
    ("decoder_pos_embed", "position_embedding"),
    *weight_and_bias(("decoder_embed", "embedding"), ("ln1", "norm"), ("decoder_pred", "output")),
    *under("decoder_blocks.{i}", "blocks.{i}", weight_and_bias(*PUBLISHED_BLOCK)),
]
_BACKBONE = under("backbone", "backbone", PUBLISHED_TENSORS)

LAYOUTS: dict[str, Rules] = {
    "backbone": PUBLISHED_TENSORS,
    AUTOENCODER: _BACKBONE + under("neck", "decoder", _DECODER),
    **{task: _BACKBONE + under(head, f"heads.{task}", _head(output)) for task, (head, output) in HEAD_OF_TASK.items()},
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
    """The layout of a file with tensors of these (published) names.

    Heads of several tasks have the same names; then `task`, from the user or the file's metadata, decides, or else the
    published file names.

    Raises:
        CheckpointError: the head's task cannot be determined, or is not `task`.
    """
    parts = {name.partition(".")[0] for name in names}
    if "neck" in parts:
        return AUTOENCODER
    heads = sorted({head for head, _ in HEAD_OF_TASK.values()} & parts)
    if not heads:
        return "backbone"
    possible = [known for known, (head, _) in HEAD_OF_TASK.items() if head == heads[0]]
    if task is not None and task not in possible:
        raise CheckpointError(f"{path}: its head is a {heads[0]}, of {' or '.join(possible)}, not of {task}")
    tasks = [task] if task is not None else possible if len(possible) == 1 else _tasks_of_name(path.name, possible)
    if len(tasks) != 1:
        raise CheckpointError(
            f"{path}: the head may be of {', '.join(possible[:-1])} or {possible[-1]}, and neither the file's name nor "
            f"its metadata says of which: opensapiens convert {path.name} FOLDER --task {possible[0]}"
        )
    return tasks[0]


def _tasks_of_name(name: str, possible: list[str]) -> list[str]:
    """The tasks whose published file names, with any numbers, this name starts with."""
    tasks = set()
    for row in ROWS:
        for file in row.files.values():
            pattern = re.sub(r"\d+", r"\\d+", re.escape(Path(file).stem))
            if row.task in possible and re.match(pattern, name):
                tasks.add(row.task)
    return sorted(tasks)


def describe_tensors(shapes: Shapes, source: str) -> ModelDescription:
    """The description of a model of this family from the shapes of its tensors, by our names in a folder.

    A head with as many outputs as a published one has its labels, others have placeholders: point_0, point_1, ...

    Args:
        shapes: name -> shape, of a backbone ("backbone.") with at most one head ("heads.TASK.") or "decoder.".
        source: what to call the tensors in an error.

    Raises:
        CheckpointError: width and depth of no published backbone, or a position embedding that is not for a square or
            4:3 grid.
    """
    size = _size(shapes, source)
    tasks = sorted({name.split(".")[1] for name in shapes if name.startswith("heads.")})
    task = tasks[0] if tasks else PRETRAINING
    rows = [row for row in ROWS if row.task == task and row.size == size]
    class_token = "backbone.class_token" in shapes
    positions = tensor_shape(shapes, "backbone.position_embedding", 3, source)[1]
    image_size = _image_size(positions - int(class_token), task, source)
    if tasks:
        return _with_head(rows, shapes, task, image_size, class_token, source)
    description = rows[0].description(image_size, class_token)
    if not any(name.startswith("decoder.") for name in shapes):
        return description
    decoder = DecoderDescription(
        tensor_shape(shapes, "decoder.norm.weight", 1, source)[0],
        count_blocks(shapes, "decoder.blocks."),
        DECODER_HEADS,
    )
    # Meta released only the encoder: this is somebody's own training.
    return replace(description, name=f"sapiens-{size}-masked-autoencoder", license="", source="", decoder=decoder)


def _with_head(
    rows: list[PublishedModel],
    shapes: Shapes,
    task: str,
    image_size: tuple[int, int],
    class_token: bool,
    source: str,
) -> ModelDescription:
    prefix = f"heads.{task}"
    outputs = tensor_shape(shapes, f"{prefix}.output.bias", 1, source)[0]
    row = next((row for row in rows if row.outputs == outputs), rows[0])
    description = row.description(image_size, class_token)
    published = row.outputs == outputs

    def channels(layers: str, axis: int) -> tuple[int, ...]:
        count = count_blocks(shapes, f"{prefix}.{layers}.")
        return tuple(tensor_shape(shapes, f"{prefix}.{layers}.{i}.weight", 4, source)[axis] for i in range(count))

    head = replace(
        description.heads[task],
        out_channels=outputs,
        deconv_channels=channels("deconvs", 1),
        conv_channels=channels("convs", 0),
        labels=(row.labels or None) if published else placeholder_labels(row, outputs, source),
    )
    if not published:
        description = replace(description, name=f"sapiens-{row.size}-{task}-{outputs}", license="", source="")
    return replace(description, heads={task: head})


def placeholder_labels(row: PublishedModel, outputs: int, source: str) -> str | dict[str, object]:
    """Labels of a head with other outputs than a published one. Raises CheckpointError for one that has no labels."""
    if not row.labels:
        raise CheckpointError(f"{source}: a {row.task} head with {outputs} outputs; there are {row.outputs}")
    if isinstance(label_set_from_json(row.labels), KeypointSet):
        points = {"keypoints": [f"point_{number}" for number in range(outputs)]}
        return label_entry(keypoint_set_of_category(f"points_{outputs}", points))
    parts = [{"id": number, "name": f"part_{number}"} for number in range(1, outputs)]
    return label_entry(part_set_of_categories(f"parts_{outputs}", parts))


def tensor_shape(shapes: Shapes, name: str, axes: int, source: str) -> tuple[int, ...]:
    """The shape of a tensor. Raises CheckpointError if there is none of so many axes."""
    if len(shapes.get(name, ())) != axes:
        raise CheckpointError(f"{source}: no tensor {name} of {axes} axes, without which no model can be recognized")
    return shapes[name]


def count_blocks(shapes: Shapes, prefix: str) -> int:
    """How many numbers follow a prefix in the names."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in shapes if name.startswith(prefix)})


def _size(shapes: Shapes, source: str) -> str:
    width = tensor_shape(shapes, "backbone.norm.weight", 1, source)[0]
    layers = count_blocks(shapes, "backbone.blocks.")
    for size, published in PUBLISHED_SIZES.items():
        if (published["embed_dim"], published["layers"]) == (width, layers):
            return size
    known = ", ".join(f"{p['embed_dim']}x{p['layers']} ({size})" for size, p in PUBLISHED_SIZES.items())
    raise CheckpointError(f"{source}: a backbone of width {width} with {layers} layers; the published ones are {known}")


def _image_size(patches: int, task: str, source: str) -> tuple[int, int]:
    """(height, width) for a number of patches of 16 pixels: preferably 4:3 for tasks, square for pretraining."""
    side, quarter = isqrt(max(patches, 0)), isqrt(max(patches, 0) // 12)
    upright = (64 * quarter, 48 * quarter) if patches > 0 and 12 * quarter**2 == patches else None
    square = (16 * side, 16 * side) if patches > 0 and side**2 == patches else None
    size = (square or upright) if task == PRETRAINING else (upright or square)
    if size is None:
        raise CheckpointError(
            f"{source}: a position embedding for {patches} patches, of neither a 4:3 nor a square grid"
        )
    return size
