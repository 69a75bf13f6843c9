"""How good the averaged weights are on samples that are not trained on."""

import torch
from torch import nn

from opensapiens.data.batch import normalize_images
from opensapiens.tasks.forward import maps
from opensapiens.training.loader import validation_batches
from opensapiens.training.run import Run


def validate(run: Run, model: nn.Module, device: torch.device) -> dict[str, float]:
    """Every figure of every head, "head/figure" -> value, over `run.validation` at the final size, no flip test."""
    tasks = run.tasks(run.final_size, 1)
    metrics = {head: task.new_metric() for head, task in tasks.tasks.items()}
    preprocessing = run.model.preprocessing
    model = model.to(device).eval()
    for batch in validation_batches(run, device):
        batch = batch.to(device)
        images = normalize_images(batch.images, preprocessing["mean"], preprocessing["std"])
        predicted = maps(model, images, heads=list(metrics))
        for head, metric in metrics.items():
            prediction = tasks.tasks[head].decode(predicted[head], run.final_size)
            metric.update(prediction, batch.targets[head])
    return {f"{head}/{name}": value for head, metric in metrics.items() for name, value in metric.compute().items()}
