"""The training loop."""

import math
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from opensapiens.models.self_distillation import SelfDistillation
from opensapiens.training.averaging import WeightAverage
from opensapiens.training.devices import Ranks, full_tensor, gradient_accumulation, join_ranks, parallelize
from opensapiens.training.loader import UNREADABLE, Batch, training_batches
from opensapiens.training.log import RunLog
from opensapiens.training.memory import keep_freed_memory
from opensapiens.training.optimizer import build_optimizer, set_learning_rate
from opensapiens.training.result import export, finished_model
from opensapiens.training.run import Run
from opensapiens.training.schedule import learning_rate_factor
from opensapiens.training.start import starting_model
from opensapiens.training.state import Saver, claim_output, load_state, save_batch
from opensapiens.training.throughput import peak_flops, peak_memory, training_flops
from opensapiens.training.validation import draw_pictures, validate

REMEMBERED = 100  # previous losses with which a spike is compared


class TrainingDiverged(RuntimeError):
    """The loss or the gradient is not finite, or the loss spiked; the message names the step and the batch's file."""


def train(run: Run) -> Path:
    """Trains the model of `run` and returns the folder of the finished model, for `opensapiens.load`.

    Writes to `run.output`: `checkpoints/`, from which the same call resumes, `log.jsonl`, and `model/` with the
    averaged weights, at every validation and at the end. A picture that cannot be read is replaced by another and noted
    in `unreadable.txt`. Under torchrun, each process takes its share of every batch.
    Raises TrainingDiverged, FolderError if the folder holds another run, and errors of reading the data.
    """
    ranks = join_ranks(run)
    with Saver(run, ranks) as saver:
        return _train(run, ranks, saver)


def _train(run: Run, ranks: Ranks, saver: Saver) -> Path:
    torch.manual_seed(run.seed)
    if ranks.device.type == "cpu":
        keep_freed_memory()
    with ranks.rank_zero_first():
        claim_output(run)
        model = starting_model(run).to(ranks.device).train()
    flops = {size: training_flops(run, model, size) for size in (run.final_size, *(size for _, size in run.stages))}
    forward = parallelize(model, run, ranks)
    precision = torch.bfloat16 if run.precision == "bfloat16" else torch.float32
    optimizer = build_optimizer(model, run.optimizer, precision)
    average = WeightAverage(model, run.ema_decay, run.start_share)
    first_step = load_state(run, ranks, model, average, optimizer)
    log = RunLog(
        run.output, first_step, run.steps, ranks.world * peak_flops(ranks.device), run.trackers, silent=ranks.rank > 0
    )
    earlier: deque[float] = deque(maxlen=REMEMBERED)
    ready_at = time.monotonic()

    for step, batches in enumerate(training_batches(run, first_step, ranks), first_step):
        waited = time.monotonic() - ready_at
        factor = learning_rate_factor(step, run.steps, run.schedule)
        set_learning_rate(optimizer, factor)

        optimizer.zero_grad()
        if isinstance(model, SelfDistillation):
            model.step = step
        terms = gradients_of_step(run, forward, batches, ranks)
        norm = full_tensor(nn.utils.clip_grad_norm_(model.parameters(), run.optimizer.clip_norm))
        due = torch.tensor(float(ranks.rank == 0 and saver.due()), device=ranks.device)
        # The only wait for the device in a step; afterwards all ranks decide alike.
        *totals, save_now = ranks.all_reduce(torch.stack([*terms.values(), due])).tolist()
        losses, gradient = dict(zip(terms, totals, strict=True)), norm.item()
        if problem := divergence({**losses, "gradient": gradient}, earlier, run.spike_factor):
            raise TrainingDiverged(
                f"step {step} {problem}; the weights of before this step stand; its batch is in "
                f"{save_batch(run, ranks, step, batches)}"
            )
        optimizer.step()
        if isinstance(model, SelfDistillation):
            model.follow(ranks.all_reduce(model.take_outputs()))
        average.update(model, step)

        done = step + 1
        earlier.append(sum(losses.values()))
        size = run.input_size(step)
        log.add(losses, run.batch_size, math.prod(run.model.backbone.grid(size)), flops[size], waited)
        if done % run.log_steps == 0 or done == run.steps:
            memory = peak_memory(ranks.device)
            log.write(done, lr=factor * run.optimizer.lr, gradient=gradient, size=size, memory_gb=memory)
        if done % run.checkpoint_steps == 0 or done == run.steps or save_now:
            saver.save(done, model, average, optimizer)
        saver.finish_if_written()
        look_at(run, ranks, average, log, done)
        ready_at = time.monotonic()
    log.close()
    if ranks.rank == 0 and (notes := run.output / UNREADABLE).exists():
        print(f"pictures that could not be read were replaced by others: see {notes}")
    return export(run, ranks, finished_model(run, average))


