"""The state of a run on disk: everything that a resumed run needs to go on to the same numbers.

One folder for each saved step, `checkpoints/00001000/`: the marker that it is ours, and safetensors files in which each
process wrote its share of the tensors `model.*` (weights), `average.*` (averaged weights) and `optimizer.<name of the
parameter>.<exp_avg ...>`, by torch.distributed.checkpoint. Any number of processes reads them back, each what it needs.
A folder appears under its name only when it is complete. What decides the order of the samples and what the tensors
mean is in the marker of the run's folder.
"""

import json
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
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

KEPT = 2  # the newest checkpoints; the one before the last is there in case the disk damages the last
CHECKPOINT = "a checkpoint"  # the kind of the folder


class ResumeError(RuntimeError):
    """A checkpoint that does not belong to the run that wants to go on from it."""


class SaveError(RuntimeError):
    """A checkpoint that could not be written; the message says why."""


class Saver:
    """Writes checkpoints beside the training: the tensors are copied, and the steps go on while the copies are written.

    Of a run that is killed meanwhile the checkpoint before stands. At its end a `with` block waits for the last one.
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
        """Whether the last checkpoint is older than `run.checkpoint_minutes`; each rank has its own clock."""
        return (time.monotonic() - self.saved_at) / 60 > self.run.checkpoint_minutes

    def save(self, step: int, model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> None:
        """Begins to save the state after `step` steps."""
        self.finish()
        target = self.folder / f".{step:08d}.part"  # for all ranks the same
        if self.ranks.rank == 0:
            clear(target, CHECKPOINT)  # of a run that was killed while it wrote
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
        """Waits until the last checkpoint is on disk, gives it its name, and removes all but the newest."""
        if self._pending is None:
            return
        pending, target, step = self._pending
        self._pending = None
        try:
            pending.result()
        except CheckpointException as error:
            if self.ranks.rank == 0:
                clear(target, CHECKPOINT)  # a full disk needs the room
            raise _reason(error, target) from error
        if self.ranks.rank == 0:
            clear(self.folder / f"{step:08d}", CHECKPOINT)  # damaged, or it would not be written again
            target.rename(self.folder / f"{step:08d}")
            for old in _complete(self.folder)[:-KEPT]:
                discard(old)

    def finish_if_written(self) -> None:
        """As `finish`, where that needs no waiting."""
        if self._pending is not None and self._pending[0].done():
            self.finish()


def load_state(
    run: Run, ranks: Ranks, model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer
) -> int:
    """Puts the newest checkpoint of the run into the model, the average and the optimizer; returns its step (0 = none).

    A checkpoint that cannot be read is passed over for the one before it. Raises ResumeError when the checkpoint
    belongs to another run: then the samples would not come in the order that the saved state stands for.
    """
    for path, metadata in _readable(_complete(Path(run.output) / "checkpoints")[::-1]):
        if {name for name in metadata.state_dict_metadata if name.startswith("model.")} != {
            f"model.{name}" for name, _ in model.named_parameters()
        }:
            raise ResumeError(f"{path} is of a model with other parameters. Use another output folder.")
        _make_optimizer_state(metadata, model, optimizer)
        load(
            _tensors(model, average, optimizer),
            storage_reader=_storage().HuggingFaceStorageReader(str(path)),
            process_group=ranks.saving,
            no_dist=ranks.world == 1,
        )
        return int(path.name)
    return 0


def _tensors(model: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All tensors of the state, themselves and not copies, by their names in a checkpoint."""
    tensors = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    if average.decay:
        tensors |= {f"average.{name}": weight for name, weight in average.weights.items()}
    for name, parameter in model.named_parameters():
        for entry, value in optimizer.state[parameter].items() if parameter in optimizer.state else ():
            tensors[f"optimizer.{name}.{entry}"] = value
    return tensors


