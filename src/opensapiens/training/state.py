"""The state of a run on disk: everything that a resumed run needs to go on to the same numbers.

One safetensors file per saved step, `checkpoints/00001000.safetensors`: tensors `model.*` (weights), `average.*`
(averaged weights) and `optimizer.<name of the parameter>.<exp_avg ...>`; the JSON under "run" in the file's header
holds the step and what decides the order of the samples. A file appears under its name only when it is complete.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from opensapiens.training.averaging import WeightAverage
from opensapiens.training.loader import Batch
from opensapiens.training.run import Run

KEPT = 2  # the newest checkpoints; the one before the last is there in case the disk damages the last


class ResumeError(RuntimeError):
    """A checkpoint that does not belong to the run that wants to go on from it."""


def save_state(run: Run, step: int, model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> Path:
    """Saves the state after `step` steps and removes all but the newest checkpoints."""
    tensors: dict[str, Tensor] = {f"model.{name}": parameter for name, parameter in model.named_parameters()}
    tensors |= {f"average.{name}": weight for name, weight in average.weights.items()}
    for name, parameter in model.named_parameters():
        for entry, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{name}.{entry}"] = value
    path = _folder(run) / f"{step:08d}.safetensors"
    save_tensors(path, tensors, {"run": json.dumps({"step": step, **_identity(run)})})
    for old in sorted(_folder(run).glob("*.safetensors"))[:-KEPT]:
        old.unlink()
    return path


def load_state(run: Run, model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> int:
    """Puts the newest checkpoint of the run into the model, the average and the optimizer; returns its step (0 = none).

    A checkpoint that cannot be read is passed over for the one before it. Raises ResumeError when the checkpoint
    belongs to another run: then the samples would not come in the order that the saved state stands for.
    """
    for path, file in _readable(sorted(_folder(run).glob("*.safetensors"), reverse=True)):
        saved = json.loads((file.metadata() or {}).get("run", "{}"))
        identity = _identity(run).items()
        differing = [f"{key} was {saved.get(key)}, is {value}" for key, value in identity if saved.get(key) != value]
        names = {f"model.{name}" for name, _ in model.named_parameters()}
        if names != {key for key in file.keys() if key.startswith("model.")}:  # noqa: SIM118 (not a dict)
            differing.append("the model's parameters differ")
        if differing:
            raise ResumeError(f"{path} is of another run: {'; '.join(differing)}. Use another output folder.")
        _fill(file, model, average, optimizer)
        return int(saved["step"])
    return 0


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file that appears under its name only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary, metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _folder(run: Run) -> Path:
    return Path(run.output) / "checkpoints"


def _identity(run: Run) -> dict[str, int]:
    return {"seed": run.seed, "batch_size": run.batch_size, "samples": len(run.data)}


def _readable(paths: list[Path]) -> Iterator[tuple[Path, Any]]:
    for path in paths:
        try:
            with safe_open(path, "pt") as file:
                yield path, file
        except SafetensorError as error:
            print(f"passing over {path}, which cannot be read: {error}")


@torch.no_grad()
def _fill(file: Any, model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> None:
    keys = list(file.keys())
    for name, parameter in model.named_parameters():
        parameter.copy_(file.get_tensor(f"model.{name}"))
        average.weights[name].copy_(file.get_tensor(f"average.{name}"))
        entries = [key for key in keys if key.startswith(f"optimizer.{name}.")]
        if entries:
            optimizer.state[parameter] = {
                key.rpartition(".")[2]: file.get_tensor(key).to(parameter.device) for key in entries
            }


def save_batch(run: Run, step: int, batch: Batch) -> Path:
    """Saves a batch for inspection: `images`, every target as "head.name", and the samples' keys in the header."""
    tensors = {f"{head}.{name}": value for head, targets in batch.targets.items() for name, value in targets.items()}
    path = Path(run.output) / f"diverged_at_step_{step}.safetensors"
    save_tensors(path, {"images": batch.images, **tensors}, {"keys": json.dumps(batch.keys)})
    return path
