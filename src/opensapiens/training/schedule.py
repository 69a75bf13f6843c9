"""The learning rate over a run."""

import math

from opensapiens.training.run import ScheduleSettings


def learning_rate_factor(step: int, steps: int, schedule: ScheduleSettings) -> float:
    """The factor on every learning rate at `step` of 0 ... steps - 1.

    Rises linearly to 1 over the warm-up, then falls to `final_factor` at the last step. Milestones and epochs, of the
    published configs, count from step 0; there the warm-up is an additional factor.
    """
    warmup = min(schedule.warmup_steps, steps)
    rise = _warmup(step, warmup + schedule.full_at_warmup, schedule.warmup_from)
    if schedule.decay == "steps":
        return rise * 0.1 ** sum(step >= milestone for milestone in schedule.milestones)
    if schedule.epoch_steps:
        epochs = max(steps // schedule.epoch_steps, 1)
        fall = max(1 - (step // schedule.epoch_steps) / epochs, 0.0)
        return rise * (schedule.final_factor + (1 - schedule.final_factor) * fall)
    if step < warmup:
        return rise
    progress = (step - warmup + (not schedule.full_at_warmup)) / max(steps - warmup, 1)
    fall = 1 - progress if schedule.decay == "linear" else 0.5 + 0.5 * math.cos(math.pi * progress)
    return schedule.final_factor + (1 - schedule.final_factor) * fall


def _warmup(step: int, warmup: int, start: float) -> float:
    """The linear rise from `start`, as in the published configs, or else from 1 / warmup."""
    if step >= warmup:
        return 1.0
    return start + (1 - start) * step / max(warmup - 1, 1) if start else (step + 1) / warmup
