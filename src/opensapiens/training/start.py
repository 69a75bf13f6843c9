"""The model a run starts with: which network, with which weights, and which of them are trained."""

import os
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from opensapiens.backbones import BACKBONES, BackboneConfig
from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.head_transfer import shared_channels, start_head
from opensapiens.checkpoints.model_folder import (
    BACKBONE,
    build_masked_autoencoder,
    build_model,
    folder_tensors,
    load_model,
    read_description,
)
from opensapiens.checkpoints.pretrained_backbone import load_backbone
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.models.self_distillation import SelfDistillation
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.training.low_rank import add_adapters
from opensapiens.training.run import Run

LOW_PRETRAINING_RATE = 3e-5
"""That of batches of 51 images, where it is proportional to them; published: 1.5e-4 and above."""


def starting_model(run: Run) -> HumanModel | MaskedAutoencoder:
    """The network of a run, with fresh weights or those it starts from; what it does not train takes no gradient."""
    if run.masked:
        autoencoder = build_masked_autoencoder(run.model, run.distillation)
        autoencoder.mask_ratio = run.mask_ratio
        _warn_of_low_rate(run)
        if run.pretrained is not None:
            load_pretrained(autoencoder, run.pretrained)
        if isinstance(autoencoder, SelfDistillation):
            autoencoder.start_teacher()
        return autoencoder
    model = started_from(run) if run.start_from is not None else build_model(run.model)
    if run.pretrained is not None:
        load_pretrained(model, run.pretrained)
        for name, task in run.head_tasks.items():
            if (std := task.published.start_std) is not None:
                cast(UpsamplingHead, model.heads[name]).start(std)
    if run.trainable != "all":
        model.get_submodule("backbone").requires_grad_(False)
    if run.trainable == "lora":
        add_adapters(model.backbone, run.lora_rank)
    return model


def _warn_of_low_rate(run: Run) -> None:
    """Masked pretraining's rate is proportional to the batch, which small batches leave with hardly any."""
    if run.optimizer.lr < LOW_PRETRAINING_RATE and os.environ.get("RANK", "0") == "0":
        warnings.warn(
            f"pretraining with batches of {run.batch_size} at a learning rate of {run.optimizer.lr:.2g} learns hardly "
            f"anything: the published rate is 1.5e-4 for each 256 images of a batch. Take a larger --batch-size, with "
            f"--micro-batch {run.batch_size} if memory is short, or set the rate: --optimizer.lr 1.5e-4",
            stacklevel=2,
        )


def load_pretrained(model: HumanModel | MaskedAutoencoder, source: Path | str) -> None:
    """Puts the backbone of a model, by its folder or name, into a model, fitted to its shape.

    A pretrained backbone is of square images with a class token, which a backbone of 4:3 crops drops, as published.

    Raises:
        CheckpointError: no such model, or a backbone of another width or depth.
    """
    folder = model_folder(source)
    config = model.backbone.config
    description = read_description(folder, {**BACKBONES, config.family: type(config)})
    tensors = folder_tensors(folder, description)
    of_backbone = {name.removeprefix(BACKBONE): t for name, t in tensors.items() if name.startswith(BACKBONE)}
    load_backbone(model, of_backbone, description.backbone, str(folder))


def started_from(run: Run) -> HumanModel:
    """The model that `run.start_from` names: its backbone, and each head of the run from its head of the same task.

    The labels of a head may differ: points and parts of the same name keep their weights, others start afresh. Heads
    that the run does not have are left behind. The crops may have another size than those it was trained on. The run
    may have more blocks, up to twice as many; then it computes the same at first.

    Raises:
        CheckpointError: the backbone or a head's layers are of another shape, or the model lacks a head of the run.
    """
    assert run.start_from is not None
    config = run.model.backbone
    trained, description = load_model(
        model_folder(run.start_from), backbones={**BACKBONES, config.family: type(config)}
    )
    layers = description.backbone.layers
    if _shape(description.backbone) != _shape(config) or not layers <= config.layers <= 2 * layers:
        family = description.backbone.family
        hint = "" if family == config.family else f"; it is of the family {family}: give its --size"
        raise CheckpointError(
            f"{run.start_from} holds a backbone of another shape than the run trains; only the size of the crops may "
            f"differ, and the run may have up to twice its {layers} blocks{hint}"
        )
    model = build_model(run.model)
    load_backbone(model, trained.get_submodule("backbone").state_dict(), description.backbone, str(run.start_from))
    for head in run.model.heads:
        channels = shared_channels(description, run.model, head)
        known = description.heads[head].out_channels
        start_head(model.heads[head], trained.heads[head], channels, known)  # type: ignore[arg-type]
    return model


def _shape(config: BackboneConfig) -> dict[str, Any]:
    """What has to be the same of two backbones."""
    return {"family": config.family, **asdict(config), "image_size": None, "layers": None}  # type: ignore[call-overload]
