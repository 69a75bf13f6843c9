"""Converts published files to our model folders and back, with every tensor unchanged."""

import os
import reprlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.backbones.sapiens2 import Sapiens2Config
from opensapiens.storage.files import sha256_of, written

from . import sapiens2_files, sapiens_files
from .model_description import ModelDescription
from .model_folder import BACKBONE, WEIGHTS_FILE, read_description, save_tensors, write_tensors
from .strict_loading import CheckpointError, read_metadata, read_tensors
from .tensor_names import UnmappedNamesError
from .torch_files import read_torch_file

IGNORED = ("data_preprocessor.mean", "data_preprocessor.std")
"""Constants of the preprocessing in exported programs."""
FAMILIES = {SapiensConfig.family: sapiens_files, Sapiens2Config.family: sapiens2_files}
"""Family of a backbone -> the names in its published files."""
TASKS_OF_FILES = list(dict.fromkeys(task for family in FAMILIES.values() for task in family.HEAD_OF_TASK))


def read_published_file(
    path: str | os.PathLike[str], task: str | None = None
) -> tuple[dict[str, Tensor], ModelDescription]:
    """Tensors of a published file, by our names in a folder, and the description of its model.

    Formats: a flat dict of tensors; {meta, state_dict}, the rest of which is ignored (an optimizer, or a second set of
    weights: the published code saves the averaged ones as state_dict); TorchScript; an exported program; safetensors.
    Names may begin with "module.", as after parallel training. The tensors are mapped from the file, which must not
    change.

    Args:
        path: the file.
        task: of its head; by default from the metadata ("task") or the file's published name.

    Raises:
        CheckpointError: not weights of the published family, or of an unknown task; UnmappedNamesError lists the names
            of tensors that do not belong.
    """
    path = Path(path)
    if task is not None and task not in TASKS_OF_FILES:
        raise CheckpointError(f"no task {task!r} was published; there are {', '.join(TASKS_OF_FILES)}")
    if path.suffix == ".safetensors":
        content: Any = read_tensors(path)
        meta: Any = read_metadata(path)
    else:
        content = read_torch_file(path)
        meta = content.get("meta") if isinstance(content, Mapping) else None
    published = _state_dict(content, str(path))
    if task is None and isinstance(meta, Mapping) and meta.get("task") in TASKS_OF_FILES:
        task = meta["task"]
    is_second = any(name.endswith(sapiens2_files.MARK) for name in published)
    family = FAMILIES[Sapiens2Config.family if is_second else SapiensConfig.family]
    layout = family.layout_of(published, path, task)
    if layout == "backbone":
        published = {name.removeprefix("backbone."): tensor for name, tensor in published.items()}
    try:
        ours = family.from_published(published, layout)
    except UnmappedNamesError as error:
        raise UnmappedNamesError(error.names, error.layout, str(path)) from error
    if layout == "backbone":
        ours = {BACKBONE + name: tensor for name, tensor in ours.items()}
    try:
        return ours, family.describe_tensors({name: tuple(tensor.shape) for name, tensor in ours.items()}, str(path))
    except CheckpointError:
        raise
    except ValueError as error:  # sizes beyond all bounds
        raise CheckpointError(f"{path}: {error}") from error


def _state_dict(content: Any, source: str) -> dict[str, Tensor]:
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        parts = list(content)[:8] if isinstance(content, Mapping) else [type(content)]
        held = ", ".join(map(reprlib.repr, parts))
        raise CheckpointError(f"{source} holds no weights: neither tensors nor a state_dict, but {held or 'nothing'}")
    strange = [name for name, value in state.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if strange:
        listed = ", ".join(map(str, strange[:20]))
        raise CheckpointError(f"{source}: entries of its state_dict are no tensors: {listed}")
    tensors = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in tensors.items() if name not in IGNORED}


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], origin: str = "", task: str | None = None
) -> ModelDescription:
    """Converts a published file to a model folder, or a model folder to a published file, bit by bit.

    The published file has the layout of its task. Of Sapiens it is flat for a pretrained backbone, else {meta,
    state_dict}; of Sapiens2 it is a safetensors file.

    Args:
        source: a published file, or a model folder.
        target: the folder or the file (.pth, of Sapiens2 .safetensors) to write. An existing file is replaced when the
            new one is complete.
        origin: where a published file came from, for config.json; by default its name.
        task: of a published file's head, if neither its name nor its metadata says.

    Raises:
        CheckpointError: the source is neither, or a model that no published file can hold.
    """
    if Path(source).is_dir():
        return _to_file(Path(source), Path(target))
    if Path(target).is_file():
        raise CheckpointError(f"{target} is a file; a published file is converted into a folder")
    tensors, description = read_published_file(source, task)
    description = replace(description, source=origin or Path(source).name, sha256=sha256_of(source))
    save_tensors(target, tensors, description)
    return description


def _to_file(folder: Path, target: Path) -> ModelDescription:
    description = read_description(folder)
    layout = _layout_of(description, str(folder))
    family = FAMILIES[description.backbone.family]
    if (family is sapiens2_files) != (target.suffix == ".safetensors"):
        ending = ".safetensors" if family is sapiens2_files else ".pth"
        raise CheckpointError(f"{target}: a published {description.backbone.family} file ends in {ending}")
    if target.is_dir():
        raise CheckpointError(f"{target} is a folder; a model folder is converted into a file, for example model.pth")
    tensors = read_tensors(folder / WEIGHTS_FILE)
    if layout == "backbone":
        tensors = {name.removeprefix(BACKBONE): tensor for name, tensor in tensors.items()}
    meta = {"task": layout} if layout in family.HEAD_OF_TASK else {}
    published = family.to_published(tensors, layout)
    with written(target) as temporary:
        if family is sapiens2_files:
            write_tensors(temporary, published)
            return description
        torch.save(published if layout == "backbone" else {"meta": meta, "state_dict": published}, temporary)
    return description


def _layout_of(description: ModelDescription, source: str) -> str:
    if len(description.heads) > 1:
        heads = ", ".join(description.heads)
        raise CheckpointError(f"{source} has several heads ({heads}); a published file holds one")
    if description.decoder is not None:
        return sapiens_files.AUTOENCODER
    layout = next(iter(description.heads), "backbone")
    family = FAMILIES.get(description.backbone.family)
    if family is None or layout not in family.LAYOUTS:
        raise CheckpointError(
            f"{source} is a {description.backbone.family} model for {layout}; none such was published"
        )
    return layout
