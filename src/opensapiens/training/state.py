"""The state of a run on disk, from which a resumed run reproduces the same numbers.

A folder for each saved step, `checkpoints/00001000/`, holds our marker and, by torch.distributed.checkpoint, one
safetensors file per process with the tensors `model.*` (weights), `average.*` (averaged weights) and
`optimizer.<name of the parameter>.<exp_avg ...>`. Any number of processes can read them. A folder gets its name when it
is complete. The marker of the run's folder holds what decides the order of the samples and the meaning of the tensors.
"""

import json
import time
import warnings
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import CheckpointException, Metadata, async_save, load
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from opensapiens.checkpoints.model_folder import write_tensors
from opensapiens.storage.files import written
from opensapiens.storage.folders import claim, clear, discard, is_ours
from opensapiens.training.averaging import WeightAverage
from opensapiens.training.devices import Ranks
from opensapiens.training.loader import Batch
from opensapiens.training.run import Run

# One process saves by itself, which is meant.
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)

KEPT = 2  # newest checkpoints, in case the last one is damaged
CHECKPOINT = "a checkpoint"  # the kind of the folder


class ResumeError(RuntimeError):
    """A checkpoint that does not belong to the run that resumes from it."""


class SaveError(RuntimeError):
    """A checkpoint that could not be written; the message says why."""


class Saver:
    """Writes checkpoints in the background, from copies of the tensors; a `with` block waits for the last one.

    If the run is killed meanwhile, the previous checkpoint remains.
    """

    def __init__(self, run: Run, ranks: Ranks) -> None:
        self.run, self.ranks = run, ranks
        self.folder = Path(run.output) / "checkpoints"
        self.saved_at = time.monotonic()
        self._pending: tuple[Future[Any], Path, int] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_error: object) -> None:
        self.finish()

    def due(self) -> bool:
        """Whether the last checkpoint is older than `run.checkpoint_minutes`, by this rank's clock."""
        return (time.monotonic() - self.saved_at) / 60 > self.run.checkpoint_minutes

    def save(self, step: int, model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> None:
        """Starts to save the state after `step` steps."""
        self.finish()
        target = self.folder / f".{step:08d}.part"  # the same for all ranks
        if self.ranks.rank == 0:
            clear(target, CHECKPOINT)  # of a run that was killed while writing
            claim(target, CHECKPOINT, {"step": step})
        if self.ranks.world > 1:
            dist.barrier(self.ranks.saving)
        tensors = _tensors(model, average, optimizer)
        writer = _storage().HuggingFaceStorageWriter(str(target), save_distributed=True)
        pending = async_save(
            tensors, storage_writer=writer, process_group=self.ranks.saving, no_dist=self.ranks.world == 1
        )
        assert isinstance(pending, Future)
        self._pending = pending, target, step
        self.saved_at = time.monotonic()

    def finish(self) -> None:
        """Waits until the last checkpoint is on disk, gives it its name, and removes old ones."""
        if self._pending is None:
            return
        pending, target, step = self._pending
        self._pending = None
        try:
            pending.result()
        except CheckpointException as error:
            if self.ranks.rank == 0:
                clear(target, CHECKPOINT)  # the disk may be full
            raise _save_error(error, target) from error
        if self.ranks.rank == 0:
            clear(self.folder / f"{step:08d}", CHECKPOINT)  # a damaged one
            target.rename(self.folder / f"{step:08d}")
            for old in _complete(self.folder)[:-KEPT]:
                discard(old)

    def finish_if_written(self) -> None:
        """Like `finish`, if that needs no waiting."""
        if self._pending is not None and self._pending[0].done():
            self.finish()


def load_state(
    run: Run, ranks: Ranks, model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer
) -> int:
    """Loads the newest readable checkpoint of a run into model, average and optimizer; returns its step (0 = none).

    Raises ResumeError if the checkpoint belongs to another model.
    """
    expected = {f"model.{name}" for name, _ in model.named_parameters()}
    for path in reversed(_complete(Path(run.output) / "checkpoints")):
        try:
            reader = _storage().HuggingFaceStorageReader(str(path))
            metadata = reader.read_metadata()
        except (SafetensorError, OSError, ValueError) as error:
            print(f"skipping {path}, which cannot be read: {error}")
            continue
        if {name for name in metadata.state_dict_metadata if name.startswith("model.")} != expected:
            raise ResumeError(f"{path} is of a model with other parameters. Use another output folder.")
        _make_optimizer_state(metadata, model, optimizer)
        tensors = _tensors(model, average, optimizer)
        load(tensors, storage_reader=reader, process_group=ranks.saving, no_dist=ranks.world == 1)
        return int(path.name)
    return 0


def _tensors(model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All tensors of the state, not copied, by their names in a checkpoint."""
    tensors = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    if average.decay:
        tensors |= {f"average.{name}": weight for name, weight in average.weights.items()}
    for name, parameter in model.named_parameters():
        for entry, value in optimizer.state[parameter].items() if parameter in optimizer.state else ():
            tensors[f"optimizer.{name}.{entry}"] = value
    return tensors


def _make_optimizer_state(metadata: Metadata, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Allocates the optimizer's tensors of a checkpoint, sharded like their parameters."""
    for key, stored in metadata.state_dict_metadata.items():
        if not key.startswith("optimizer."):
            continue
        assert isinstance(stored, TensorStorageMetadata)
        name, _, entry = key.removeprefix("optimizer.").rpartition(".")
        parameter = model.get_parameter(name)
        same_shape = tuple(stored.size) == tuple(parameter.shape)
        value = torch.zeros_like(parameter) if same_shape else torch.zeros(stored.size, dtype=stored.properties.dtype)
        optimizer.state[parameter][entry] = value.detach()


def _save_error(failed: CheckpointException, folder: Path) -> Exception:
    """The disk's own error, or a SaveError, without the stacks of all ranks."""
    error = next(iter(failed.failures.values()))[0]
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error), str(folder))
    return SaveError(f"{folder}: the checkpoint could not be written ({error!r})")


