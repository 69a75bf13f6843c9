"""What a training run is. Recipes return a `Run`; `training.loop.train` runs it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.data.augment import Augmentation
from opensapiens.data.background import Backgrounds
from opensapiens.data.multi_crop import MultiCrop
from opensapiens.data.sample import Sample
from opensapiens.data.sapiens2_augment import PictureSteps
from opensapiens.data.scene_crop import SceneCrop
from opensapiens.data.square_crop import SquareCrop
from opensapiens.models.masked_autoencoder import kept_patches
from opensapiens.models.self_distillation import DistillationSettings
from opensapiens.tasks.task import HeadTask, SeveralTasks

Size = tuple[int, int]  # height, width


class UnfitRun(ValueError):
    """Settings of a run that do not go together."""


class SampleSource(Protocol):
    """A sequence of persons: `data.shards.ShardDataset`, `data.coco.CocoDataset`, or a list of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


AnyAugmentation = Augmentation | SceneCrop | PictureSteps | SquareCrop | MultiCrop


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW, or Muon and AdamW.

    Args:
        lr: learning rate at the end of the warm-up.
        betas: of AdamW.
        weight_decay: of matrices; biases, norms, tokens and position embeddings have none.
        layer_decay: the learning rate of each block is this times that of the block above it.
        clip_norm: gradients are scaled down to this norm.
        muon: train the matrices of blocks and heads with Muon, the rest with AdamW; not in the published code.
    """

    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    layer_decay: float = 1.0
    clip_norm: float = 1.0
    muon: bool = False


@dataclass(frozen=True)
class ScheduleSettings:
    """Factor on the learning rate: a linear warm-up, then a decay to the end of the run.

    The published fine-tuning configs count differently: their warm-up starts at `warmup_from`, and with "steps" or
    `epoch_steps` they decay from step 0 on.

    Args:
        warmup_steps: length of the warm-up.
        decay: its shape; "steps" divides the rate by ten at each of the milestones.
        final_factor: the factor at the last step.
        warmup_from: the factor at step 0; 0 starts at 1 / warmup_steps.
        milestones: the steps of "steps".
        epoch_steps: lower a linear decay once every so many steps, counted from step 0; 0 lowers it at every step.
        full_at_warmup: the warm-up ends at step `warmup_steps` and not one before, and the decay begins there, as in
            the configs of Sapiens2.
    """

    warmup_steps: int = 500
    decay: Literal["cosine", "linear", "steps"] = "cosine"
    final_factor: float = 0.01
    warmup_from: float = 0.0
    milestones: tuple[int, ...] = ()
    epoch_steps: int = 0
    full_at_warmup: bool = False


@dataclass(frozen=True)
class Run:
    """One training run. Two equal runs on one machine, with as many threads, give the same weights, interrupted
    or not.

    The weights start at random, or from one of `start_from` and `pretrained`. `opensapiens train RECIPE --help` shows
    this documentation.

    Args:
        model: the network and how its inputs are made.
        tasks: what it learns.
        data: the people or images to train on.
        output: folder for log, checkpoints, pictures and the trained model.
        steps: length of the run.
        batch_size: samples per step, over all processes: a run is the same on one GPU and on a thousand.
        micro_batch: the most samples that a process takes at once; the gradients of a step add up. By default all.
        mask_ratio: share of the patches that masked pretraining hides.
        distillation: of masked pretraining with a teacher, whose backbone is exported; None for one without.
        stages: smaller crops at first: (until_step, (height, width)) in rising order; after the last one, crops have
            the size of the model's input.
        label_stride: train dense tasks on every n-th pixel of every n-th row; validation takes all.
        augmentation: how samples are varied.
        backgrounds: pictures without people that are put behind the person, and how often.
        optimizer: AdamW, or Muon and AdamW.
        schedule: factor on the learning rate over the run.
        start_from: a model, by folder or name (nano), whose weights the run starts with.
        pretrained: a model, by folder or name, whose backbone the run starts with.
        trainable: "heads" freezes the backbone; "lora" freezes it and trains low-rank adapters.
        lora_rank: rank of the adapters.
        ema_decay: of the moving average of the weights, which is what is exported; 0 exports the last weights.
        start_share: share of the weights from start_from in the exported ones.
        seed: of weights, order and augmentation.
        workers: processes that load samples; 0 loads in the training process. By default by the number of cores.
        threads: CPU threads of PyTorch; by default one per core.
        device: "auto" takes the first accelerator, else the CPU.
        parallel: among torchrun's processes: "ddp" copies the weights, "fsdp" shares them out (FSDP2).
        precision: of the forward pass; weights and losses stay float32.
        recompute: activation checkpointing: blocks run again in the backward pass, for less memory.
        compile: compile the network with torch.compile.
        checkpoint_steps: steps between checkpoints.
        checkpoint_minutes: the longest time between checkpoints.
        validation: the people or images to validate on.
        validation_steps: steps between validations; the last step is validated too.
        picture_steps: steps between pictures of what masked pretraining reconstructs.
        log_steps: steps between lines of the log.
        trackers: where else the log goes.
        spike_factor: a loss this many times the median of the last 100 stops the run.
    """

    model: ModelDescription
    tasks: SeveralTasks
    data: SampleSource
    output: Path
    steps: int
    batch_size: int
    micro_batch: int | None = None
    mask_ratio: float = 0.75
    distillation: DistillationSettings | None = None
    stages: tuple[tuple[int, Size], ...] = ()
    label_stride: int = 1
    augmentation: Augmentation | SceneCrop | PictureSteps | SquareCrop | MultiCrop | None = field(
        default_factory=Augmentation
    )
    backgrounds: Backgrounds | None = None
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    start_from: str | Path | None = None
    pretrained: str | Path | None = None
    trainable: Literal["all", "heads", "lora"] = "all"
    lora_rank: int = 16
    ema_decay: float = 0.999
    start_share: float = 0.0
    seed: int = 0
    workers: int | None = 0
    threads: int | None = None
    device: str = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: bool = False
    compile: bool = False
    checkpoint_steps: int = 1000
    checkpoint_minutes: float = 10.0
    validation: SampleSource | None = None
    validation_steps: int = 1000
    picture_steps: int = 1000
    log_steps: int = 1
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    spike_factor: float = 25.0

    def __post_init__(self) -> None:
        """Raises UnfitRun for stages out of order, sizes that are no whole number of patches, no samples, and
        settings that contradict each other."""
        patch = self.model.backbone.patch_size
        for size in (self.final_size, *(size for _, size in self.stages)):
            if size[0] % patch or size[1] % patch:
                raise UnfitRun(f"crops of {size} (height, width) are no whole number of patches of {patch} pixels")
        ends = [until for until, _ in self.stages]
        if ends != sorted(set(ends)):
            raise UnfitRun(f"stages end at steps {ends}, which do not rise")
        if len(self.data) == 0:
            raise UnfitRun("there is nothing to train on: the data hold no sample")
        if self.start_from is not None and self.pretrained is not None:
            raise UnfitRun("start_from (a whole model) and pretrained (a backbone) cannot both be given")
        if not 0 <= self.start_share < 1 or (self.start_share and self.start_from is None):
            raise UnfitRun(f"start_share must be in [0, 1), and needs start_from where it is not 0: {self.start_share}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise UnfitRun(f"micro_batch must be at least 1, not {self.micro_batch}")
        if self.threads is not None and self.threads < 1:
            raise UnfitRun(f"threads must be at least 1, not {self.threads}")
        if self.masked == bool(self.model.heads):
            raise UnfitRun("a run trains either heads or, with a decoder and no heads, a masked autoencoder")
        if self.masked:
            rows, columns = self.model.backbone.grid()
            kept_patches(rows * columns, self.mask_ratio)
        if (self.distillation is not None) != isinstance(self.augmentation, MultiCrop):
            raise UnfitRun("self-distillation needs several crops of each picture (MultiCrop), and only it takes them")
        if self.distillation is not None and (not self.masked or self.ema_decay):
            raise UnfitRun("self-distillation is masked pretraining, and its teacher the only average: ema_decay 0")
        if self.masked and self.trainable != "all":
            raise UnfitRun("masked pretraining trains the whole backbone")

    @property
    def head_tasks(self) -> dict[str, HeadTask]:
        """The tasks by head; not for masked pretraining, whose task decodes nothing."""
        return cast("dict[str, HeadTask]", self.tasks.tasks)

    @property
    def masked(self) -> bool:
        """Whether this is masked pretraining."""
        return self.model.decoder is not None

    def input_size(self, step: int) -> Size:
        """Height and width of the crops at a step."""
        return next((size for until, size in self.stages if step < until), self.final_size)

    @property
    def final_size(self) -> Size:
        """Height and width that the exported model is used at."""
        return self.model.preprocessing.input_size
