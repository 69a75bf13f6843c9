"""The learning rate over a run."""

import math

from opensapiens.training.run import ScheduleSettings


def learning_rate_factor(step: int, steps: int, schedule: ScheduleSettings) -> float:
    """The factor on every learning rate at `step` of 0 ... steps - 1.

    Rises linearly over the warm-up, reaching 1 at its end, and then falls to `final_factor` at the last step.
    """
    warmup = min(schedule.warmup_steps, steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup + 1) / max(steps - warmup, 1)
    fall = 1 - progress if schedule.decay == "linear" else 0.5 + 0.5 * math.cos(math.pi * progress)
    return schedule.final_factor + (1 - schedule.final_factor) * fall
