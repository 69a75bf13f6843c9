"""Curation's use of Ray: numbered pieces of work stream through pools of workers."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

OBJECT_STORE_BYTES = 500_000_000  # what is on its way between pools; pieces of work are small


@dataclass(frozen=True)
class Pool:
    """Processes that run one step: each calls `make()` once, and the function that it returns with each batch.

    A batch, and the function's result, is a dictionary of columns with one row; the first is {"id": piece number}.
    """

    make: Callable[[], Callable[[dict[str, Any]], dict[str, Any]]]
    gpu: bool = False


@contextmanager
def ray_running(workers: int | None = None, address: str | None = None) -> Iterator[int]:
    """Ray on this machine, stopped at the end, or the cluster at `address` ("auto": the one this machine belongs to).

    Yields the number of workers: as given, else one per CPU. A Ray that is running already is used and left running.
    """
    ray = import_ray(address is not None)
    start = not ray.is_initialized()
    if start and address is not None:
        ray.init(address=address, logging_level=logging.ERROR)
    elif start:
        _start_local_ray(workers or os.cpu_count() or 1)
    try:
        cpus = int(ray.cluster_resources().get("CPU", 2))
        yield min(workers or cpus - 1, max(1, cpus - 1))
    finally:
        if start:
            ray.shutdown()


def import_ray(cluster: bool = False) -> ModuleType:
    """Ray without usage statistics, and listening on the loopback alone if it is not for a cluster.

    Ray reads its settings when it is imported: a process that has used Ray on this machine cannot use a cluster later.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not cluster:
        # Without clusters Ray's own address is the loopback's, and its processes listen there alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    return ray


def _start_local_ray(workers: int) -> None:
    """Start Ray on this machine alone, in three tries: a busy machine may exceed the 30 seconds that Ray waits."""
    import ray

    for attempt in range(3):
        try:
            ray.init(
                address="local",  # never one that happens to run here
                num_cpus=workers + 1,  # each worker holds one of Ray's CPUs; reading the list of pieces needs another
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
            return
        except Exception as error:
            ray.shutdown()
            if attempt == 2 or "timed out" not in str(error):
                raise


def run_pieces(count: int, pools: Sequence[Pool], workers: int) -> Iterator[dict[str, Any]]:
    """Send the pieces 0 … count - 1 through the pools, and yield what the last pool returns for each, in any order.

    Ray repeats a piece whose worker died, again and again, so the pools themselves have to give up on it (see `Tries`).
    Only pieces in flight are in memory. Raises a worker's OSError, for instance because the disk is full, once the
    other workers have finished; a worker that failed in this way does nothing more.
    """
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    cpu_pools = sum(not pool.gpu for pool in pools)  # they share the workers' CPUs: none waits for another's
    pieces = ray.data.range(count, override_num_blocks=min(count, max(64, 8 * workers)))
    for pool in pools:
        size = gpus if pool.gpu and gpus else workers
        pieces = pieces.map_batches(
            _Step,
            fn_constructor_args=(pool.make,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(size, count)),
            # A worker on a GPU must not take the CPU that reading the list of pieces needs: the run would never begin.
            num_cpus=0 if pool.gpu else 1 / cpu_pools,
            num_gpus=1 if pool.gpu and gpus else 0,
        )
    # Read to its end even after a failure: threads and references of a run that was cut short outlive Ray here, and the
    # first of them that asks for it ends this process without a word.
    failure = None
    for row in pieces.iter_rows():
        if row.get("failure"):
            failure = row["failure"]
        else:
            yield row
    if failure is not None:
        raise pickle.loads(failure)


def gpus_available() -> bool:
    """Whether the running Ray has GPUs."""
    import ray

    return bool(ray.cluster_resources().get("GPU", 0))


class _Step:
    def __init__(self, make: Callable[[], Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
        import cv2
        import torch

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self._call = make()
        self._failure: bytes | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if "failure" in batch:  # of the pool before
            return batch
        if self._failure is None:
            try:
                return self._call(batch)
            except OSError as error:
                self._failure = pickle.dumps(error)
        return {"id": batch["id"], "failure": np.array([self._failure], object)}