def save_batch(run: Run, ranks: Ranks, step: int, batches: list[Batch]) -> Path:
    """Saves this rank's part of a step for inspection; returns the path of rank 0's.

    Tensors of each piece are named by its number and "images", "seeds", "inputs.NAME" or "HEAD.NAME" (targets); the
    samples' keys are in the header.
    """
    tensors: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        tensors |= {f"{number}.images": batch.images, f"{number}.seeds": batch.seeds}
        for head, targets in {**batch.targets, "inputs": batch.inputs}.items():
            tensors |= {f"{number}.{head}.{name}": value for name, value in targets.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    keys = {"keys": json.dumps([batch.keys for batch in batches])}
    stem = f"diverged_at_step_{step}_rank"
    with written(Path(run.output) / f"{stem}_{ranks.rank}.safetensors") as temporary:
        write_tensors(temporary, tensors, keys)
    return Path(run.output) / f"{stem}_0.safetensors"


def _complete(folder: Path) -> list[Path]:
    """The complete checkpoints of a folder, oldest first. Raises ResumeError for anything else with such a name."""
    named = [path for path in folder.glob("[0-9]*") if path.name.isdecimal()]
    for path in named:
        if not is_ours(path, CHECKPOINT):
            raise ResumeError(f"{path} is not a checkpoint of opensapiens, or is damaged: move it away")
    return sorted(named, key=lambda path: int(path.name))


def claim_output(run: Run) -> None:
    """Claims the folder of a run. Raises FolderError for one that holds another run or anything else.

    The identity is what decides the order of the samples and the meaning of the tensors.
    """
    model = run.model.to_json()
    identity = {
        "seed": run.seed, "batch_size": run.batch_size, "samples": len(run.data), "trainable": run.trainable,
        "lora_rank": run.lora_rank if run.trainable == "lora" else None, "averaging": bool(run.ema_decay),
        "muon": run.optimizer.muon,
        **{key: model[key] for key in ("preprocessing", "backbone", "heads", "decoder")},
        **({} if run.distillation is None else {"distillation": asdict(run.distillation)}),
    }  # fmt: skip
    claim(Path(run.output), "a training run", identity)


def _storage() -> Any:
    """PyTorch's safetensors storage of checkpoints. Raises ModuleNotFoundError for an older PyTorch, which suffices for
    prediction."""
    try:
        from torch.distributed.checkpoint import hf_storage
    except ImportError as error:
        raise ModuleNotFoundError("training needs PyTorch 2.9 or newer: pip install 'opensapiens[train]'") from error
    return hf_storage
