"""Predicts the duration, cost and memory of a training run from counted operations and bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from opensapiens.backbones.transformer import block_activation_bytes
from opensapiens.checkpoints.model_description import DecoderDescription
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.models.cost import feature_grid, full_flops, masked_autoencoder_flops, parameters
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder, kept_patches
from opensapiens.training.gpus import GPU, GPUS
from opensapiens.training.plan_setup import PlanError, Setup

DECODER = DecoderDescription(512, 8, 16)
"""Of published pretraining."""
USABLE = 0.92  # of a GPU's memory: the rest is fragments
CONTEXT = 1.5e9  # bytes that a process holds before its first tensor: the driver's context, the communicator's buffers
GPUS_PER_MACHINE = 8
PAPER: dict[str, Any] = {"size": "2b", "gpus": 1024, "gpu": "a100", "tokens": 1.2e12, "days": 18.0}
"""The paper's largest pretraining (section 3.2 and Table 1)."""


class DoesNotFit(PlanError):
    """A run that needs more memory than a GPU has; the message says how much, and what would help."""


@dataclass(frozen=True)
class Plan:
    """The prediction for a setup. Bytes are per GPU.

    flops: of one image, forward and backward, without activation checkpointing. computing_seconds and
    communication_seconds: of a step, in parallel; the longer one counts.
    """

    setup: Setup
    parameters: int
    flops: float
    weights_bytes: float
    optimizer_bytes: float
    gradient_bytes: float
    image_bytes: float
    batch: int
    computing_seconds: float
    communication_seconds: float

    @property
    def memory(self) -> float:
        """Bytes of one GPU in all."""
        return self.standing_bytes + self.batch * self.image_bytes

    @property
    def standing_bytes(self) -> float:
        """Bytes that do not grow with the batch."""
        return self.weights_bytes + self.optimizer_bytes + self.gradient_bytes + CONTEXT

    @property
    def seconds(self) -> float:
        """Of one step of all GPUs."""
        return max(self.computing_seconds, self.communication_seconds)

    @property
    def tokens_of_an_image(self) -> int:
        """Patches of an image, masked ones too."""
        rows, columns = self.setup.config.grid()
        return rows * columns

    @property
    def images_per_second(self) -> float:
        """Of all GPUs."""
        return self.batch * self.setup.gpus / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Of all GPUs, masked patches counted too."""
        return self.images_per_second * self.tokens_of_an_image

    def days(self, images: float) -> float:
        """Of a run over so many images, epochs counted."""
        return images / self.images_per_second / 86400

    def cost(self, images: float, price: float | None = None) -> float:
        """US dollars of a run over so many images; price: of one GPU for an hour."""
        return self.days(images) * 24 * self.setup.gpus * (GPUS[self.setup.gpu].price if price is None else price)

    def efficiency_for(self, images: float, days: float) -> float:
        """The efficiency of a run that took so many days."""
        rate = getattr(GPUS[self.setup.gpu], self.setup.precision)
        return images * self.flops / (days * 86400 * self.setup.gpus * rate)


def plan(setup: Setup) -> Plan:
    """The prediction for a setup. Raises DoesNotFit if the batch, or a single image, does not fit."""
    gpu, config = GPUS[setup.gpu], setup.config
    with torch.device("meta"):
        model = MaskedAutoencoder(config) if setup.pretraining else build_model(setup.description)
    count = parameters(model, trainable_only=True)
    share = setup.gpus if setup.parallel == "fsdp" else 1
    half = setup.precision == "bfloat16"
    block = parameters(model.backbone.blocks[0])
    # Weights, gradients and both moments of AdamW are float32. Matrix products also need 16-bit copies: of all weights
    # with ddp, of this block and the next with fsdp.
    gathered = 2 * block * (2 if half else 4) if share > 1 else count * (2 if half else 0)
    unsharded_gradients = 4 * block if share > 1 else 0
    made = Plan(
        setup=setup,
        parameters=count,
        flops=3.0 * _forward_flops(setup, model),
        weights_bytes=4 * count / share + gathered,
        optimizer_bytes=8 * count / share,
        gradient_bytes=4 * count / share + unsharded_gradients,
        image_bytes=_image_bytes(setup, model, half),
        batch=1,
        computing_seconds=0.0,
        communication_seconds=0.0,
    )
    batch = _batch(made, gpu)
    repeated = 4 / 3 if setup.recompute else 1.0
    computing = batch * made.flops * repeated / (getattr(gpu, setup.precision) * setup.efficiency)
    return replace(made, batch=batch, computing_seconds=computing, communication_seconds=_sending(setup, gpu, count))


def _batch(made: Plan, gpu: GPU) -> int:
    room = gpu.memory * USABLE - made.standing_bytes
    fits = int(room // made.image_bytes)
    batch = fits if made.setup.batch is None else made.setup.batch
    if fits < 1 or batch > fits:
        wanted = max(batch, 1)
        standing, needed = made.standing_bytes, made.standing_bytes + wanted * made.image_bytes
        helps = [] if made.setup.recompute else ["recompute"]
        helps += ["fsdp"] if made.setup.parallel == "ddp" and made.setup.gpus > 1 else []
        helps += ["more GPUs"] if made.setup.parallel == "fsdp" else []
        helps += [f"a batch of {fits}"] if fits >= 1 else []
        raise DoesNotFit(
            f"{wanted} image{'s' if wanted > 1 else ''} a GPU need {needed / 1e9:.0f} GB ({standing / 1e9:.0f} "
            f"before the first image), and {made.setup.gpu} has {gpu.memory * USABLE / 1e9:.0f} to use; "
            f"what would help: {', '.join([*helps, 'a smaller model or image'])}"
        )
    return batch


def _forward_flops(setup: Setup, model: HumanModel | MaskedAutoencoder) -> int:
    if isinstance(model, MaskedAutoencoder):
        return masked_autoencoder_flops(setup.config, DECODER.embed_dim, DECODER.layers, setup.mask_ratio)
    return full_flops(setup.config, model.heads.values())  # type: ignore[arg-type]


def _image_bytes(setup: Setup, model: HumanModel | MaskedAutoencoder, half: bool) -> float:
    """Bytes per image: kept activations, those of one block if they are recomputed, pixels and outputs."""
    config = setup.config
    rows, columns = config.grid()
    patches, extra = rows * columns, config.prefix_tokens
    seen = kept_patches(patches, setup.mask_ratio) if setup.pretraining else patches
    blocks = config.block_activation_bytes(seen + extra, half)
    # For each stack: number of blocks, input values and kept bytes of one block.
    stacks = [(config.layers, (seen + extra) * config.embed_dim, blocks)]
    if setup.pretraining:
        decoder = block_activation_bytes(DECODER.embed_dim, DECODER.heads, patches + extra, half)
        stacks.append((DECODER.layers, (patches + extra) * DECODER.embed_dim, decoder))
    # A recomputed block keeps only its input.
    total = float(sum(layers * (4 * taken if setup.recompute else kept) for layers, taken, kept in stacks))
    if setup.recompute:
        total += max(kept for _, _, kept in stacks)
    pixels = 3 * config.image_size[0] * config.image_size[1]
    if isinstance(model, MaskedAutoencoder):
        return total + 4 * 5 * pixels  # images, targets, prediction, its gradient, their difference
    for name, described in setup.description.heads.items():
        head: Any = model.heads[name]
        shrunk = 2 ** len(described.deconv_channels)
        outputs = described.out_channels * rows * columns * shrunk**2
        total += head.activation_bytes(feature_grid(config), half) + 4 * 4 * outputs
    return total + 4 * pixels


def _sending(setup: Setup, gpu: GPU, count: int) -> float:
    """Seconds to send a step's weights and gradients around a ring at the slowest link's rate."""
    if setup.gpus == 1:
        return 0.0
    rate = gpu.link if setup.gpus <= GPUS_PER_MACHINE else gpu.network
    ring = (setup.gpus - 1) / setup.gpus
    if setup.parallel == "ddp":
        return 2 * 4 * count * ring / rate  # gradients float32, there and back
    weights = 2 if setup.precision == "bfloat16" else 4
    return (2 * weights + 4) * count * ring / rate  # gathered for both passes, gradients scattered
