"""Models by name: those in this package, those published by Meta, and the user's own folders and files."""

import difflib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch

from opensapiens.models.cost import full_flops, parameters
from opensapiens.storage.json_files import read_json
from opensapiens.storage.text_files import FileError

from .conversion_cache import on_disk, resolve, resolve_file
from .model_description import ModelDescription
from .model_folder import CONFIG_FILE, WEIGHTS_FILE, build_model, read_description
from .published_table import PUBLISHED_MODELS
from .strict_loading import CheckpointError


class ModelNotFound(CheckpointError):
    """No model of this name or in this place."""


@dataclass(frozen=True)
class ModelSummary:
    """One row of list_models().

    Attributes:
        name: what load() and --model take.
        tasks: what the model predicts; none for a pretrained backbone.
        parameters: their number.
        flops: of one forward pass of all heads; a multiply-add counts as two.
        input_size: (height, width) in pixels.
        license: SPDX name of the weights' license.
        source: where the weights come from.
        on_disk: whether they load without a network.
    """

    name: str
    tasks: tuple[str, ...]
    parameters: int
    flops: int
    input_size: tuple[int, int]
    license: str
    source: str
    on_disk: bool = True


def list_models() -> list[ModelSummary]:
    """The models that load() knows by name: the embedded ones, then the published ones."""
    embedded = [summarize(name, read_description(folder)) for name, folder in _embedded_folders().items()]
    published = [summarize(model.name, model.description(), on_disk(model)) for model in PUBLISHED_MODELS.values()]
    return embedded + published


def summarize(name: str, description: ModelDescription, is_on_disk: bool = True) -> ModelSummary:
    """The row of a model, from its description alone."""
    with torch.device("meta"):
        network = build_model(description)
    return ModelSummary(
        name=name,
        tasks=tuple(description.heads),
        parameters=parameters(network),
        flops=full_flops(description.backbone, network.heads.values()),  # type: ignore[arg-type]
        input_size=description.preprocessing.input_size,
        license=description.license,
        source=description.source,
        on_disk=is_on_disk,
    )


def model_folder(name: str | Path) -> Path:
    """The folder, for load_model, of an embedded or published model's name, a folder, a published file, or a folder
    that holds one as the hub does.

    Raises:
        ModelNotFound: it is none of these; it suggests similar names.
        CheckpointError: see conversion_cache.resolve and convert.
    """
    embedded = _embedded_folders()
    if str(name) in embedded:
        return embedded[str(name)]
    path = Path(name).expanduser()
    if (path / CONFIG_FILE).is_file():
        return resolve_file(path / WEIGHTS_FILE) if _is_of_the_hub(path) else path
    if path.is_file():
        return resolve_file(path)
    if str(name) in PUBLISHED_MODELS:
        return resolve(str(name))
    if path.is_dir():
        raise ModelNotFound(f"{path} is not a model folder: it has no {CONFIG_FILE} (and model.safetensors)")
    near = difflib.get_close_matches(str(name), [*embedded, *PUBLISHED_MODELS], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ModelNotFound(
        f"no model named {str(name)!r}, and no folder or file of that name.{hint} `opensapiens models` lists all names"
    )


def _is_of_the_hub(folder: Path) -> bool:
    """Whether a folder is a repository of Sapiens2 on the hub: its weights have the published names, and its config is
    another program's."""
    try:
        config = read_json(folder / CONFIG_FILE)
    except FileError:
        return False
    return isinstance(config, dict) and "model_type" in config and (folder / WEIGHTS_FILE).is_file()


def _embedded_folders() -> dict[str, Path]:
    weights = Path(str(files("opensapiens"))) / "weights"
    return {config.parent.name: config.parent for config in sorted(weights.glob(f"*/{CONFIG_FILE}"))}
