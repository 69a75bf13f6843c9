"""The training loop."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from opensapiens.checkpoints.model_folder import build_model, load_model, save_model
from opensapiens.data.batch import normalize_images
from opensapiens.models.human_model import HumanModel
from opensapiens.models.position_embedding import resize_position_embedding
from opensapiens.training.averaging import WeightAverage
from opensapiens.training.loader import Batch, training_batches
from opensapiens.training.log import RunLog
from opensapiens.training.optimizer import build_optimizer, set_learning_rate
from opensapiens.training.run import Run
from opensapiens.training.schedule import learning_rate_factor
from opensapiens.training.state import load_state, save_batch, save_state
from opensapiens.training.validation import validate


class TrainingDiverged(RuntimeError):
    """The loss or the gradient is no longer a number; the message names the step and the file that holds the batch."""


def train(run: Run) -> Path:
    """Trains the model of `run` and returns the folder of the finished model, which `opensapiens.load` takes.

    `run.output` gets `checkpoints/`, from which the same call goes on after an interruption, `log.jsonl`, and
    `model/` with the averaged weights, written at every validation and at the end. Raises TrainingDiverged;
    ResumeError when the folder holds another run; and whatever reading the data raises.
    """
    device = pick_device(run.device)
    torch.manual_seed(run.seed)
    model = starting_model(run).to(device).train()
    optimizer = build_optimizer(model, run.optimizer)
    average = WeightAverage(model, run.ema_decay)
    first_step = load_state(run, model, average, optimizer)
    forward = torch.compile(model) if run.compile else model
    log = RunLog(run.output, first_step, run.steps)
    saved_at = ready_at = time.monotonic()

    for step, batch in enumerate(training_batches(run, first_step, device), first_step):
        waited = time.monotonic() - ready_at
        torch.manual_seed(run.seed * 1_000_003 + step)  # dropout depends on the step alone: a resumed run repeats it
        factor = learning_rate_factor(step, run.steps, run.schedule)
        set_learning_rate(optimizer, factor)

        losses = batch_losses(run, forward, batch.to(device), step)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), run.optimizer.clip_norm)
        values = torch.stack([norm, *losses.values()]).tolist()  # the one wait for the device in a step
        if not all(map(math.isfinite, values)):
            raise TrainingDiverged(_describe(run, step, batch, dict(zip(["gradient", *losses], values, strict=True))))
        optimizer.step()
        average.update(model, step)

        done = step + 1
        log.add(dict(zip(losses, values[1:], strict=True)), len(batch.keys), waited)
        if done % run.log_steps == 0 or done == run.steps:
            log.write(done, lr=factor * run.optimizer.lr, gradient=values[0], size=run.input_size(step))
        if done % run.checkpoint_steps == 0 or done == run.steps or _minutes(saved_at) > run.checkpoint_minutes:
            save_state(run, done, model, average, optimizer)
            saved_at = time.monotonic()
        if run.validation is not None and (done % run.validation_steps == 0 or done == run.steps):
            log.write_validation(done, validate(run, export(run, average)[0], device))
        ready_at = time.monotonic()
    log.close()
    return export(run, average)[1]


def batch_losses(run: Run, forward: Callable[..., dict[str, Tensor]], batch: Batch, step: int) -> dict[str, Tensor]:
    """The weighted loss terms of a batch on its device, "head/term" -> scalar."""
    tasks = run.tasks(run.input_size(step), run.label_stride)
    preprocessing = run.model.preprocessing
    images = normalize_images(batch.images, preprocessing["mean"], preprocessing["std"])
    with torch.autocast(images.device.type, torch.bfloat16, enabled=run.precision == "bfloat16"):
        maps = forward(images, list(tasks.tasks))
    return tasks.losses({head: values.float() for head, values in maps.items()}, batch.targets)


def starting_model(run: Run) -> HumanModel:
    """The model with fresh weights, or with those of `run.start_from`, whose architecture must be the run's.

    The crops may have another size than those it was trained on: its position embedding is resized.
    """
    model = build_model(run.model)
    if run.start_from is None:
        return model
    trained, description = load_model(run.start_from)
    if (replace(description.vit, image_size=run.model.vit.image_size), description.heads) != (
        run.model.vit,
        run.model.heads,
    ):
        raise ValueError(f"{run.start_from} holds another model than the run trains")
    weights, name = trained.state_dict(), "backbone.position_embedding"
    weights[name] = resize_position_embedding(weights[name], description.vit.grid(), run.model.vit.grid())
    model.load_state_dict(weights)
    return model


def export(run: Run, average: WeightAverage) -> tuple[HumanModel, Path]:
    """Writes the averaged weights as `run.output`/model; returns that model, in evaluation mode, and the folder."""
    model = build_model(run.model)
    model.load_state_dict({name: weight.cpu() for name, weight in average.weights.items()})
    folder = Path(run.output) / "model"
    save_model(folder, model, run.model)
    return model.eval(), folder


def pick_device(name: str) -> torch.device:
    """The device of that name; for "auto" the accelerator of this machine, else its CPU."""
    if name != "auto":
        return torch.device(name)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def _describe(run: Run, step: int, batch: Batch, values: Mapping[str, float]) -> str:
    path = save_batch(run, step, batch)
    listed = ", ".join(f"{name} {value:g}" for name, value in values.items())
    return f"step {step} is not finite ({listed}); the weights of before this step stand; its batch is in {path}"


def _minutes(since: float) -> float:
    return (time.monotonic() - since) / 60
