"""What the fine-tuning recipes share (the paper's section 4): a pretrained backbone, a fresh head, one task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opensapiens.backbones.sapiens import PUBLISHED_SIZES
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.sapiens2_files import ROWS
from opensapiens.data.augment import PUBLISHED_POSE, SAPIENS2_POSE, Augmentation
from opensapiens.data.background import Backgrounds
from opensapiens.data.sapiens2_augment import PICTURES, PictureSteps
from opensapiens.data.scene_crop import SceneCrop
from opensapiens.geometry.view import Preprocessing
from opensapiens.recipes.published_schedules import PUBLISHED_DENSE, PublishedSchedule
from opensapiens.recipes.sapiens2_schedules import published_schedule
from opensapiens.recipes.sizes import SizeName, default_input, head, is_sapiens2, task_backbone
from opensapiens.tasks.task import HeadTask, SeveralTasks
from opensapiens.training.run import OptimizerSettings, Run, SampleSource, ScheduleSettings, Size

ScheduleName = Literal["paper", "published"]
WARMUP_STEPS = 500
GPUS = 8  # for which the batches of Sapiens2's scripts are multiplied; notes in its configs speak of 256


@dataclass(frozen=True)
class FineTuning:
    """How a pretrained backbone is fine-tuned.

    Args:
        size: the backbone's size, of Sapiens2 with its losses; nano (--pretrained nano) is the network of the weights
            inside the package.
        pretrained: a model folder or a name, whose backbone the run starts with: nano, with --size nano, or a published
            one, with its size.
        input_size: height and width of the network's input; by default 1024 768, of nano 256 208.
        schedule: paper follows the text of the first paper, published the released config of the size, where there is
            one.
        epochs: passes over the data, where steps does not say how long to train; by default the released config's.
        steps: length of the run; by default by the epochs, in released configs of Sapiens2 theirs.
        batch_size: samples per step, over all processes; by default the released config's, of Sapiens2 on 8 GPUs.
        workers: processes that load samples, per training process; by default by the number of cores.
        seed: of weights, order and augmentation.
    """

    size: SizeName
    pretrained: str | None = None
    input_size: Size | None = None
    schedule: ScheduleName = "paper"
    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    workers: int | None = None
    seed: int = 0


SAPIENS, SAPIENS2 = FineTuning("0.3b"), FineTuning("sapiens2-0.4b")
SAPIENS2_RELEASED = FineTuning("sapiens2-0.4b", schedule="published")
"""Defaults of the recipes: of the tasks of the first paper, of Sapiens2's, and of those whose config was released."""


def one_task_run(
    task: HeadTask,
    data: SampleSource,
    output: Path,
    training: FineTuning,
    validation: SampleSource | None = None,
    augmentation: Augmentation | SceneCrop = PUBLISHED_POSE,
    backgrounds: Backgrounds | None = None,
    released: PublishedSchedule = PUBLISHED_DENSE,
    description: HeadDescription | None = None,
) -> Run:
    """The run of one task, of this package or of your own; the head has the channels of the size unless there is a
    description of it. With a SceneCrop as augmentation the model takes whole pictures, else crops of people.

    "paper" is its text: AdamW, layer-wise decay 0.85, weight decay 0.1, clipping at 1, linear warm-up and linear decay
    to zero; the text gives no numbers for rate, epochs and batch, so those of the released config stand. "published"
    is the released config for the size and the label set, with its way of falling. Both load the pretrained backbone
    strictly: the published training loads what fits and is silent about the rest.

    Raises:
        ValueError: "published" for a size that was not.
    """
    size, is_published = training.size, training.schedule == "published"
    if is_published and not is_sapiens2(size) and size not in PUBLISHED_SIZES:
        raise ValueError(f"there is no published schedule for the size {size!r}: take --schedule paper")
    input_size = training.input_size or default_input(size)
    epochs, steps = training.epochs, training.steps
    if is_published and is_sapiens2(size):
        config = published_schedule(task.name, size.partition("-")[2])
        batch_size = training.batch_size or config.batch_per_gpu * GPUS
        steps = steps or (epochs * len(data) // batch_size if epochs else config.steps)
        optimizer, falling = config.optimizer(), config.schedule()
    else:
        batch_size = training.batch_size or released.batch_size
        steps = steps or max((epochs or released.epochs) * len(data) // batch_size, 1)
        optimizer, falling = _settings(released, training.schedule, steps)
    return Run(
        model=ModelDescription(
            name=_name(size, task.name),
            backbone=task_backbone(size, input_size, task.patch_padding),
            heads={task.name: description or head(size, task, input_size)},
            preprocessing=_preprocessing(size, task.name, input_size, isinstance(augmentation, SceneCrop)),
            source=f"recipes.{task.name}",
        ),
        tasks=SeveralTasks({task.name: task}),
        data=data,
        validation=validation,
        output=Path(output),
        steps=steps,
        batch_size=batch_size,
        pretrained=training.pretrained,
        augmentation=_of_sapiens2(task, augmentation) if is_sapiens2(size) else augmentation,
        backgrounds=backgrounds,
        optimizer=optimizer,
        schedule=falling,
        ema_decay=0.0,  # neither the paper nor the code averages
        workers=training.workers,
        seed=training.seed,
    )


def _of_sapiens2(task: HeadTask, augmentation: Augmentation | SceneCrop) -> Augmentation | SceneCrop | PictureSteps:
    """The augmentation of Sapiens2 where there is one in place of the first paper's."""
    if isinstance(augmentation, SceneCrop):
        kind = getattr(task, "kind", None)
        return augmentation if kind is None else PICTURES.get(kind, augmentation)
    return SAPIENS2_POSE if augmentation == PUBLISHED_POSE else augmentation


def _name(size: str, task: str) -> str:
    if is_sapiens2(size):
        return f"{size}-{task}"
    return f"{'opensapiens' if size == 'nano' else 'sapiens'}-{size}-{task}"


def _preprocessing(size: str, task: str, input_size: Size, whole_pictures: bool) -> Preprocessing:
    """Of whole pictures as the published weights of the family take them."""
    row = next((row for row in ROWS if row.task == task), None)
    if is_sapiens2(size) and row is not None and (row.resize == "person_crop") != whole_pictures:
        return Preprocessing(input_size, resize=row.resize, interpolation=row.interpolation)
    return Preprocessing(input_size, resize="squash" if whole_pictures else "person_crop")


def _settings(
    released: PublishedSchedule, schedule: ScheduleName, steps: int
) -> tuple[OptimizerSettings, ScheduleSettings]:
    if schedule == "published":
        return released.optimizer(), released.schedule(steps)
    optimizer = OptimizerSettings(released.lr, weight_decay=0.1, layer_decay=0.85)
    return optimizer, ScheduleSettings(min(WARMUP_STEPS, steps // 10), "linear", final_factor=0.0)
