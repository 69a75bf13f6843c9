"""How good the averaged weights are on samples that are not trained on."""

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from opensapiens.drawing.reconstruction import draw_reconstructions
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.tasks.masked_pretraining.reconstruct import reconstruct
from opensapiens.training.devices import Ranks
from opensapiens.training.loader import plain_crop, validation_batches
from opensapiens.training.run import Run

PICTURES = 4


@torch.no_grad()
def validate(run: Run, model: nn.Module, ranks: Ranks) -> dict[str, float]:
    """Every figure of every head, "head/figure" -> value, over `run.validation` at the final size, no flip test.

    `model` is the finished one; the ranks share the samples and add up what they measure.
    """
    tasks = run.tasks(run.final_size, 1)
    metrics = {head: task.new_metric() for head, task in tasks.tasks.items()}
    model = model.to(ranks.device).eval()
    for batch in validation_batches(run, ranks):
        batch = batch.to(ranks.device)
        images = run.model.preprocessing.normalize(batch.images)
        predicted = model(images, list(metrics), batch.seeds, batch.inputs)
        for head, metric in metrics.items():
            prediction = tasks.tasks[head].decode(predicted[head], run.final_size)
            metric.update(prediction, batch.targets[head])
    for metric in metrics.values():
        metric.totals = ranks.all_reduce(metric.totals)
    return {f"{head}/{name}": value for head, metric in metrics.items() for name, value in metric.compute().items()}


def draw_pictures(run: Run, model: nn.Module, ranks: Ranks, step: int) -> None:
    """Draws what masked pretraining makes of a few images, as `run.output`/pictures/step_00001000.png.

    The images are the first of `run.validation`, or without one the first of the data; the first rank draws.
    """
    if ranks.rank > 0:
        return
    assert isinstance(model, MaskedAutoencoder)
    samples = run.data if run.validation is None else run.validation
    crops = [plain_crop(run, samples[number], run.final_size) for number in range(min(PICTURES, len(samples)))]
    model = model.to(ranks.device).eval()
    made = [
        reconstruct(model, crop.image, run.model.preprocessing, run.mask_ratio, number)
        for number, crop in enumerate(crops)
    ]
    path = Path(run.output) / "pictures" / f"step_{step:08d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_reconstructions([crop.image for crop in crops], [made])).save(path)
