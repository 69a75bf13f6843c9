"""Validation of the averaged weights."""

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from opensapiens.data.sample import Sample
from opensapiens.geometry.view import crop_view
from opensapiens.models.masked_autoencoder import HEAD, MaskedAutoencoder
from opensapiens.storage.files import written
from opensapiens.tasks.forward import maps
from opensapiens.tasks.masked_pretraining import draw_reconstructions, reconstruct, reconstruction_error
from opensapiens.training.devices import Ranks
from opensapiens.training.loader import UNREADABLE_SAMPLE, note_unreadable, plain_crop, validation_batches
from opensapiens.training.run import Run

PICTURES = 4
TRIED = 40  # pictures to try, since some may be unreadable


@torch.no_grad()
def validate(run: Run, model: nn.Module, ranks: Ranks) -> dict[str, float]:
    """All metrics, "head/metric" -> value, of the finished model on `run.validation` at the final size, without flip
    test. The ranks share the samples."""
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
    """Squared error of the hidden patches, each normalized by itself; predicting their mean gives 1."""
    totals = torch.zeros(2, dtype=torch.float64, device=ranks.device)  # error, patches
    for loaded in validation_batches(run, ranks):
        if loaded is None:
            continue
        batch = loaded[0].to(ranks.device)
        output = model(run.model.preprocessing.normalize(batch.images), seeds_B=batch.seeds)[HEAD]
        mask_BN = output.masking.mask_BN
        errors = reconstruction_error(output.prediction_BNP, output.target_BNP, mask_BN)
        totals += torch.stack([errors.sum(), mask_BN.sum()]).to(totals)
    error, patches = ranks.all_reduce(totals).tolist()
    return {f"{next(iter(run.tasks.tasks))}/mse": error / patches if patches else float("nan")}


def draw_pictures(run: Run, model: nn.Module, ranks: Ranks, step: int) -> None:
    """Draws reconstructions of a few images, on the first rank, as `run.output`/pictures/step_00001000.png.

    The images are the first readable ones of `run.validation`, or else of the training data.
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
    reconstructions = [
        reconstruct(model, crop.image, run.model.preprocessing, run.mask_ratio, number)
        for number, crop in enumerate(crops)
    ]
    path = Path(run.output) / "pictures" / f"step_{step:08d}.png"
    with written(path) as temporary:
        picture = draw_reconstructions([crop.image for crop in crops], [reconstructions])
        Image.fromarray(picture).save(temporary, "PNG")