def _make_optimizer_state(metadata: Metadata, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Tensors for what a checkpoint holds of the optimizer, shared out over the ranks as their parameters are."""
    for key, stored in metadata.state_dict_metadata.items():
        if not key.startswith("optimizer."):
            continue
        assert isinstance(stored, TensorStorageMetadata)
        name, _, entry = key.removeprefix("optimizer.").rpartition(".")
        parameter = model.get_parameter(name)
        alike = tuple(stored.size) == tuple(parameter.shape)
        value = torch.zeros_like(parameter) if alike else torch.zeros(stored.size, dtype=stored.properties.dtype)
        optimizer.state[parameter][entry] = value.detach()


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file that appears under its name only when complete."""
    with written(path) as temporary:
        write_tensors(temporary, {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, metadata)


def _reason(failed: CheckpointException, folder: Path) -> Exception:
    """What went wrong, without the stacks of all ranks: the disk's own error where it is one."""
    error = next(iter(failed.failures.values()))[0]
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error), str(folder))
    return SaveError(f"{folder}: the checkpoint could not be written ({error!r})")


def save_batch(run: Run, ranks: Ranks, step: int, batches: list[Batch]) -> Path:
    """Saves this rank's part of a step for inspection; returns the path of rank 0's.

    Each piece has its number before `images`, what the backbone wants beside pixels as "inputs.name", every target as
    "head.name", and `seeds`; the samples' keys are in the header.
    """
    tensors: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        tensors |= {f"{number}.images": batch.images, f"{number}.seeds": batch.seeds}
        for head, targets in {**batch.targets, "inputs": batch.inputs}.items():
            tensors |= {f"{number}.{head}.{name}": value for name, value in targets.items()}
    keys = {"keys": json.dumps([batch.keys for batch in batches])}
    stem = Path(run.output) / f"diverged_at_step_{step}"
    save_tensors(stem.with_name(f"{stem.name}_rank_{ranks.rank}.safetensors"), tensors, keys)
    return stem.with_name(f"{stem.name}_rank_0.safetensors")


def _complete(folder: Path) -> list[Path]:
    """The checkpoints of a folder that are finished, oldest first; other files and folders are passed over.

    Raises ResumeError for what has the name of one and is none.
    """
    named = [path for path in folder.glob("[0-9]*") if path.name.isdecimal()]
    for path in named:
        if not is_ours(path, CHECKPOINT):
            raise ResumeError(f"{path} is no checkpoint of opensapiens, or a damaged one: move it away")
    return sorted(named, key=lambda path: int(path.name))


def claim_output(run: Run) -> None:
    """Make the folder of a run its own. Raises FolderError for one that holds another run or anything else.

    What decides the order of the samples and what the tensors mean: a run that differs in it cannot go on from another.
    """
    model = run.model.to_json()
    identity = {
        "seed": run.seed, "batch_size": run.batch_size, "samples": len(run.data), "trainable": run.trainable,
        "lora_rank": run.lora_rank if run.trainable == "lora" else None, "averaging": bool(run.ema_decay),
        "muon": run.optimizer.muon,
        **{key: model[key] for key in ("preprocessing", "backbone", "heads", "decoder")},
    }  # fmt: skip
    claim(Path(run.output), "a training run", identity)


def _storage() -> Any:
    """PyTorch's safetensors storage of checkpoints; imported here, since what only predicts may have an older PyTorch.

    Raises:
        ModuleNotFoundError: a PyTorch without it.
    """
    try:
        from torch.distributed.checkpoint import hf_storage
    except ImportError as error:
        raise ModuleNotFoundError("training needs PyTorch 2.9 or newer: pip install 'opensapiens[train]'") from error
    return hf_storage


def _readable(paths: list[Path]) -> Iterator[tuple[Path, Metadata]]:
    for path in paths:
        try:
            yield (
                path,
                _storage().HuggingFaceStorageReader(str(path)).read_metadata(),
            )
        except (SafetensorError, OSError, ValueError) as error:
            print(f"passing over {path}, which cannot be read: {error}")
