"""The weights that Meta published: a table of names, files and licences, and the description of each model.

The table is from the published documentation and file listings; a row without files is a model that the paper names
and whose file names are not known. A file's own tensors decide its architecture and labels; the table adds what
they cannot say: the licence, and the padding of the patch convolution (2 for pose and normals, 0 for the others).
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from math import isqrt

from opensapiens.geometry.view import Preprocessing
from opensapiens.labels.keypoints import KEYPOINT_SETS
from opensapiens.labels.parts import PART_SETS
from opensapiens.models.upsampling_head import PUBLISHED_HEADS
from opensapiens.models.vit import PUBLISHED_SIZES, published_config

from .model_description import (
    DecoderDescription,
    HeadDescription,
    ModelDescription,
)
from .strict_loading import CheckpointError

TASK_SIZE = (1024, 768)
PRETRAINING = "pretraining"
PRETRAINING_SIZE = (1024, 1024)
FAMILY = "facebook/sapiens"
"""The hub's repository that holds all of Meta's files in one tree, beside one repository per task, size and form."""

HOST_OF_FORM = {
    "original": "sapiens_host",
    "torchscript": "sapiens_lite_host/torchscript",
    "bfloat16": "sapiens_lite_host/bfloat16",
}
"""Form of a file, best first -> the folder in a published tree that holds the files of this form."""

DECODER_HEADS = 16
"""Attention heads of the decoder of published pretraining. Its weights were never released; raw training checkpoints
hold one."""


@dataclass(frozen=True)
class PublishedModel:
    """One row of the table.

    Attributes:
        name: what load() takes: "sapiens-1b-pose308".
        size: "0.3b", "0.6b", "1b" or "2b".
        task: "pose", "segmentation", "depth", "normals", or "pretraining" for a backbone without heads.
        labels: the label set's name, empty without one.
        patch_padding: see ViTConfig.
        repo: the hub's repository of the original file, empty where no file is known.
        folder: where the file lies in a published tree, below the folder of its form.
        files: form ("original", "torchscript", "bfloat16") -> file name.
        licence: SPDX name of the weights' licence.
    """

    name: str
    size: str
    task: str
    labels: str
    patch_padding: int
    repo: str
    folder: str
    files: Mapping[str, str]
    licence: str

    def locations(self) -> list[tuple[str, str]]:
        """(repository on the hub, path in it) of every known copy, the most faithful form first."""
        found = []
        for form, file in self.files.items():
            in_tree = f"{HOST_OF_FORM[form]}/{self.folder}/{file}"
            if self.repo.startswith(f"{FAMILY}-"):
                found += [(self.repo + ("" if form == "original" else f"-{form}"), file), (FAMILY, in_tree)]
            else:
                found.append((self.repo, in_tree))
        return found

    def channels(self) -> int:
        """Output channels of the head; 0 for a pretrained backbone."""
        return 0 if self.task == PRETRAINING else _label_count(self.task, self.labels)

    def description(
        self, image_size: tuple[int, int] | None = None, class_token: bool | None = None
    ) -> ModelDescription:
        """What its config.json says, for the published image size and tokens unless others are given."""
        pretrained = self.task == PRETRAINING
        size = image_size or (PRETRAINING_SIZE if pretrained else TASK_SIZE)
        token = pretrained if class_token is None else class_token
        heads = {}
        if not pretrained:
            shape = PUBLISHED_HEADS[self.task]
            heads[self.task] = HeadDescription(
                self.channels(), shape.deconv_channels, shape.conv_channels, self.labels or None, shape.dropout
            )
        return ModelDescription(
            name=self.name,
            vit=published_config(self.size, size, self.patch_padding, token),
            heads=heads,
            preprocessing=_preprocessing(self.task, size),
            licence=self.licence,
            source=f"https://huggingface.co/{self.repo}" if self.repo else "",
        )


def _preprocessing(task: str, size: tuple[int, int]) -> Preprocessing:
    """The published pose models look at one person and average with the mirror image; the others look at the whole
    image, its aspect not kept, the pretrained ones through Pillow's bicubic resize."""
    if task == "pose":
        return Preprocessing(size, flip_test=True)
    return Preprocessing(size, resize="squash", interpolation="bicubic" if task == PRETRAINING else "linear")


def _label_count(task: str, labels: str) -> int:
    if task == "pose":
        return len(KEYPOINT_SETS[labels].names)
    return len(PART_SETS[labels].names) if task == "segmentation" else {"depth": 1, "normals": 3}[task]


def _read_table() -> dict[str, PublishedModel]:
    table = files("opensapiens.checkpoints") / "tables" / "published_models.csv"
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["name"]: PublishedModel(
            patch_padding=int(row["patch_padding"]),
            files={form: row[form] for form in HOST_OF_FORM if row[form]},
            **{key: row[key] for key in ("name", "size", "task", "labels", "repo", "folder", "licence")},
        )
        for row in rows
    }


PUBLISHED_MODELS = _read_table()
"""Name -> row, in the order of the table."""

Shapes = Mapping[str, tuple[int, ...]]


def describe_tensors(shapes: Shapes, source: str) -> ModelDescription:
    """The description of a published model from the shapes of its tensors, by our names in a folder.

    Args:
        shapes: name -> shape, of a backbone ("backbone.") with at most one head ("heads.TASK.") or "decoder.".
        source: what to call the tensors in an error.

    Raises:
        CheckpointError: a width and depth that no published backbone has, a count of outputs that no published head of
            the task has, or a position embedding of no square or 4:3 grid.
    """
    size = _size(shapes, source)
    tasks = sorted({name.split(".")[1] for name in shapes if name.startswith("heads.")})
    task = tasks[0] if tasks else PRETRAINING
    outputs = _shape(shapes, f"heads.{task}.output.bias", 1, source)[0] if tasks else 0
    same_task = [row for row in PUBLISHED_MODELS.values() if row.task == task and row.size == size]
    found = [row for row in same_task if row.channels() == outputs]
    if not found:
        known = ", ".join(str(row.channels()) for row in same_task)
        raise CheckpointError(f"{source}: a {task} head with {outputs} outputs; the published ones have {known}")
    class_token = "backbone.class_token" in shapes
    positions = _shape(shapes, "backbone.position_embedding", 3, source)[1]
    image_size = _image_size(positions - int(class_token), task, source)
    description = found[0].description(image_size, class_token)
    if not any(name.startswith("decoder.") for name in shapes):
        return description
    decoder = DecoderDescription(
        _shape(shapes, "decoder.norm.weight", 1, source)[0], _count_blocks(shapes, "decoder.blocks."), DECODER_HEADS
    )
    # Meta released the encoder alone: this is somebody's own training.
    return replace(description, name=f"sapiens-{size}-masked-autoencoder", licence="", source="", decoder=decoder)


def _shape(shapes: Shapes, name: str, axes: int, source: str) -> tuple[int, ...]:
    if len(shapes.get(name, ())) != axes:
        raise CheckpointError(f"{source}: no tensor {name} of {axes} axes, without which no model can be recognised")
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
