"""What a training run is. Recipes return a `Run`; `training.loop.train` runs it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.data.augment import Augmentation
from opensapiens.data.sample import Sample
from opensapiens.tasks.several import SeveralTasks

Size = tuple[int, int]  # height, width


class SampleSource(Protocol):
    """A sequence of persons: `data.shards.ShardDataset`, `data.coco.CocoDataset`, or a list of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW, or Muon and AdamW."""

    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    layer_decay: float = 1.0  # the learning rate of each block is this times that of the block above it
    clip_norm: float = 1.0
    muon: bool = False  # matrices of the blocks and heads by Muon: about half the steps for small models from scratch


@dataclass(frozen=True)
class ScheduleSettings:
    """Factor on the learning rate: a linear warm-up, then a decay to the end of the run."""

    warmup_steps: int = 500
    decay: Literal["cosine", "linear"] = "cosine"
    final_factor: float = 0.01


@dataclass(frozen=True)
class Run:
    """One training run. Two equal runs on one machine give the same weights, whether or not they were interrupted.

    `tasks` makes the tasks for an input size and a label stride. `stages` are (until_step, (height, width)) in rising
    order; after the last one, crops have the size of the model's preprocessing.
    """

    model: ModelDescription
    tasks: Callable[[Size, int], SeveralTasks]
    data: SampleSource
    output: Path
    steps: int
    batch_size: int
    stages: tuple[tuple[int, Size], ...] = ()
    label_stride: int = 1  # train dense tasks on every n-th pixel of every n-th row; validation takes all
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    start_from: Path | None = None  # a model folder whose weights the run starts with
    ema_decay: float = 0.999  # of the averaged weights, which are the ones exported; 0 exports the last ones
    seed: int = 0
    workers: int = 0  # loader processes; 0 loads in the training process
    device: str = "auto"  # "auto" takes the first accelerator, else the CPU
    precision: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; weights and losses stay float32
    compile: bool = False
    checkpoint_steps: int = 1000
    checkpoint_minutes: float = 10.0
    validation: SampleSource | None = None
    validation_steps: int = 1000  # how often; also after the last step
    log_steps: int = 20

    def __post_init__(self) -> None:
        """Raises ValueError for stages out of order, sizes that are no whole number of patches, or no samples."""
        patch = self.model.vit.patch_size
        for size in (self.final_size, *(size for _, size in self.stages)):
            if size[0] % patch or size[1] % patch:
                raise ValueError(f"crops of {size} (height, width) are no whole number of patches of {patch} pixels")
        ends = [until for until, _ in self.stages]
        if ends != sorted(set(ends)):
            raise ValueError(f"stages end at steps {ends}, which do not rise")
        if len(self.data) == 0:
            raise ValueError("there is nothing to train on: the data hold no sample")

    def input_size(self, step: int) -> Size:
        """Height and width of the crops at a step."""
        return next((size for until, size in self.stages if step < until), self.final_size)

    @property
    def final_size(self) -> Size:
        """Height and width that the exported model is used at."""
        height, width = self.model.preprocessing["input_size"]
        return height, width
