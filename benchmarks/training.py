"""What makes nano's training steps on a CPU quick: each means against going without, in turns, in one run.

    python benchmarks/training.py --frames shards/train                           # of `opensapiens synthesize`
    python benchmarks/training.py --frames shards/train --cutouts shards/people   # and its `--cutouts`

One process of one thread, as each of torchrun's has. Ratios are of medians. "written plainly": PyTorch's own attention,
and losses of poses that make their heatmaps. On a processor without bfloat16 units the second row is below 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
import tyro

from opensapiens.backbones import transformer
from opensapiens.recipes.nano import nano
from opensapiens.tasks import pose
from opensapiens.tasks.pose import heatmap_mse, location_cross_entropy, outer_product
from opensapiens.training.devices import Ranks
from opensapiens.training.loader import TrainingBatches
from opensapiens.training.loop import gradients_of_step
from opensapiens.training.memory import keep_freed_memory
from opensapiens.training.start import starting_model

PIECE = 8


def main(frames: Path, cutouts: Path | None = None, batch_size: int = 16, rounds: int = 5) -> None:
    """Prints the table.

    Args:
        frames: a folder of shards.
        cutouts: a folder of shards of the same people cut out.
        batch_size: people in a step.
        rounds: how often everything is timed.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    run = replace(nano(frames, Path(), batch_size=batch_size, gentle=True), micro_batch=PIECE)
    alone = Ranks(0, 1, torch.device("cpu"))
    batches, model = TrainingBatches(run, alone)[0], starting_model(run).train()

    def gradients(precision: Any) -> Callable[[], object]:
        return lambda: gradients_of_step(replace(run, precision=precision), model, batches, alone)

    calls = {"float32": gradients("float32"), "bfloat16": gradients("bfloat16")}
    calls = {f"{name}, plainly": written_plainly(call) for name, call in calls.items()} | calls
    seconds = medians(calls, rounds)
    print("gradients of a step, times as fast as in float32 written plainly")
    for name, taken in seconds.items():
        print(f"  {name:18} {seconds['float32, plainly'] / taken:.2f}")
    if cutouts is not None:
        readers = {"frames": run, "cutouts": nano(cutouts, Path(), batch_size=batch_size, gentle=True)}
        read = medians({name: reading(TrainingBatches(it, alone)) for name, it in readers.items()}, rounds)
        print(f"reading a batch of cutouts, times as fast as of frames\n  {read['frames'] / read['cutouts']:.2f}")
        share = read["cutouts"] / (read["cutouts"] + seconds["bfloat16"])
        print(f"share of reading cutouts in a bfloat16 step without the optimizer's\n  {share:.2f}")


def written_plainly(call: Callable[[], object]) -> Callable[[], object]:
    """The call with PyTorch's attention and with heatmaps made."""

    def plain() -> None:
        attention = mock.patch.object(transformer, "attend", F.scaled_dot_product_attention)
        with attention, mock.patch.object(pose, "gaussian_losses", losses_of_heatmaps):
            call()

    return plain


def losses_of_heatmaps(maps: torch.Tensor, along_y: torch.Tensor, along_x: torch.Tensor, weights: torch.Tensor) -> Any:
    """What `gaussian_losses` gives, from heatmaps."""
    heatmaps = outer_product(along_y, along_x)
    return heatmap_mse(maps.float(), heatmaps, weights), location_cross_entropy(maps.float(), heatmaps, weights)


def reading(batches: TrainingBatches) -> Callable[[], object]:
    """Reads another batch at each call."""
    steps = iter(range(len(batches)))
    return lambda: batches[next(steps)]


def medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, taken in turns after a warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if round_number:
                taken[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in taken.items()}


if __name__ == "__main__":
    tyro.cli(main)
