"""Models by name, and the list of those that there are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch

from opensapiens.checkpoints.model_folder import build_model, load_model, read_description
from opensapiens.inference.detection import Detector
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.pipeline import People
from opensapiens.models.cost import full_flops, parameters


class ModelNotFound(ValueError):
    """No model of this name or in this place."""


@dataclass(frozen=True)
class ModelSummary:
    """One row of list_models(): the name to load it by, its count of parameters, and what one input costs.

    flops: of one forward pass of all heads, a multiply-add counted as two. source: where the weights come from.
    """

    name: str
    tasks: tuple[str, ...]
    parameters: int
    flops: int
    input_size: tuple[int, int]
    licence: str
    source: str


def load(
    models: str | Path | Sequence[str | Path],
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    detector: Detector | None = None,
    batch_size: int = 8,
) -> People:
    """The pipeline for one model or for several that work together.

    models: the name of an embedded model ("nano"), a folder with model.safetensors and config.json, or a list of these;
    each task is done by the first model that has a head for it. device: by default the GPU if there is one. dtype: by
    default float32.
    detector: what finds the people when no boxes are given (default: see People). Raises ModelNotFound for an unknown
    name, ValueError for weights that do not fit their description.
    """
    names = [models] if isinstance(models, str | Path) else list(models)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    loaded = []
    for name in names:
        network, description = load_model(model_folder(name), device=device, dtype=dtype or torch.float32)
        loaded.append(LoadedModel(network.eval(), description))
    return People(loaded, detector, batch_size)


def list_models() -> list[ModelSummary]:
    """The models that load() knows by name."""
    return [summarize(folder) for folder in _embedded_folders().values()]


def summarize(folder: Path) -> ModelSummary:
    """The row of a model folder, from its config.json alone."""
    description = read_description(folder)
    with torch.device("meta"):
        network = build_model(description)
    height, width = description.preprocessing["input_size"]
    return ModelSummary(
        name=folder.name,
        tasks=tuple(description.heads),
        parameters=parameters(network),
        flops=full_flops(description.vit, tuple(network.heads.values())),  # type: ignore[arg-type]
        input_size=(height, width),
        licence=description.licence,
        source=description.source,
    )


def model_folder(name: str | Path) -> Path:
    """The folder of a model given by name or by folder. Raises ModelNotFound."""
    embedded = _embedded_folders()
    if str(name) in embedded:
        return embedded[str(name)]
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return path
    if path.is_dir():
        raise ModelNotFound(f"{path} is not a model folder: it has no config.json (and model.safetensors)")
    near = difflib.get_close_matches(str(name), embedded, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    known = ", ".join(sorted(embedded)) or "none in this installation"
    raise ModelNotFound(f"no model named {str(name)!r}, and no folder of that name.{hint} Embedded models: {known}.")


def _embedded_folders() -> dict[str, Path]:
    weights = Path(str(files("opensapiens"))) / "weights"
    return {config.parent.name: config.parent for config in sorted(weights.glob("*/config.json"))}