def gradients_of_step(run: Run, forward: nn.Module, batches: list[Batch], ranks: Ranks) -> dict[str, Tensor]:
    """Adds the gradients of a step's pieces to the parameters; returns this rank's shares of the loss terms."""
    # Denominators of the whole step, so that pieces and ranks with fewer labels do not weigh more.
    counts = total_counts(batches, ranks)
    shares: dict[str, Tensor] = {}
    for number, batch in enumerate(batches, 1):
        with gradient_accumulation(forward, number < len(batches)):
            terms = batch_losses(run, forward, batch.to(ranks.device), counts)
            # Times the ranks: gradients are averaged over them, but these losses are shares of one sum.
            (torch.stack(list(terms.values())).sum() * ranks.world).backward()
        shares = {name: value.detach() + shares.get(name, 0.0) for name, value in terms.items()}
    return shares


def total_counts(batches: list[Batch], ranks: Ranks) -> dict[str, Tensor]:
    """The denominator of each head's losses in a step: the counts of all pieces and ranks, on the device."""
    counts = {head: torch.stack([batch.counts[head] for batch in batches]).sum(dim=0) for head in batches[0].counts}
    return {head: ranks.all_reduce(count.to(ranks.device)) for head, count in counts.items()}


def batch_losses(run: Run, forward: nn.Module, batch: Batch, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weighted loss terms of a batch on its device, "head/term" -> scalar: its share of the step's losses."""
    normalize = run.model.preprocessing.normalize
    images = normalize(batch.images)
    inputs = {
        name: normalize(values) if values.dtype == torch.uint8 else values for name, values in batch.inputs.items()
    }
    with torch.autocast(images.device.type, torch.bfloat16, enabled=run.precision == "bfloat16"):
        maps = forward(images, list(run.tasks.tasks), batch.seeds, inputs)
    return run.tasks.losses(maps, batch.targets, counts)


def look_at(run: Run, ranks: Ranks, average: WeightAverage, log: RunLog, done: int) -> None:
    """Validates and draws, if due; writes the validated model."""

    def due(steps: int) -> bool:
        return done % steps == 0 or done == run.steps

    if run.validation is not None and due(run.validation_steps):
        model = finished_model(run, average)
        export(run, ranks, model)
        log.write_validation(done, validate(run, model, ranks))
    if run.masked and due(run.picture_steps):
        draw_pictures(run, finished_model(run, average), ranks, done)


def divergence(values: Mapping[str, float], earlier: deque[float], spike_factor: float) -> str | None:
    """What is wrong with a step's losses and gradient, if anything.

    The published code continues instead, with constants for such losses and zeros for such gradients.
    """
    listed = ", ".join(f"{name} {value:g}" for name, value in values.items())
    if not all(map(math.isfinite, values.values())):
        return f"is not finite ({listed})"
    total = sum(value for name, value in values.items() if name != "gradient")
    if len(earlier) == REMEMBERED and total > spike_factor * median(earlier):
        return f"has a loss {total / median(earlier):.0f} times the median of the last {REMEMBERED} ({listed})"
    return None
