"""Several tasks on one backbone."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.task import DenseTask, Targets


class SeveralTasks:
    """The tasks of a model's heads and how much each weighs. A sample without a label adds nothing to that head's loss.

    Raises:
        ValueError: a weight for a head that has no task.
    """

    def __init__(self, tasks: Mapping[str, DenseTask], weights: Mapping[str, float] | None = None) -> None:
        self.tasks = dict(tasks)
        self.weights = dict.fromkeys(self.tasks, 1.0) | dict(weights or {})
        unknown = set(self.weights) - set(self.tasks)
        if unknown:
            raise ValueError(f"weights for {', '.join(sorted(unknown))}; the tasks are {', '.join(self.tasks)}")

    @property
    def flip_rules(self) -> dict[str, FlipRule]:
        """Head -> flip rule, for `forward.maps`."""
        return {head: task.flip_rule for head, task in self.tasks.items()}

    def prepare_targets(self, samples: Sequence[Sample]) -> dict[str, Targets]:
        """Head -> that task's targets."""
        return {head: task.prepare_targets(samples) for head, task in self.tasks.items()}

    def count(self, targets: Mapping[str, Targets]) -> dict[str, Tensor]:
        """Head -> what its losses are divided by; add these up over ranks or micro-batches before `losses`."""
        return {head: task.count(targets[head]) for head, task in self.tasks.items()}

    def losses(
        self, maps: Mapping[str, Tensor], targets: Mapping[str, Targets], count: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted terms named "head/term"; their sum is what is minimised."""
        terms = {}
        for head, task in self.tasks.items():
            for name, loss in task.losses(maps[head], targets[head], count[head] if count else None).items():
                terms[f"{head}/{name}"] = self.weights[head] * loss
        return terms
