"""Files of the Sapiens family, as published and as trainings from them write them: names of tensors, task, model.

The files come in these layouts: a pretrained backbone is flat; a task has "backbone." and the head under the name that
the table of published models says; a whole masked autoencoder has "backbone." and "neck.". Ours are the names in a
model folder: "backbone.", "heads.TASK.", "decoder.".
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from pathlib import Path

from opensapiens.backbones.sapiens import PUBLISHED_BLOCK, PUBLISHED_SIZES, PUBLISHED_TENSORS
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
"""Attention heads of the decoder of published pretraining. Its weights were never released; raw training checkpoints
hold one."""

HEAD_OF_TASK = {row.task: row.head.split(".") for row in PUBLISHED_MODELS.values() if row.head}
"""Task -> what its head and the head's last layer are called in a published file."""

Shapes = Mapping[str, tuple[int, ...]]


def _layer(published: str, ours: str) -> list[tuple[str, str]]:
    return [(f"{published}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias")]


def _under(published: str, ours: str, rules: Rules) -> list[tuple[str, str]]:
    return [(f"{published}.{a}", f"{ours}.{b}") for a, b in rules]


def _head(output: str) -> Rules:
    return [
        ("deconv_layers.{3i}.weight", "deconvs.{i}.weight"),
        *_layer("conv_layers.{3i}", "convs.{i}"),
        *_layer(output, "output"),
    ]


_DECODER: Rules = [
    ("mask_token", "mask_token"),
    ("decoder_pos_embed", "position_embedding"),
    *_layer("decoder_embed", "embedding"),
    *(
        rule
        for published, ours in PUBLISHED_BLOCK
        for rule in _layer(f"decoder_blocks.{{i}}.{published}", f"blocks.{{i}}.{ours}")
    ),
    *_layer("ln1", "norm"),
    *_layer("decoder_pred", "output"),
]
_BACKBONE = _under("backbone", "backbone", PUBLISHED_TENSORS)

LAYOUTS: dict[str, Rules] = {
    "backbone": PUBLISHED_TENSORS,
    AUTOENCODER: _BACKBONE + _under("neck", "decoder", _DECODER),
    **{task: _BACKBONE + _under(head, f"heads.{task}", _head(output)) for task, (head, output) in HEAD_OF_TASK.items()},
}
"""Layout -> (published, ours) names. A task's layout is its whole model; "backbone" is the flat file of pretraining."""


def from_published(tensors: Mapping[str, Value], layout: str) -> dict[str, Value]:
    """Published names to ours; the values (tensors, shapes, anything) pass through untouched.

    Raises:
        UnmappedNamesError: lists every name that the layout does not have.
        KeyError: no such layout.
    """
    return renamed(tensors, LAYOUTS[layout], layout)


def to_published(tensors: Mapping[str, Value], layout: str) -> dict[str, Value]:
    """Our names to the published ones; the inverse of from_published, and raises as it does."""
    return renamed(tensors, [(ours, published) for published, ours in LAYOUTS[layout]], layout)


