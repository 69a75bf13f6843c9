"""The weights that Meta published: a table of names, files and licenses, and the description of each model.

The table is from the published documentation and file listings; a row without files is a model in the paper whose file
names are not known. It holds what a file's tensors do not show: labels, license, preprocessing and patch padding.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

from opensapiens.backbones.sapiens import published_config
from opensapiens.geometry.view import Interpolation, Preprocessing, Resize
from opensapiens.tasks import TASKS

from .model_description import HeadDescription, ModelDescription

TASK_SIZE = (1024, 768)
PRETRAINING = "pretraining"
PRETRAINING_SIZE = (1024, 1024)
FAMILY = "facebook/sapiens"
"""The hub's repository with all of Meta's files in one tree; there is also one per task, size and form."""

HOST_OF_FORM = {
    "original": "sapiens_host",
    "torchscript": "sapiens_lite_host/torchscript",
    "bfloat16": "sapiens_lite_host/bfloat16",
}
"""Form of a file, best first -> its folder in a published tree."""


@dataclass(frozen=True)
class PublishedModel:
    """One row of the table.

    Attributes:
        name: for load(), such as "sapiens-1b-pose308".
        size: "0.3b", "0.6b", "1b" or "2b".
        task: name of its head, or PRETRAINING for a backbone without heads.
        labels: the label set's name, or "".
        outputs: channels of its head, or 0.
        head: names of the head and its last layer in the file, such as "decode_head.conv_seg".
        patch_padding: see SapiensConfig.
        resize, interpolation, flip_test: see Preprocessing. The published pose models see one person and average with
            the mirror image; the others see the whole image, stretched.
        repo: the hub's repository of the original file, empty if no file is known.
        folder: of the file in a published tree, below the folder of its form.
        files: form ("original", "torchscript", "bfloat16") -> file name.
        license: SPDX name of the weights' license.
    """

    name: str
    size: str
    task: str
    labels: str
    outputs: int
    head: str
    patch_padding: int
    resize: Resize
    interpolation: Interpolation
    flip_test: bool
    repo: str
    folder: str
    files: Mapping[str, str]
    license: str

    def locations(self) -> list[tuple[str, str]]:
        """(repository on the hub, path in it) of every known copy, the most faithful form first."""
        locations = []
        for form, file in self.files.items():
            in_tree = f"{HOST_OF_FORM[form]}/{self.folder}/{file}"
            if self.repo.startswith(f"{FAMILY}-"):
                locations += [(self.repo + ("" if form == "original" else f"-{form}"), file), (FAMILY, in_tree)]
            else:
                locations.append((self.repo, in_tree))
        return locations

    def description(
        self, image_size: tuple[int, int] | None = None, class_token: bool | None = None
    ) -> ModelDescription:
        """Its description, by default for the published image size and tokens."""
        pretrained = self.task == PRETRAINING
        size = image_size or (PRETRAINING_SIZE if pretrained else TASK_SIZE)
        token = pretrained if class_token is None else class_token
        heads = {}
        if not pretrained:
            shape = TASKS[self.task].published
            heads[self.task] = HeadDescription(
                self.outputs, shape.deconv_channels, shape.conv_channels, self.labels or None, shape.dropout
            )
        return ModelDescription(
            name=self.name,
            backbone=published_config(self.size, size, self.patch_padding, token),
            heads=heads,
            preprocessing=Preprocessing(
                size, resize=self.resize, interpolation=self.interpolation, flip_test=self.flip_test
            ),
            license=self.license,
            source=f"https://huggingface.co/{self.repo}" if self.repo else "",
        )


def _read_table() -> dict[str, PublishedModel]:
    table = files("opensapiens.checkpoints") / "tables" / "published_models.csv"
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["name"]: PublishedModel(
            outputs=int(row["outputs"]),
            patch_padding=int(row["patch_padding"]),
            resize=cast(Resize, row["resize"]),
            interpolation=cast(Interpolation, row["interpolation"]),
            flip_test=row["flip_test"] == "yes",
            files={form: row[form] for form in HOST_OF_FORM if row[form]},
            **{key: row[key] for key in ("name", "size", "task", "labels", "head", "repo", "folder", "license")},
        )
        for row in rows
    }


PUBLISHED_MODELS = _read_table()
"""Name -> row, in the order of the table."""
