"""The weights that Meta published: tables of names, files and licenses, and the description of each model.

The tables are from the published documentation and file listings; a row without files is a model in the paper whose
file names are not known. They hold what a file's tensors do not show: labels, license, preprocessing, patch padding.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

from opensapiens.backbones import BackboneConfig, sapiens, sapiens2
from opensapiens.geometry.view import Interpolation, Preprocessing, Resize
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks import TASKS

from .model_description import HeadDescription, ModelDescription

TASK_SIZE = (1024, 768)
PRETRAINING = "pretraining"
PRETRAINING_SIZE = (1024, 1024)
SIZE_4K = (4096, 3072)
FAMILY = "facebook/sapiens"
"""The hub's repository with all of Meta's files of Sapiens in one tree; there is also one per task, size and form."""
HUB_FILE = "model.safetensors"
"""The second name of a file of Sapiens2 in its repository."""

TERMS = {
    "CC-BY-NC-4.0": "no commercial use",
    "LicenseRef-Sapiens2": "Meta's own Sapiens2 License, no open-source one: copies and what is made from the weights "
    "must carry it, publications must name it, and surveillance, biometric processing, deepfakes and military use are "
    "forbidden; read it before use",
}
"""License of published weights -> what it says, in short."""

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
        family: of its backbone.
        name: for load(), such as "sapiens-1b-pose308".
        size: "0.3b", "0.6b", "1b" or "2b"; of Sapiens2 "0.1b", "0.4b", "0.8b", "1b", "1b-4k" or "5b".
        task: name of its head, or PRETRAINING for a backbone without heads.
        labels: the label set's name, or "".
        outputs: channels of its head, or 0.
        head: names of the head and its last layer in the file, such as "decode_head.conv_seg".
        own_shape: the layers of its head, where they are not those of its task's first one.
        patch_padding: see SapiensConfig.
        resize, interpolation, flip_test: see Preprocessing. The published pose models see one person and average with
            the mirror image; the others see the whole image.
        repo: the hub's repository of the original file, empty if no file is known.
        folder: of the file in a published tree, below the folder of its form.
        files: form ("original", "torchscript", "bfloat16") -> file name.
        license: SPDX name of the weights' license, a key of TERMS.
    """

    family: str
    name: str
    size: str
    task: str
    labels: str
    outputs: int
    head: str
    own_shape: HeadShape | None
    patch_padding: int
    resize: Resize
    interpolation: Interpolation
    flip_test: bool
    repo: str
    folder: str
    files: Mapping[str, str]
    license: str

    @property
    def size_name(self) -> str:
        """Its size, with the family where that is not the first."""
        return self.size if self.family == sapiens.SapiensConfig.family else f"{self.family}-{self.size}"

    @property
    def shape(self) -> HeadShape | None:
        """The layers of its head; None for a backbone."""
        return self.own_shape or (TASKS[self.task].published if self.head else None)

    def locations(self) -> list[tuple[str, str]]:
        """(repository on the hub, path in it) of every known copy, the most faithful form first."""
        if self.family == sapiens2.Sapiens2Config.family:
            return [(self.repo, file) for file in (*self.files.values(), HUB_FILE)] if self.repo else []
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
        token = pretrained if class_token is None else class_token
        backbone = self._backbone(image_size, token)
        heads = {}
        if (shape := self.shape) is not None:
            heads[self.task] = HeadDescription(
                self.outputs,
                shape.deconv_channels,
                shape.conv_channels,
                self.labels or None,
                shape.dropout,
                shape.kind,
                shape.scale,
            )
        return ModelDescription(
            name=self.name,
            backbone=backbone,
            heads=heads,
            preprocessing=Preprocessing(
                backbone.image_size, resize=self.resize, interpolation=self.interpolation, flip_test=self.flip_test
            ),
            license=self.license,
            source=f"https://huggingface.co/{self.repo}" if self.repo else "",
        )

    def _backbone(self, image_size: tuple[int, int] | None, class_token: bool) -> BackboneConfig:
        if self.family == sapiens2.Sapiens2Config.family:
            return sapiens2.published_config(self.size, image_size or (SIZE_4K if "4k" in self.size else TASK_SIZE))
        size = image_size or (PRETRAINING_SIZE if self.task == PRETRAINING else TASK_SIZE)
        return sapiens.published_config(self.size, size, self.patch_padding, class_token)


def _read_table(family: str) -> dict[str, PublishedModel]:
    table = files("opensapiens.checkpoints") / "tables" / f"published_{family}.csv"
    with table.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["name"]: PublishedModel(
            family=family,
            outputs=int(row["outputs"]),
            own_shape=_own_shape(row),
            patch_padding=int(row.get("patch_padding", 0)),
            resize=cast(Resize, row["resize"]),
            interpolation=cast(Interpolation, row["interpolation"]),
            flip_test=row["flip_test"] == "yes",
            files={form: row[form] for form in HOST_OF_FORM if row.get(form)},
            **{key: row[key] for key in ("name", "size", "task", "labels", "head", "repo", "folder", "license")},
        )
        for row in rows
    }


def _own_shape(row: Mapping[str, str]) -> HeadShape | None:
    """The layers of a row's head, with the scale branch of its task; None if the row does not say."""
    if not row.get("kind"):
        return None
    up, convs = (tuple(map(int, row[key].split())) for key in ("up_channels", "conv_channels"))
    return HeadShape(up, convs, kind=row["kind"], scale=TASKS[row["task"]].published.scale)


PUBLISHED_MODELS = _read_table("sapiens") | _read_table("sapiens2")
"""Name -> row, in the order of the tables."""
