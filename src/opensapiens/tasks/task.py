"""What the training loop, the evaluation and the pipelines ask of a task.

Axes in names: B samples, K keypoints, P parts, C channels, H W the size of labels or crop, h w that of a head's maps.

How losses average: a loss function returns one number per sample, 0 for a sample whose targets say it has no label,
and the loss is their sum divided by a count that depends on the targets alone. So several ranks, or accumulated
micro-batches, equal one big batch when the caller adds up `count(targets)` over them and passes the sum to `losses`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.tasks.forward import FlipRule

Targets = dict[str, Tensor]


class Metric(Protocol):
    """Accumulates over batches. `totals` is float64 and additive: sum it over ranks before `compute`."""

    totals: Tensor

    def update(self, prediction: Any, targets: Targets) -> None:
        """Add a decoded batch. Samples without a label are left out."""

    def compute(self) -> dict[str, float]:
        """The figures so far; NaN where there was nothing to measure."""


class Task(Protocol):
    """What is learned: labels of samples -> targets, maps and targets -> losses."""

    def prepare_targets(self, samples: Sequence[Sample]) -> Any:
        """Labels of cropped samples of one size -> tensors with a leading batch axis, made on the CPU by a loader.

        `labelled` (B,) bool says which samples have a label for this task. Cheap: costly targets are made in `losses`.
        """

    def count(self, targets: Any) -> Any:
        """What `losses` divides by: a float32 scalar, additive over batches."""

    def losses(self, maps: Any, targets: Any, count: Any = None) -> dict[str, Tensor]:
        """Named terms whose sum is minimised. `count`: that of the whole, multi-rank batch; None: of these targets."""


class DenseTask(Protocol):
    """A task of one head of a HumanModel; it is a Task and also decodes and measures."""

    @property
    def flip_rule(self) -> FlipRule:
        """What mirroring the input does to the maps."""

    def prepare_targets(self, samples: Sequence[Sample]) -> Targets:
        """See Task."""

    def count(self, targets: Targets) -> Tensor:
        """See Task."""

    def losses(self, maps_BChw: Tensor, targets: Targets, count: Tensor | None = None, /) -> dict[str, Tensor]:
        """See Task."""

    def decode(self, maps_BChw: Tensor, size_hw: tuple[int, int] | None = None, /) -> Any:
        """Raw maps -> prediction in the pixels of a crop of `size_hw`."""

    def new_metric(self) -> Metric:
        """A metric of decoded predictions that has seen nothing yet."""


def mean_over(count: Tensor, loss_B: Tensor) -> Tensor:
    """Sum of the samples' losses / count; 0, and still attached to the graph, when there is nothing to count."""
    return loss_B.sum() / count.clamp(min=1)
