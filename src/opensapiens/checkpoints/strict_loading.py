"""Loads safetensors files into modules: every tensor is accounted for, or an error lists what does not fit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

MOST_NAMES_LISTED = 20


class CheckpointError(ValueError):
    """A model folder or weights file that is missing, damaged, or unlike its description."""


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES_LISTED])
    return shown if len(names) <= MOST_NAMES_LISTED else f"{shown} and {len(names) - MOST_NAMES_LISTED} more"


def check_names_and_shapes(module: nn.Module, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Compares tensor shapes by name with those of a module.

    Raises:
        CheckpointError: lists missing, unexpected and mis-shaped tensors (the first 20 of each).
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing = [name for name in expected if name not in shapes]
    unexpected = [name for name in shapes if name not in expected]
    misshaped = [
        f"{name} is {tuple(shapes[name])} instead of {shape}"
        for name, shape in expected.items()
        if name in shapes and tuple(shapes[name]) != shape
    ]
    problems = [
        f"{len(names)} {kind}: {_listed(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", misshaped))
        if names
    ]
    if problems:
        raise CheckpointError(f"the tensors of {source} do not fit the model: " + "; ".join(problems))


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the header of a safetensors file. Raises CheckpointError if it is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f"no weights file {path}")
    try:
        with safe_open(path, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The text metadata in the header of a safetensors file. Raises as read_shapes."""
    read_shapes(path)
    with safe_open(path, framework="pt") as tensors:
        return tensors.metadata() or {}


def read_tensors(path: Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on a device and, unless dtype is None, converted to one type.

    On the CPU and without conversion they are mapped from the file. Raises as read_shapes.
    """
    names = read_shapes(path)
    if torch.device(device).type == "cpu":
        with safe_open(path, framework="pt") as tensors:
            mapped = {name: tensors.get_tensor(name) for name in names}
        if all(dtype in (None, tensor.dtype) for tensor in mapped.values()):
            return mapped
        del mapped
    copies = {}
    for name in names:  # reopened for each tensor, so that its pages leave memory before those of the next come in
        with safe_open(path, framework="pt", device=str(device)) as tensors:
            copies[name] = tensors.get_tensor(name).to(dtype=dtype)
    return copies


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copies tensors into a module; parameters on the meta device become the tensors themselves.

    Raises:
        CheckpointError: lists missing, unexpected and mis-shaped tensors; the module is then unchanged.
    """
    check_names_and_shapes(module, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, source)
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    module.load_state_dict(tensors, strict=True, assign=on_meta)


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises CheckpointError, with the names, if tensors hold NaN or infinity."""
    # A sum is one pass without a copy; only if it is not finite, all values are checked.
    suspect = [name for name, tensor in tensors.items() if not torch.isfinite(tensor.sum(dtype=torch.float32))]
    damaged = [name for name in suspect if not torch.isfinite(tensors[name]).all()]
    if damaged:
        raise CheckpointError(
            f"{len(damaged)} of the {len(tensors)} tensors of {source} hold values that are not finite (NaN or "
            f"infinity): {_listed(damaged)}. Use another checkpoint of the training"
        )
