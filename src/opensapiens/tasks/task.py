"""The interface of a task to training, evaluation and inference, and several tasks on one backbone.

Axes in names: B samples, K keypoints, P parts, C channels, H W the size of labels or image, h w that of a head's maps.

How losses average: a loss function returns one number per sample, 0 for a sample without a label, and the loss is their
sum divided by a count that depends on the targets alone. So several ranks, or accumulated micro-batches, equal one big
batch when the caller adds up `count(targets)` over them and passes the sum to `losses`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import cv2
import numpy as np
from torch import Tensor

from opensapiens.data.label_kinds import LabelKind
from opensapiens.data.sample import Sample
from opensapiens.geometry.view import View
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule

Targets = dict[str, Tensor]
Writer = Callable[[Path], None]
"""Writes one file to the given path."""


class Metric(Protocol):
    """Accumulates over samples. `totals` is float64 and additive: sum it over ranks before `compute`.

    region: which pixels or points are measured, in words.
    """

    region: str
    totals: Tensor

    def update(self, prediction: Any, truth: Sample) -> dict[str, float]:
        """Add the output of `decode` for a view and the labels of the same pixels; returns this sample's own figures.

        A sample without a label is left out: its figures are NaN. Raises ValueError for labels of another size or set.
        """

    def compute(self) -> dict[str, float]:
        """The figures so far; NaN where there was nothing to measure."""

    def report(self) -> dict[str, float]:
        """The same in more detail, and the figures of a trivial answer."""


class TaskMap(Protocol):
    """The prediction of a dense task for a whole image.

    values: (H, W) or (H, W, C), NaN (of class ids: 0) where nothing was predicted.
    """

    @property
    def values(self) -> np.ndarray:
        """See above."""

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The map over the (H, W, 3) uint8 RGB image, of its size."""

    def legend(self) -> np.ndarray | None:
        """A picture that explains the colors; None where that is not needed."""

    def files(self) -> dict[str, Writer]:
        """Endings of file names ("depth.png") -> a function that writes the file."""

    def frame_files(self) -> dict[str, Writer]:
        """The same for the frames of a video: one exact PNG each."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Name -> array, as a video's NPZ files hold it."""


class Task(Protocol):
    """Labels of samples -> targets, maps and targets -> losses."""

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """Labels of cropped samples of one size -> tensors with a leading batch axis, made on the CPU by a loader.

        `labeled` (B,) bool says which samples have a label for this task. label_stride: take every n-th pixel of every
        n-th row of dense labels, from the middle of the first block. Cheap: costly targets are made in `losses`.
        """

    def count(self, targets: Targets) -> Tensor:
        """What `losses` divides by: a float32 scalar, or one number for each of several terms, additive over
        batches."""

    def losses(self, maps: Any, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """Named terms whose sum is minimized. `count`: that of the whole, multi-rank batch; None: of these targets."""


class HeadTask(Task, Protocol):
    """A task of one head of a HumanModel: it also decodes and measures.

    name: of the head. title: above a picture of it. published: the layers of the first released head. patch_padding:
    zeros that those weights put around the image inside the patch convolution.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    published: ClassVar[HeadShape]
    patch_padding: ClassVar[int]

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str) -> Self:
        """The task of a head by its label set, its output channels and its kind (a key of `models.heads.HEADS`). Raises
        ValueError where they do not fit."""

    @property
    def labels(self) -> KeypointSet | PartSet | None:
        """The label set of the output channels; None where they have none."""

    @property
    def channels(self) -> int:
        """Output channels of the head."""

    @property
    def flip_rule(self) -> FlipRule:
        """How mirroring the input changes the maps."""

    def decode(self, maps_Chw: Tensor, view: View) -> Any:
        """Raw maps of one view -> the prediction in pixels of the view's window, as `Metric.update` takes it."""

    def new_metric(self) -> Metric:
        """A new metric of decoded predictions."""


class DenseTask(HeadTask, Protocol):
    """A task whose prediction is a map: `decode` gives an array over the view's window, NaN or 0 outside the view.

    kind: of the labels that it learns. everywhere: whether the map of a whole image is kept as it is, and not only
    where there are people.
    """

    kind: ClassVar[LabelKind]
    everywhere: ClassVar[bool]

    def blank(self, size_hw: tuple[int, int]) -> TaskMap:
        """The map of an image without any prediction."""


class SeveralTasks:
    """The tasks of a model's heads and how much each weighs. A sample without a label adds nothing to that head's loss.

    Raises:
        ValueError: a weight for a head that has no task.
    """

    def __init__(self, tasks: Mapping[str, Task], weights: Mapping[str, float] | None = None) -> None:
        self.tasks = dict(tasks)
        self.weights = dict.fromkeys(self.tasks, 1.0) | dict(weights or {})
        unknown = set(self.weights) - set(self.tasks)
        if unknown:
            raise ValueError(f"weights for {', '.join(sorted(unknown))}; the tasks are {', '.join(self.tasks)}")

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> dict[str, Targets]:
        """Head -> that task's targets."""
        return {head: task.prepare_targets(samples, label_stride) for head, task in self.tasks.items()}

    def count(self, targets: Mapping[str, Targets]) -> dict[str, Tensor]:
        """Head -> what its losses are divided by; add these up over ranks or micro-batches before `losses`."""
        return {head: task.count(targets[head]) for head, task in self.tasks.items()}

    def losses(
        self, maps: Mapping[str, Any], targets: Mapping[str, Targets], count: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted terms named "head/term"; their sum is what is minimized."""
        terms = {}
        for head, task in self.tasks.items():
            for name, loss in task.losses(maps[head], targets[head], count[head] if count else None).items():
                terms[f"{head}/{name}"] = self.weights[head] * loss
        return terms


def mean_over(count: Tensor, loss_B: Tensor) -> Tensor:
    """Sum of the samples' losses / count; 0, and still attached to the graph, when there is nothing to count."""
    return loss_B.sum() / count.clamp(min=1)


def paste(task_map: TaskMap, prediction: np.ndarray, view: View, mask_HW: np.ndarray) -> None:
    """Write a prediction of `decode` into the map of the image, where the (H, W) bool mask is set."""
    x1, y1, x2, y2 = view.window
    mask = mask_HW[y1:y2, x1:x2].view(np.uint8)
    if mask.size:
        cv2.copyTo(prediction, mask, task_map.values[y1:y2, x1:x2])
