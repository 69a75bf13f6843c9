"""Our format: a folder with model.safetensors (the tensors) and config.json (what builds the model and feeds it)."""

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
from opensapiens.models.heads import HEADS
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
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
SAMPLES, SAMPLE_BYTES = 64, 4096  # of a file of weights, to tell it from others
BACKBONE, DECODER = "backbone.", "decoder."
"""First parts of names: of every model's backbone, and of a masked autoencoder's decoder."""

Families = Mapping[str, type[BackboneConfig]]


def build_model(description: ModelDescription) -> HumanModel:
    """The model of a description, freshly initialized; under torch.device("meta") without memory.

    Task heads start as the published segmentation head does, which suits training several from scratch.
    """
    channels = description.backbone.feature_channels
    heads = {
        task: HEADS[head.kind](channels, head.out_channels, head.deconv_channels, head.conv_channels, head.dropout)
        for task, head in description.heads.items()
    }
    return HumanModel(description.backbone.build(), heads)


def build_masked_autoencoder(description: ModelDescription) -> MaskedAutoencoder:
    """The masked autoencoder of a description with a decoder, freshly initialized.

    Raises:
        CheckpointError: the description has no decoder.
    """
    decoder = description.decoder
    if decoder is None:
        raise CheckpointError(f"model {description.name!r} has no decoder: it is no masked autoencoder")
    return MaskedAutoencoder(description.backbone, decoder.embed_dim, decoder.layers, decoder.heads)


def save_model(
    folder: str | os.PathLike[str],
    model: HumanModel | MaskedAutoencoder,
    description: ModelDescription,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model folder; a folder that exists keeps its old files until the new ones are whole.

    Args:
        folder: made if need be.
        model: on any device; a masked autoencoder where the description has a decoder.
        description: must be of this very model.
        dtype: type to store the tensors in, by default their own; torch.float16 halves a file.

    Raises:
        CheckpointError: the model is not what the description says, a value has no finite form in dtype, or the folder
            holds a model that is not of our format.
    """
    save_tensors(folder, model.state_dict(), description, dtype)


def save_tensors(
    folder: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    description: ModelDescription,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model folder from tensors by their names in it: "backbone.", "heads.TASK.", "decoder.". See save_model.

    Tensors that are mapped from a file are read as they are written, never all at once.
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
    """Write a safetensors file. Raises OSError where the disk is full."""
    try:
        save_file(dict(tensors), path, metadata={"format": "pt", **(metadata or {})})
    except SafetensorError as error:  # "Error while serializing: I/O error: No space left on device (os error 28)"
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error from error


def _check_free(folder: Path) -> None:
    """Raises CheckpointError for a folder with a model file that is not of our format, which is not replaced."""
    if any((folder / name).exists() for name in (WEIGHTS_FILE, CONFIG_FILE)):
        try:
            read_description(folder)
        except CheckpointError as error:
            raise CheckpointError(f"{folder} holds another program's model: choose another folder") from error


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as it goes into the file. Contiguous: a model in channels_last order has tensors that are not."""
    stored = tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
    if not torch.isfinite(stored).all():
        raise CheckpointError(f"{name} is not finite as {stored.dtype}; a model with such a tensor is not saved")
    return stored


def _check_against(description: ModelDescription, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Whether tensors by these names and shapes are those of the description: of its autoencoder too if it has one."""
    with torch.device("meta"):
        expected = build_model(description)
        if description.decoder is not None:
            expected.add_module("decoder", build_masked_autoencoder(description).decoder)
    check_names_and_shapes(expected, shapes, source)


def read_description(folder: str | os.PathLike[str], backbones: Families = BACKBONES) -> ModelDescription:
    """The description in a model folder, without its weights; backbones: family -> its config.

    Raises:
        CheckpointError: no such folder or config, or one that does not hold together; it says where.
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
) -> tuple[HumanModel, ModelDescription]:
    """Read a model folder. Nothing is guessed: each tensor of the model must be in the file and no other.

    Args:
        folder: as save_model wrote it.
        device: where the model goes.
        dtype: type of its parameters, whatever the file stores.
        backbones: family -> its config; for a family of your own, {**BACKBONES, "name": Config}.

    Returns:
        the model in evaluation mode, and its description.

    Raises:
        CheckpointError: a file is missing or damaged, the description does not hold together, or tensors are missing,
            unexpected or mis-shaped; it lists them.
    """
    description = read_description(folder, backbones)
    with torch.device("meta"):
        model = build_model(description)
    tensors = folder_tensors(folder, description, device, dtype)
    # A pretrained folder's decoder is for load_masked_autoencoder.
    load_strictly(model, {n: t for n, t in tensors.items() if not n.startswith(DECODER)}, str(folder))
    return model.eval(), description


def load_masked_autoencoder(
    folder: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    backbones: Families = BACKBONES,
) -> tuple[MaskedAutoencoder, ModelDescription]:
    """Read the folder of a masked autoencoder with its decoder, in evaluation mode; as load_model otherwise.

    Raises:
        CheckpointError: as load_model does, and for a model without a decoder.
    """
    description = read_description(folder, backbones)
    with torch.device("meta"):
        model = build_masked_autoencoder(description)
    tensors = folder_tensors(folder, description, device, dtype)
    load_strictly(model, tensors, str(folder))
    return model.eval(), description


def weights_digest(folder: str | os.PathLike[str]) -> str:
    """16 hexadecimal digits that stand for the weights of a folder: of a sample of the file, since training changes all
    of it and gigabytes take long to read."""
    path = Path(folder) / WEIGHTS_FILE
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=8)
    with path.open("rb") as file:
        for place in range(SAMPLES):
            file.seek(size * place // SAMPLES)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def folder_tensors(
    folder: str | os.PathLike[str],
    description: ModelDescription,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """The tensors of a model folder by their names in it, a decoder's too; dtype None = as they are stored.

    Raises:
        CheckpointError: the file is missing or damaged, or its tensors are not those of the description, or not finite.
    """
    path = Path(folder) / WEIGHTS_FILE
    _check_against(description, read_shapes(path), str(path))  # from the header, before gigabytes are read
    tensors = read_tensors(path, device, dtype)
    check_finite(tensors, str(path))
    return tensors
