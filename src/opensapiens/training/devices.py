"""The devices and processes of a run, and the parallelization of a model over them."""

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

PATIENCE = timedelta(minutes=30)  # for the slowest rank, which may be scanning shards


@dataclass(frozen=True)
class Ranks:
    """This process among all of a run. saving: the process group for saving in the background; None = one process."""

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
        """The first rank runs the block before all others, for example to download something."""
        if self.world > 1 and self.rank > 0:
            dist.barrier(self.saving)
        yield
        if self.world > 1 and self.rank == 0:
            dist.barrier(self.saving)

    def share(self, batch_size: int) -> range:
        """This rank's positions in a step's batch. Raises UnfitRun if it cannot be shared evenly."""
        if batch_size % self.world:
            raise UnfitRun(f"a batch of {batch_size} cannot be shared evenly by {self.world} processes")
        size = batch_size // self.world
        return range(self.rank * size, (self.rank + 1) * size)


def join_ranks(run: Run) -> Ranks:
    """This process alone, or among those started by `torchrun`, which this connects."""
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    device = pick_device(run.device)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Ranks(0, 1, device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():  # a script may train several times
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), dist.get_world_size(), device, dist.new_group(backend="gloo", timeout=PATIENCE))


def pick_device(name: str) -> torch.device:
    """The device of that name; for "auto" the machine's accelerator, or else its CPU."""
    if name != "auto":
        return torch.device(name)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def parallelize(model: HumanModel | MaskedAutoencoder, run: Run, ranks: Ranks) -> nn.Module:
    """The module for forward passes. The model itself is changed in place and keeps its parameter names.

    In this order: activation checkpointing and compilation of each block, replication (DDP) or sharding (FSDP2) over
    the ranks. Raises NoBlocks if this needs blocks and the backbone has none.
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
    # Only the weights of blocks are gathered in bfloat16; the rest is small.
    dtype = torch.bfloat16 if run.precision == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in blocks:
        fully_shard(block, mp_policy=policy)
    fully_shard(model, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False))
    return model


@contextmanager
def gradient_accumulation(forward: nn.Module, more: bool) -> Iterator[None]:
    """With `more`, a backward pass only adds to each rank's own gradients; without, it averages over the ranks."""
    if isinstance(forward, FSDPModule):
        forward.set_requires_gradient_sync(not more)
    with forward.no_sync() if more and isinstance(forward, DistributedDataParallel) else nullcontext():
        yield


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor gathered from all ranks, each of which must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gathered tensors on the CPU, one at a time, so that a GPU holds at most one."""
    return {name: full_tensor(tensor.detach()).cpu() for name, tensor in tensors.items()}
