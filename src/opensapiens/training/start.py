"""The model a run starts with: which network, with which weights, and which of them are trained."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from opensapiens.checkpoints.head_transfer import shared_channels, start_head
from opensapiens.checkpoints.model_folder import (
    BACKBONE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    build_masked_autoencoder,
    build_model,
    load_model,
    read_description,
)
from opensapiens.checkpoints.pretrained_backbone import load_backbone
from opensapiens.checkpoints.published import resolve
from opensapiens.checkpoints.published_models import PUBLISHED_MODELS
from opensapiens.checkpoints.strict_loading import CheckpointError, read_tensors
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.models.position_embedding import resize_position_embedding
from opensapiens.models.upsampling_head import start_as_published_pose
from opensapiens.models.vit import VisionTransformer
from opensapiens.training.low_rank import add_adapters
from opensapiens.training.run import Run


def starting_model(run: Run) -> HumanModel | MaskedAutoencoder:
    """The network of a run, with fresh weights or those it starts from; what it does not train takes no gradient."""
    if run.masked:
        autoencoder = build_masked_autoencoder(run.model)
        autoencoder.mask_ratio = run.mask_ratio
        if run.pretrained is not None:
            load_pretrained(autoencoder.encoder, run.pretrained)
        return autoencoder
    model = started_from(run) if run.start_from is not None else build_model(run.model)
    if run.pretrained is not None:
        load_pretrained(model.backbone, run.pretrained)
        if "pose" in model.heads:
            start_as_published_pose(model.heads["pose"])  # type: ignore[arg-type]
    if run.trainable != "all":
        model.backbone.requires_grad_(False)
    if run.trainable == "lora":
        add_adapters(model.backbone, run.lora_rank)
    return model


def load_pretrained(backbone: VisionTransformer, source: Path | str) -> None:
    """Puts the backbone of a model folder, or of a published model by its name, into this one, its positions resized.

    A pretrained backbone is of square images with a class token, which a backbone of 4:3 crops drops, as published.

    Raises:
        CheckpointError: a folder that is none, or a backbone of another width or depth.
    """
    folder = Path(source)
    if not (folder / CONFIG_FILE).is_file() and str(source) in PUBLISHED_MODELS:
        folder = resolve(str(source))
    read_description(folder)
    tensors = read_tensors(folder / WEIGHTS_FILE)
    of_backbone = {name.removeprefix(BACKBONE): t for name, t in tensors.items() if name.startswith(BACKBONE)}
    load_backbone(backbone, of_backbone, str(folder))


def started_from(run: Run) -> HumanModel:
    """The model of the folder `run.start_from`: its backbone, and each head of the run from its head of the same task.

    The labels of a head may differ: points and parts of the same name keep their weights, others start afresh. Heads
    that the run does not have are left behind. The crops may have another size than those it was trained on: its
    position embedding is resized. The run may have more blocks, up to twice as many: see `grown`.

    Raises:
        CheckpointError: the backbone or a head's layers are of another shape, or the folder lacks a head of the run.
    """
    assert run.start_from is not None
    trained, description = load_model(run.start_from)
    vit, layers = run.model.vit, description.vit.layers
    same_shape = replace(description.vit, image_size=vit.image_size, layers=vit.layers) == vit
    if not same_shape or not layers <= vit.layers <= 2 * layers:
        raise CheckpointError(
            f"{run.start_from} holds a backbone of another shape than the run trains; only the size of the crops may "
            f"differ, and the run may have up to twice its {layers} blocks"
        )
    model = build_model(run.model)
    weights, name = grown(trained.backbone.state_dict(), layers, vit.layers - layers), "position_embedding"
    weights[name] = resize_position_embedding(weights[name], description.vit.grid(), run.model.vit.grid())
    model.backbone.load_state_dict(weights)
    for head in run.model.heads:
        channels = shared_channels(description, run.model, head)
        start_head(model.heads[head], trained.heads[head], channels)  # type: ignore[arg-type]
    return model


def grown(weights: dict[str, Tensor], layers: int, added: int) -> dict[str, Tensor]:
    """The weights of a backbone with more blocks that computes the same at first, as in LLaMA Pro (arXiv 2401.02415).

    Each of the last `added` of the `layers` blocks is followed by a copy of itself, whose two outputs into the residual
    stream are zero.
    """
    result = {name: tensor for name, tensor in weights.items() if not name.startswith("blocks.")}
    copied_from = layers - added
    for block in range(layers):
        place = block + max(0, block - copied_from)
        for name, tensor in weights.items():
            if name.startswith(f"blocks.{block}."):
                rest = name.removeprefix(f"blocks.{block}.")
                result[f"blocks.{place}.{rest}"] = tensor
                if block >= copied_from:
                    silent = rest.startswith(("attention.projection.", "mlp.fc2."))
                    result[f"blocks.{place + 1}.{rest}"] = torch.zeros_like(tensor) if silent else tensor
    return result
