"""Where a run computes: one process, or the ranks that torchrun started; how a model is parallelized over them."""

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.training.run import Run, UnfitRun

PATIENCE = timedelta(minutes=30)  # for the slowest rank: it may be scanning shards


@dataclass(frozen=True)
class Ranks:
    """This process among all of a run.

    `saving` is the group that checkpoints are agreed in, apart from the one of training, since saving goes on beside
    it; None where there is one process.
    """

    rank: int
    world: int
    device: torch.device
    saving: dist.ProcessGroup | None = None

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of a small tensor over all ranks, in place, on this rank's device."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """The first rank goes through the block before all others: it may have something to download."""
        if self.world > 1 and self.rank > 0:
            dist.barrier(self.saving)
        yield
        if self.world > 1 and self.rank == 0:
            dist.barrier(self.saving)

    def share(self, batch_size: int) -> range:
        """The places of a step's batch that are this rank's. Raises UnfitRun where it cannot be shared evenly."""
        if batch_size % self.world:
            raise UnfitRun(f"a batch of {batch_size} cannot be shared evenly by {self.world} processes")
        size = batch_size // self.world
        return range(self.rank * size, (self.rank + 1) * size)


def join_ranks(run: Run) -> Ranks:
    """This process's place: alone, or one of those that `torchrun` started, which are then connected until they end."""
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    device = pick_device(run.device)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Ranks(0, 1, device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():  # a script may train several times
        # Both: tensors of the run go by NCCL, what is agreed on a CPU by gloo.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), dist.get_world_size(), device, dist.new_group(backend="gloo", timeout=PATIENCE))


def pick_device(name: str) -> torch.device:
    """The device of that name; for "auto" the accelerator of this machine, else its CPU."""
    if name != "auto":
        return torch.device(name)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def parallelize(model: HumanModel | MaskedAutoencoder, run: Run, ranks: Ranks) -> nn.Module:
    """What to call for a forward pass. The model itself is changed in place and keeps the names of its parameters.

    In this order: activation checkpointing of each block, compilation of each block, replication (DDP) or sharding
    (FSDP2) over the ranks. Raises NoBlocks where one of these needs blocks and the backbone names none.
    """
    by_block = run.recompute or run.compile or (ranks.world > 1 and run.parallel == "fsdp")
    blocks = model.blocks() if by_block else []
    for block in blocks:
        if run.recompute:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if run.compile:
            block.compile()
    if ranks.world == 1:
        return model
    if run.parallel == "ddp":
        gpus = [ranks.device] if ranks.device.type == "cuda" else None
        return DistributedDataParallel(model, gpus, broadcast_buffers=False, gradient_as_bucket_view=True)
    # The weights of blocks travel in the precision they are used in; the rest is small.
    halves = torch.bfloat16 if run.precision == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=halves, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mp_policy=policy)
    fully_shard(model, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False))
    return model


@contextmanager
def gradient_accumulation(forward: nn.Module, more: bool) -> Iterator[None]:
    """With `more` to come, a backward pass adds to each rank's own gradients; without, it averages over the ranks."""
    if isinstance(forward, FSDPModule):
        forward.set_requires_gradient_sync(not more)
    with forward.no_sync() if more and isinstance(forward, DistributedDataParallel) else nullcontext():
        yield


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor in one piece; every rank has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in one piece on the CPU, one after the other, so that a GPU holds one of them at most."""
    return {name: full_tensor(tensor.detach()).cpu() for name, tensor in tensors.items()}
