"""The optimizer and schedule of every fine-tuning config of Sapiens2, by task and size.

All have AdamW, weight decay 0.1, a linear warm-up over 500 steps from a thousandth and a linear decay to zero.
"""

from dataclasses import dataclass

from opensapiens.tasks.albedo import AlbedoTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import PointmapTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.training.run import OptimizerSettings, ScheduleSettings

BETAS, WEIGHT_DECAY = (0.9, 0.999), 0.1
WARMUP_STEPS, WARMUP_FROM = 500, 1e-3
SIZES = ("0.4b", "0.8b", "1b", "5b")
LAYER_DECAY = dict(zip(SIZES, (0.8, 0.85, 0.9, 0.94), strict=True))
STEPS = {
    PoseTask.name: (10_000, 10_000, 20_000, 20_000),
    SegmentationTask.name: (20_000, 30_000, 20_000, 50_000),
    NormalsTask.name: (20_000, 10_000, 40_000, 40_000),
    PointmapTask.name: (20_000, 20_000, 40_000, 40_000),
    AlbedoTask.name: (20_000, 20_000, 40_000, 40_000),
}
BATCH_PER_GPU = {
    PoseTask.name: (6, 12, 7, 2),
    SegmentationTask.name: (12, 5, 8, 2),
    NormalsTask.name: (20, 12, 7, 3),
    PointmapTask.name: (8, 6, 3, 1),
    AlbedoTask.name: (20, 12, 7, 3),
}
"""Of the published scripts; notes in the configs speak of 256 GPUs."""
SLOWER = (PoseTask.name, NormalsTask.name, PointmapTask.name)
"""Tasks that 5b learns at a fifth of the rate."""


@dataclass(frozen=True)
class Sapiens2Schedule:
    """What a config says. steps: length of the run. batch_per_gpu: images."""

    lr: float
    layer_decay: float
    clip_norm: float
    steps: int
    batch_per_gpu: int

    def optimizer(self) -> OptimizerSettings:
        """AdamW as in the config."""
        return OptimizerSettings(self.lr, BETAS, WEIGHT_DECAY, self.layer_decay, self.clip_norm)

    def schedule(self) -> ScheduleSettings:
        """Warm-up and decay as in the config."""
        return ScheduleSettings(WARMUP_STEPS, "linear", 0.0, WARMUP_FROM, full_at_warmup=True)


def published_schedule(task: str, size: str) -> Sapiens2Schedule:
    """The config of a task ("pose", …) and a size ("0.4b" … "5b"). Raises ValueError where there is none."""
    if task not in STEPS or size not in SIZES:
        raise ValueError(
            f"Sapiens2 has no published schedule of {task} for {size}; there are those of {', '.join(STEPS)} for "
            f"{', '.join(SIZES)}"
        )
    place = SIZES.index(size)
    gentle = size == "0.4b" or (task, size) == (PointmapTask.name, "0.8b")
    return Sapiens2Schedule(
        lr=1e-4 if size == "5b" and task in SLOWER else 5e-4,
        layer_decay=LAYER_DECAY[size],
        clip_norm=2.0 if gentle else 4.0,
        steps=STEPS[task][place],
        batch_per_gpu=BATCH_PER_GPU[task][place],
    )
