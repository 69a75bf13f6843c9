"""How good the averaged weights are on samples that are not trained on."""

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from opensapiens.data.sample import Sample
from opensapiens.geometry.view import crop_view
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.storage.files import written
from opensapiens.tasks.forward import maps
from opensapiens.tasks.masked_pretraining import draw_reconstructions, reconstruct
from opensapiens.training.devices import Ranks
from opensapiens.training.loader import UNREADABLE_SAMPLE, note_unreadable, plain_crop, validation_batches
from opensapiens.training.run import Run

PICTURES = 4
TRIED = 40  # pictures, of which some may be unreadable


@torch.no_grad()
def validate(run: Run, model: nn.Module, ranks: Ranks) -> dict[str, float]:
    """Every figure of every head, "head/figure" -> value, over `run.validation` at the final size, no flip test.

    `model` is the finished one; the ranks share the samples and add up what they measure.
    """
    model = model.to(ranks.device).eval()
    if run.masked:
        return _masked_error(run, model, ranks)
    tasks = run.head_tasks
    metrics = {head: task.new_metric() for head, task in tasks.items()}
    view = crop_view(run.final_size)
    for loaded in validation_batches(run, ranks):
        if loaded is None:
            continue
        batch, samples = loaded[0].to(ranks.device), loaded[1]
        maps_of_head = maps(
            model, run.model.preprocessing.normalize(batch.images), heads=list(metrics), inputs=batch.inputs
        )
        for head, metric in metrics.items():
            for maps_Chw, sample in zip(maps_of_head[head], samples, strict=True):
                metric.update(tasks[head].decode(maps_Chw, view), sample)
    for metric in metrics.values():
        metric.totals = ranks.all_reduce(metric.totals.to(ranks.device)).cpu()
    return {f"{head}/{name}": value for head, metric in metrics.items() for name, value in metric.compute().items()}


def _masked_error(run: Run, model: nn.Module, ranks: Ranks) -> dict[str, float]:
    """Squared error of the hidden patches, each normalized by itself; 1 is what predicting their mean gives."""
    totals = torch.zeros(2, dtype=torch.float64, device=ranks.device)  # error, patches
    for loaded in validation_batches(run, ranks):
        if loaded is None:
            continue
        batch = loaded[0].to(ranks.device)
        reconstructed = model(run.model.preprocessing.normalize(batch.images), seeds_B=batch.seeds)
        one = {head: torch.ones((), device=ranks.device) for head in batch.counts}
        (error_sum,) = run.tasks.losses(reconstructed, batch.targets, one).values()
        totals += torch.stack([error_sum.cpu(), *batch.counts.values()]).to(totals)
    error, patches = ranks.all_reduce(totals).tolist()
    return {f"{next(iter(run.tasks.tasks))}/mse": error / patches if patches else float("nan")}


def draw_pictures(run: Run, model: nn.Module, ranks: Ranks, step: int) -> None:
    """Draws what masked pretraining makes of a few images, as `run.output`/pictures/step_00001000.png.

    The images are the first of `run.validation`, or without one of the data, that can be read; the first rank draws.
    """
    if ranks.rank > 0:
        return
    assert isinstance(model, MaskedAutoencoder)
    samples = run.data if run.validation is None else run.validation
    crops: list[Sample] = []
    for number in range(min(TRIED, len(samples))):
        try:
            crops.append(plain_crop(run, samples[number], run.final_size))
        except UNREADABLE_SAMPLE as error:
            note_unreadable(run, error)
        if len(crops) == PICTURES:
            break
    if not crops:
        return
    model = model.to(ranks.device).eval()
    made = [
        reconstruct(model, crop.image, run.model.preprocessing, run.mask_ratio, number)
        for number, crop in enumerate(crops)
    ]
    path = Path(run.output) / "pictures" / f"step_{step:08d}.png"
    with written(path) as temporary:
        Image.fromarray(draw_reconstructions([crop.image for crop in crops], [made])).save(temporary, "PNG")
