"""Our format: a folder with model.safetensors (the tensors) and config.json (what builds the model and feeds it)."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from opensapiens.models.human_model import HumanModel
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.models.vit import VisionTransformer

from .model_description import ModelDescription
from .strict_loading import CheckpointError, check_names_and_shapes, load_strictly, read_shapes, read_tensors

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


def build_model(description: ModelDescription) -> HumanModel:
    """The model of a description, freshly initialised; under torch.device("meta") without memory.

    Task heads start as the published segmentation head does, which suits training several from scratch.
    """
    heads = {
        task: UpsamplingHead(
            description.vit.embed_dim,
            head["out_channels"],
            head["deconv_channels"],
            head["conv_channels"],
            head.get("dropout", 0.0),
        )
        for task, head in description.heads.items()
    }
    return HumanModel(VisionTransformer(description.vit), heads)


def save_model(
    folder: str | os.PathLike[str], model: HumanModel, description: ModelDescription, dtype: torch.dtype | None = None
) -> None:
    """Write a model folder; a folder that exists keeps its old files until the new ones are whole.

    Args:
        folder: made if need be.
        model: on any device.
        description: must be of this very model.
        dtype: type to store the tensors in, by default their own; torch.float16 halves a file.

    Raises:
        CheckpointError: the model is not what the description says, or a value has no finite form in dtype.
    """
    target = Path(folder)
    with torch.device("meta"):
        expected = build_model(description)
    state = model.state_dict()
    check_names_and_shapes(expected, {name: tuple(t.shape) for name, t in state.items()}, f"model {description.name!r}")
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in state.items()}
    target.mkdir(parents=True, exist_ok=True)
    weights, config = target / f"{WEIGHTS_FILE}.part", target / f"{CONFIG_FILE}.part"
    try:
        save_file(tensors, weights, metadata={"format": "pt"})
        config.write_text(json.dumps(description.to_json(), indent=1) + "\n", encoding="utf-8")
        weights.replace(target / WEIGHTS_FILE)
        config.replace(target / CONFIG_FILE)
    finally:
        weights.unlink(missing_ok=True)
        config.unlink(missing_ok=True)


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as it goes into the file. Contiguous: a model in channels_last order has tensors that are not."""
    stored = tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
    if not torch.isfinite(stored).all():
        raise CheckpointError(f"{name} is not finite as {stored.dtype}; a model with such a tensor is not saved")
    return stored


def read_description(folder: str | os.PathLike[str]) -> ModelDescription:
    """The description in a model folder, without its weights.

    Raises:
        CheckpointError: no such folder or config, or one that does not hold together; it says where.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.parent.is_dir():
        raise CheckpointError(f"no model folder {path.parent}")
    if not path.is_file():
        raise CheckpointError(f"{path.parent} is no model folder: it has no {CONFIG_FILE}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    return ModelDescription.from_json(content, str(path))


def load_model(
    folder: str | os.PathLike[str], device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[HumanModel, ModelDescription]:
    """Read a model folder. Nothing is guessed: each tensor of the model must be in the file and no other.

    Args:
        folder: as save_model wrote it.
        device: where the model goes.
        dtype: type of its parameters, whatever the file stores.

    Returns:
        the model in evaluation mode, and its description.

    Raises:
        CheckpointError: a file is missing or damaged, the description does not hold together, or tensors are missing,
            unexpected or mis-shaped; it lists them.
    """
    description = read_description(folder)
    path = Path(folder) / WEIGHTS_FILE
    with torch.device("meta"):
        model = build_model(description)
    # From the header, before gigabytes are read.
    check_names_and_shapes(model, read_shapes(path), str(path))
    load_strictly(model, read_tensors(path, device, dtype), str(path))
    return model.eval(), description
