"""What `opensapiens plan` can be asked. Imports no torch: --help reads it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from opensapiens.training.gpus import GPUS

if TYPE_CHECKING:
    from opensapiens.backbones import BackboneConfig
    from opensapiens.checkpoints.model_description import ModelDescription

PRETRAIN = "pretrain"


class PlanError(ValueError):
    """A setup that makes no sense; the message says why."""


@dataclass(frozen=True)
class Setup:
    """The run that is planned.

    Args:
        job: pretrain, or a task to fine-tune for with its published head: pose, segmentation, depth, normals, pointmap,
            matting, albedo.
        size: of the model: 0.3b, 0.6b, 1b, 2b; sapiens2-0.1b, sapiens2-0.4b, sapiens2-0.8b, sapiens2-1b, sapiens2-5b.
        gpus: how many.
        gpu: which: a100, a100-40gb, h100, h200, b200, mi300x, l40s, l4, t4, rtx4090.
        precision: of matrix products.
        parallel: fsdp shares the model out among the GPUs, ddp copies it.
        recompute: activation checkpointing: a third more time, far less memory.
        batch: images a GPU takes at once; by default as many as fit.
        efficiency: share of the GPU's rate for the precision that is reached while it computes, measured or assumed.
        mask_ratio: share of the patches that pretraining hides.
        image_size: height and width; by default 1024 1024 for pretraining, else 1024 768.

    Raises:
        PlanError: an unknown GPU, a number out of range, or a precision that the GPU has no units for.
    """

    job: str = PRETRAIN
    size: str = "2b"
    gpus: int = 8
    gpu: str = "a100"
    precision: Literal["bfloat16", "tf32", "float32"] = "bfloat16"
    parallel: Literal["ddp", "fsdp"] = "fsdp"
    recompute: bool = False
    batch: int | None = None
    efficiency: float = 0.40
    mask_ratio: float = 0.75
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.gpu not in GPUS:
            raise PlanError(f"no GPU {self.gpu!r} is known; there are {', '.join(GPUS)}")
        if not getattr(GPUS[self.gpu], self.precision):
            raise PlanError(f"{self.gpu} has no units for {self.precision}: plan with --precision float32")
        if self.gpus < 1 or (self.batch is not None and self.batch < 1):
            raise PlanError("there must be at least one GPU and one image a GPU")
        if not 0 < self.efficiency <= 1:
            raise PlanError(f"the efficiency is a share of the GPU's rate, in (0, 1], not {self.efficiency}")
        if not 0 < self.mask_ratio < 1:
            raise PlanError(f"the mask ratio is a share of the patches, between 0 and 1, not {self.mask_ratio}")
        if self.image_size is not None and any(side % 16 for side in self.image_size):
            raise PlanError(f"images of {self.image_size} pixels are not made of patches of 16")

    @cached_property
    def description(self) -> ModelDescription:
        """The published model of the job and the size; of several the one with the most outputs."""
        from opensapiens.checkpoints.published_table import PRETRAINING, PUBLISHED_MODELS

        task = PRETRAINING if self.pretraining else self.job
        rows = [row for row in PUBLISHED_MODELS.values() if (row.task, row.size_name) == (task, self.size)]
        if not rows:
            known = ", ".join(dict.fromkeys(f"{row.task} {row.size_name}" for row in PUBLISHED_MODELS.values()))
            raise PlanError(f"no model of {self.size} for {self.job} was published; there are {known}")
        return max(rows, key=lambda row: row.outputs).description(self.image_size)

    @property
    def pretraining(self) -> bool:
        """Whether this is masked pretraining."""
        return self.job == PRETRAIN

    @property
    def config(self) -> BackboneConfig:
        """The backbone."""
        return self.description.backbone
