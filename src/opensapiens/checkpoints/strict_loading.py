"""Safetensors files into modules: every tensor accounted for, or an error that lists what does not fit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

MOST_NAMES_LISTED = 20


class CheckpointError(ValueError):
    """A model folder or weights file that is missing, damaged, or not what its description says."""


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES_LISTED])
    return shown if len(names) <= MOST_NAMES_LISTED else f"{shown} and {len(names) - MOST_NAMES_LISTED} more"


def check_names_and_shapes(module: nn.Module, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Compare tensor shapes by name with what the module holds.

    Raises:
        CheckpointError: names every missing, unexpected and mis-shaped tensor (the first 20 of each).
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
        f"{len(found)} {kind}: {_listed(found)}"
        for kind, found in (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", misshaped))
        if found
    ]
    if problems:
        raise CheckpointError(f"the tensors of {source} do not fit the model: " + "; ".join(problems))


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a safetensors file, from its header.

    Raises:
        CheckpointError: no such file, or not a whole safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights file {path}")
    try:
        with safe_open(path, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The text that stands in the header of a safetensors file beside its tensors. Raises as read_shapes."""
    read_shapes(path)
    with safe_open(path, framework="pt") as tensors:
        return tensors.metadata() or {}


def read_tensors(path: Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on a device and, unless dtype is None, converted to one type.

    What is of the right type already is mapped from the file on the CPU and takes no memory until it is used.

    Raises:
        CheckpointError: no such file, or not a whole safetensors file.
    """
    names = read_shapes(path)
    if torch.device(device).type == "cpu":
        with safe_open(path, framework="pt") as tensors:
            mapped = {name: tensors.get_tensor(name) for name in names}
        if all(dtype in (None, tensor.dtype) for tensor in mapped.values()):
            return mapped
        del mapped
    return {name: _copied_tensor(path, name, device, dtype) for name in names}


def _copied_tensor(path: Path, name: str, device: str | torch.device, dtype: torch.dtype | None) -> Tensor:
    # The file is opened anew for each: its pages leave memory before those of the next come in.
    with safe_open(path, framework="pt", device=str(device)) as tensors:
        return tensors.get_tensor(name).to(dtype=dtype)


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a module; parameters on the meta device become the tensors themselves, type and device too.

    Raises:
        CheckpointError: names every missing, unexpected and mis-shaped tensor; the module is then unchanged.
    """
    check_names_and_shapes(module, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, source)
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    module.load_state_dict(tensors, strict=True, assign=on_meta)


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises CheckpointError, with the names, where tensors hold NaN or infinity: such weights answer nothing."""
    # A sum is one pass without a copy; where it is not finite, the values themselves decide.
    suspect = [name for name, tensor in tensors.items() if not torch.isfinite(tensor.sum(dtype=torch.float32))]
    damaged = [name for name in suspect if not torch.isfinite(tensors[name]).all()]
    if damaged:
        raise CheckpointError(
            f"{len(damaged)} of the {len(tensors)} tensors of {source} hold values that are not finite (NaN or "
            f"infinity), so that it can predict nothing: {_listed(damaged)}. Take another checkpoint of the training"
        )