def layout_of(names: Mapping[str, object], path: Path, task: str | None) -> str:
    """The layout of a file with tensors of these (published) names.

    The heads of several tasks have the same names: of these the one is meant that was said, or for which a file of this
    name was published.

    Args:
        path: of the file.
        task: as the user, or the file's metadata, says; None = neither does.

    Raises:
        CheckpointError: a head whose task cannot be told, or that is not the task's.
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
    said = [task] if task is not None else possible if len(possible) == 1 else _tasks_of_name(path.name, possible)
    if len(said) != 1:
        raise CheckpointError(
            f"{path}: the head may be of {', '.join(possible[:-1])} or {possible[-1]}, and neither the file's name nor "
            f"its metadata says of which: opensapiens convert {path.name} FOLDER --task {possible[0]}"
        )
    return said[0]


def _tasks_of_name(name: str, possible: list[str]) -> list[str]:
    """The tasks of the published files whose names differ from this one in their numbers at most, or only begin it."""
    found = set()
    for row in PUBLISHED_MODELS.values():
        for file in row.files.values():
            pattern = re.sub(r"\d+", r"\\d+", re.escape(Path(file).stem))
            if row.task in possible and re.match(pattern, name):
                found.add(row.task)
    return sorted(found)


def describe_tensors(shapes: Shapes, source: str) -> ModelDescription:
    """The description of a model of this family from the shapes of its tensors, by our names in a folder.

    A head with as many outputs as a published one is for its labels. Of any other number they have no names: point_0,
    point_1 and so on.

    Args:
        shapes: name -> shape, of a backbone ("backbone.") with at most one head ("heads.TASK.") or "decoder.".
        source: what to call the tensors in an error.

    Raises:
        CheckpointError: a width and depth that no published backbone has, or a position embedding of no square or 4:3
            grid.
    """
    size = _size(shapes, source)
    tasks = sorted({name.split(".")[1] for name in shapes if name.startswith("heads.")})
    task = tasks[0] if tasks else PRETRAINING
    rows = [row for row in PUBLISHED_MODELS.values() if row.task == task and row.size == size]
    class_token = "backbone.class_token" in shapes
    positions = _shape(shapes, "backbone.position_embedding", 3, source)[1]
    image_size = _image_size(positions - int(class_token), task, source)
    if tasks:
        return _with_head(rows, shapes, task, image_size, class_token, source)
    description = rows[0].description(image_size, class_token)
    if not any(name.startswith("decoder.") for name in shapes):
        return description
    decoder = DecoderDescription(
        _shape(shapes, "decoder.norm.weight", 1, source)[0], _count_blocks(shapes, "decoder.blocks."), DECODER_HEADS
    )
    # Meta released the encoder alone: this is somebody's own training.
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
    outputs = _shape(shapes, f"{prefix}.output.bias", 1, source)[0]
    row = next((row for row in rows if row.outputs == outputs), rows[0])
    description = row.description(image_size, class_token)
    published = row.outputs == outputs
    head = replace(
        description.heads[task],
        out_channels=outputs,
        deconv_channels=_channels(shapes, f"{prefix}.deconvs", 1, source),
        conv_channels=_channels(shapes, f"{prefix}.convs", 0, source),
        labels=(row.labels or None) if published else _unnamed(row, outputs, source),
    )
    if not published:
        name = f"sapiens-{row.size}-{task}-{outputs}"
        description = replace(description, name=name, license="", source="")
    return replace(description, heads={task: head})


def _channels(shapes: Shapes, prefix: str, axis: int, source: str) -> tuple[int, ...]:
    count = _count_blocks(shapes, f"{prefix}.")
    return tuple(_shape(shapes, f"{prefix}.{number}.weight", 4, source)[axis] for number in range(count))


def _unnamed(row: PublishedModel, outputs: int, source: str) -> str | dict[str, object]:
    """Labels of the row's kind whose names are not known."""
    if not row.labels:
        raise CheckpointError(f"{source}: a {row.task} head with {outputs} outputs; there are {row.outputs}")
    if isinstance(label_set_from_json(row.labels), KeypointSet):
        points = {"keypoints": [f"point_{number}" for number in range(outputs)]}
        return label_entry(keypoint_set_of_category(f"points_{outputs}", points))
    parts = [{"id": number, "name": f"part_{number}"} for number in range(1, outputs)]
    return label_entry(part_set_of_categories(f"parts_{outputs}", parts))


def _shape(shapes: Shapes, name: str, axes: int, source: str) -> tuple[int, ...]:
    if len(shapes.get(name, ())) != axes:
        raise CheckpointError(f"{source}: no tensor {name} of {axes} axes, without which no model can be recognized")
    return shapes[name]


def _count_blocks(shapes: Shapes, prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in shapes if name.startswith(prefix)})


def _size(shapes: Shapes, source: str) -> str:
    width = _shape(shapes, "backbone.norm.weight", 1, source)[0]
    layers = _count_blocks(shapes, "backbone.blocks.")
    for size, published in PUBLISHED_SIZES.items():
        if (published["embed_dim"], published["layers"]) == (width, layers):
            return size
    known = ", ".join(f"{p['embed_dim']}x{p['layers']} ({size})" for size, p in PUBLISHED_SIZES.items())
    raise CheckpointError(f"{source}: a backbone of width {width} with {layers} layers; the published ones are {known}")


def _image_size(patches: int, task: str, source: str) -> tuple[int, int]:
    """Height and width for a count of patches of 16 pixels: 4:3 for tasks, square for pretraining, or the other."""
    side, quarter = isqrt(max(patches, 0)), isqrt(max(patches, 0) // 12)
    upright = (64 * quarter, 48 * quarter) if patches > 0 and 12 * quarter**2 == patches else None
    square = (16 * side, 16 * side) if patches > 0 and side**2 == patches else None
    size = (square or upright) if task == PRETRAINING else (upright or square)
    if size is None:
        raise CheckpointError(
            f"{source}: a position embedding for {patches} patches, of neither a 4:3 nor a square grid"
        )
    return size
