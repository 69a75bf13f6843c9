"""What the four fine-tuning recipes share (the paper's section 4): a pretrained backbone, a fresh head, one task."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.data.augment import Augmentation
from opensapiens.data.background import Backgrounds
from opensapiens.data.images import ImageCollection
from opensapiens.data.scene_crop import SceneCrop
from opensapiens.geometry.view import Preprocessing
from opensapiens.recipes.published_schedules import PublishedSchedule, published_schedule
from opensapiens.recipes.sizes import SIZES, SizeName, backbone
from opensapiens.tasks.several import SeveralTasks
from opensapiens.tasks.task import DenseTask
from opensapiens.training.run import OptimizerSettings, Run, SampleSource, ScheduleSettings, Size

ScheduleName = Literal["paper", "published"]
Framing = Literal["scene", "person"]
PATCH_PADDING = {"pose": 2, "segmentation": 0, "depth": 0, "normals": 2}
"""Zeros around the image inside the patch convolution, as each released config has them."""
WARMUP_STEPS = 500


@dataclass(frozen=True)
class TaskAtEverySize:
    """The tasks of a run with one head: its task, made for an input size and a label stride."""

    head: str
    make: Callable[[Size, int], DenseTask]

    def __call__(self, input_size: Size, label_stride: int) -> SeveralTasks:
        """The tasks at a size."""
        return SeveralTasks({self.head: self.make(input_size, label_stride)})


def one_task_run(
    head: Literal["pose", "segmentation", "depth", "normals"],
    description: HeadDescription,
    make_task: Callable[[Size, int], DenseTask],
    data: SampleSource,
    validation: SampleSource | None,
    output: Path,
    size: SizeName,
    input_size: Size,
    pretrained: str | None,
    augmentation: Augmentation | SceneCrop,
    backgrounds: Backgrounds | None = None,
    schedule: ScheduleName = "paper",
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    workers: int = 8,
    seed: int = 0,
) -> Run:
    """The run of one task.

    "paper" is its text: AdamW, layer-wise decay 0.85, weight decay 0.1, clipping at 1, linear warm-up and linear decay
    to zero; the text gives no numbers for rate, epochs and batch, so those of the released config stand. "published"
    is the released config for the size and the label set, with its way of falling. Both load the pretrained backbone
    strictly: the published training loads what fits and is silent about the rest.

    Raises:
        ValueError: "published" for a size that was not.
    """
    if schedule == "published" and SIZES[size].head_channels is not None:
        raise ValueError(f"there is no published schedule for the size {size!r}: take --schedule paper")
    labels = description.labels
    released = published_schedule(head, size, labels if isinstance(labels, str) else None)
    batch_size = batch_size or released.batch_size
    steps = steps or max((epochs or released.epochs) * len(data) // batch_size, 1)
    optimizer, falling = _settings(released, schedule, steps)
    return Run(
        model=ModelDescription(
            name=f"sapiens-{size}-{head}",
            backbone=backbone(size, input_size, PATCH_PADDING[head]),
            heads={head: description},
            preprocessing=Preprocessing(
                input_size, resize="squash" if isinstance(augmentation, SceneCrop) else "person_crop"
            ),
            source=f"recipes.{head}",
        ),
        tasks=TaskAtEverySize(head, make_task),
        data=data,
        validation=validation,
        output=Path(output),
        steps=steps,
        batch_size=batch_size,
        pretrained=pretrained,
        augmentation=augmentation,
        backgrounds=backgrounds,
        optimizer=optimizer,
        schedule=falling,
        ema_decay=0.0,  # neither the paper nor the code averages
        workers=workers,
        seed=seed,
    )


def _settings(
    released: PublishedSchedule, schedule: ScheduleName, steps: int
) -> tuple[OptimizerSettings, ScheduleSettings]:
    if schedule == "published":
        return released.optimizer(), released.schedule(steps)
    optimizer = OptimizerSettings(released.lr, weight_decay=0.1, layer_decay=0.85)
    return optimizer, ScheduleSettings(min(WARMUP_STEPS, steps // 10), "linear", final_factor=0.0)


def backgrounds_from(folder: Path | None, chance: float) -> Backgrounds | None:
    """Backgrounds from a folder of pictures without people, at the published chance; None for none."""
    return None if folder is None else Backgrounds(ImageCollection(folder), chance)
