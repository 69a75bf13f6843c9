"""The optimizer and schedule of every fine-tuning config that was released, where they differ from the paper's text.

The paper (section 4) fine-tunes with AdamW, a linear warm-up and decay, layer-wise decay 0.85 and weight
decay 0.1. The released configs fall by a factor of ten at two epochs (pose) or once an epoch to zero (the others), and
their rates differ by label set and size.
"""

from dataclasses import dataclass

from opensapiens.training.run import OptimizerSettings, ScheduleSettings

BETAS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.999), 0.1, 1.0
WARMUP_FROM = 1e-3
HARDEST_POINTS = {("sapiens_308", "0.3b"): 128, ("sapiens_308", "1b"): 128}
"""(label set, size) -> how many of the worst points of a person are trained; the other configs train all."""


@dataclass(frozen=True)
class PublishedSchedule:
    """What a released config says. milestones: epochs after which the rate is a tenth; none: linear, once an epoch."""

    lr: float
    layer_decay: float
    epochs: int
    warmup_steps: int
    milestones: tuple[int, ...]
    batch_size: int  # of the published scripts, over 8 GPUs

    def optimizer(self) -> OptimizerSettings:
        """AdamW as in the config."""
        return OptimizerSettings(self.lr, BETAS, WEIGHT_DECAY, self.layer_decay, CLIP_NORM)

    def schedule(self, steps: int) -> ScheduleSettings:
        """The config's schedule over a run of its epochs that has so many steps."""
        if not self.milestones:
            epoch = max(steps // self.epochs, 1)
            return ScheduleSettings(self.warmup_steps, "linear", 0.0, WARMUP_FROM, epoch_steps=epoch)
        at = tuple(steps * milestone // self.epochs for milestone in self.milestones)
        return ScheduleSettings(self.warmup_steps, "steps", 0.0, WARMUP_FROM, at)


PUBLISHED_DENSE = PublishedSchedule(5e-4, 0.85, 200, 400, (), 16)
"""Of body parts, depth and normals at every size."""


def published_pose_schedule(size: str, labels: str) -> PublishedSchedule:
    """The schedule of the released pose config for a size ("0.3b" ... "2b") and a label set.

    Sets that were not released take the values of coco_17.
    """
    layer_decay = 0.85
    if labels == "wholebody_133" and size in ("0.3b", "0.6b"):
        layer_decay = 0.75
    if labels == "sapiens_308" and size == "1b":
        layer_decay = 0.95
    lr = 5e-5 if labels == "sapiens_308" else 5e-4
    return PublishedSchedule(lr, layer_decay, 210, 500, (170, 200), 32)
