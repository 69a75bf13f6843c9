"""Our format: a folder with model.safetensors (the tensors) and config.json (the model and its preprocessing)."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from opensapiens.backbones import BACKBONES, BackboneConfig
from opensapiens.models.heads import build_head
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.models.self_distillation import DistillationSettings, SelfDistillation
from opensapiens.storage.files import written
from opensapiens.storage.json_files import read_json
from opensapiens.storage.text_files import FileError

from .model_description import ModelDescription
from .strict_loading import (
    CheckpointError,
    check_finite,
    check_names_and_shapes,
    load_strictly,
    read_shapes,
    read_tensors,
)

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
SAMPLES, SAMPLE_BYTES = 64, 4096  # of a weights file, for its digest
BACKBONE, DECODER = "backbone.", "decoder."
"""Prefixes of tensor names: every model's backbone, and a masked autoencoder's decoder."""

Families = Mapping[str, type[BackboneConfig]]


def build_model(description: ModelDescription) -> HumanModel:
    """The model of a description, freshly initialized; under torch.device("meta") without memory.

    Heads with transposed convolutions start like the published one of segmentation, which suits training several
    from scratch.
    """
    channels = description.backbone.feature_channels
    heads = {task: build_head(channels, head.out_channels, head.shape) for task, head in description.heads.items()}
    return HumanModel(description.backbone.build(), heads)


def build_masked_autoencoder(
    description: ModelDescription, distillation: DistillationSettings | None = None
) -> MaskedAutoencoder:
    """The masked autoencoder of a description with a decoder, freshly initialized; with a teacher if there are settings
    of one.

    Raises:
        CheckpointError: the description has no decoder.
    """
    decoder = description.decoder
    if decoder is None:
        raise CheckpointError(f"model {description.name!r} has no decoder: it is no masked autoencoder")
    shape = decoder.embed_dim, decoder.layers, decoder.heads
    if distillation is not None:
        return SelfDistillation(description.backbone, distillation, *shape)
    return MaskedAutoencoder(description.backbone, *shape)


def save_model(
    folder: str | os.PathLike[str],
    model: HumanModel | MaskedAutoencoder,
    description: ModelDescription,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes a model folder; an existing folder keeps its old files until the new ones are complete.

    Args:
        folder: created if needed.
        model: on any device; a masked autoencoder if the description has a decoder.
        description: of this model.
        dtype: type to store the tensors in, by default their own.

    Raises:
        CheckpointError: the model does not match the description, a value is not finite in dtype, or the folder holds a
            model of another format.
    """
    save_tensors(folder, model.state_dict(), description, dtype)


def save_tensors(
    folder: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    description: ModelDescription,
    dtype: torch.dtype | None = None,
) -> None:
    """Like save_model, from tensors by their names in the folder: "backbone.", "heads.TASK.", "decoder.".

    Tensors that are mapped from a file are read one at a time.
    """
    target = Path(folder)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    _check_against(description, shapes, f"model {description.name!r}")
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in state.items()}
    _check_free(target)
    with written(target / CONFIG_FILE) as config, written(target / WEIGHTS_FILE) as weights:
        config.write_text(json.dumps(description.to_json(), indent=1) + "\n", encoding="utf-8")
        write_tensors(weights, tensors)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file. Raises OSError if the disk is full."""
    try:
        save_file(dict(tensors), path, metadata={"format": "pt", **(metadata or {})})
    except SafetensorError as error:  # "Error while serializing: I/O error: No space left on device (os error 28)"
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error from error


def _check_free(folder: Path) -> None:
    """Raises CheckpointError for a folder with a model of another format."""
    if any((folder / name).exists() for name in (WEIGHTS_FILE, CONFIG_FILE)):
        try:
            read_description(folder)
        except CheckpointError as error:
            raise CheckpointError(f"{folder} holds another program's model: choose another folder") from error


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor on the CPU, contiguous (those of a channels_last model are not), in its stored type."""
    stored = tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
    if not torch.isfinite(stored).all():
        raise CheckpointError(f"{name} is not finite as {stored.dtype}; a model with such a tensor is not saved")
    return stored


def _check_against(description: ModelDescription, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Checks tensor names and shapes against the description, with its decoder if it has one."""
    with torch.device("meta"):
        expected = build_model(description)
        if description.decoder is not None:
            expected.add_module("decoder", build_masked_autoencoder(description).decoder)
    check_names_and_shapes(expected, shapes, source)


def read_description(folder: str | os.PathLike[str], backbones: Families = BACKBONES) -> ModelDescription:
    """The description in a model folder, without its weights; backbones: family -> its config.

    Raises:
        CheckpointError: the folder or its config is missing or invalid.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.parent.is_dir():
        raise CheckpointError(f"no model folder {path.parent}")
    if not path.is_file():
        raise CheckpointError(f"{path.parent} is no model folder: it has no {CONFIG_FILE}")
    try:
        content = read_json(path)
    except FileError as error:
        raise CheckpointError(str(error)) from error
    return ModelDescription.from_json(content, str(path), backbones)


def load_model(
    folder: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    backbones: Families = BACKBONES,
    description: ModelDescription | None = None,
) -> tuple[HumanModel, ModelDescription]:
    """Reads a model folder strictly: the file must hold exactly the tensors of the model.

    Args:
        folder: as written by save_model.
        device: of the model.
        dtype: of its parameters, whatever the file stores.
        backbones: family -> its config; for your own family, {**BACKBONES, "name": Config}.
        description: to build the model by, instead of the folder's own; of the same tensors.

    Returns:
        the model in evaluation mode, and its description.

    Raises:
        CheckpointError: a file is missing or damaged, the description is invalid, or tensors are missing, unexpected or
            mis-shaped; it lists them.
    """
    description = description or read_description(folder, backbones)
    with torch.device("meta"):
        model = build_model(description)
    tensors = folder_tensors(folder, description, device, dtype)
    # The decoder of a pretrained folder is for load_masked_autoencoder.
    load_strictly(model, {n: t for n, t in tensors.items() if not n.startswith(DECODER)}, str(folder))
    return model.eval(), description


def load_masked_autoencoder(
    folder: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    backbones: Families = BACKBONES,
) -> tuple[MaskedAutoencoder, ModelDescription]:
    """Like load_model, for a masked autoencoder with its decoder. Raises CheckpointError as well without one."""
    description = read_description(folder, backbones)
    with torch.device("meta"):
        model = build_masked_autoencoder(description)
    load_strictly(model, folder_tensors(folder, description, device, dtype), str(folder))
    return model.eval(), description


def weights_digest(folder: str | os.PathLike[str]) -> str:
    """A digest of a folder's weights, 16 hexadecimal digits, from a sample of the file, which may have gigabytes."""
    path = Path(folder) / WEIGHTS_FILE
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=8)
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(size * number // SAMPLES)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def folder_tensors(
    folder: str | os.PathLike[str],
    description: ModelDescription,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """The tensors of a model folder by their names in it, a decoder's too; dtype None = as stored.

    Raises:
        CheckpointError: the file is missing or damaged, or its tensors do not match the description or are not finite.
    """
    path = Path(folder) / WEIGHTS_FILE
    _check_against(description, read_shapes(path), str(path))  # from the header, before gigabytes are read
    tensors = read_tensors(path, device, dtype)
    check_finite(tensors, str(path))
    return tensors
