"""The result of a run: the model of the averaged weights, and its folder."""

from pathlib import Path

import torch.distributed as dist

from opensapiens.checkpoints.model_folder import build_masked_autoencoder, build_model, save_model
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.models.self_distillation import of_autoencoder
from opensapiens.training.averaging import WeightAverage
from opensapiens.training.devices import Ranks, full_tensors
from opensapiens.training.low_rank import merged
from opensapiens.training.run import Run


def finished_model(run: Run, average: WeightAverage) -> HumanModel | MaskedAutoencoder:
    """The model of the averaged weights on the CPU, in evaluation mode, with adapters merged, on every rank."""
    model: HumanModel | MaskedAutoencoder
    tensors = average.exported()
    if run.masked:
        model = build_masked_autoencoder(run.model)
        model.mask_ratio = run.mask_ratio
    else:
        model = build_model(run.model)
    if run.distillation is not None:
        tensors = of_autoencoder(tensors)
    model.load_state_dict(merged(full_tensors(tensors)))
    return model.eval()


def export(run: Run, ranks: Ranks, model: HumanModel | MaskedAutoencoder) -> Path:
    """Writes a finished model as `run.output`/model and returns that folder; the first rank writes, all wait."""
    folder = Path(run.output) / "model"
    if ranks.rank == 0:
        save_model(folder, model, run.model)
    if ranks.world > 1:
        dist.barrier()
    return folder
