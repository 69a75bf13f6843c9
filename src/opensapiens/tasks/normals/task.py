"""The surface-normal task: a vector per pixel; +x right, +y up, +z towards the camera in our data."""

from collections.abc import Sequence

from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.geometry.view import resize_maps
from opensapiens.tasks.forward import flip_rule
from opensapiens.tasks.normals.loss import cosine_loss, l1_loss, valid_pixels
from opensapiens.tasks.normals.metrics import NormalsMetric
from opensapiens.tasks.normals.targets import normals_targets
from opensapiens.tasks.task import Targets, mean_over


class NormalsTask:
    """Surface normals of the person in the crop, by the cosine and the L1 loss at equal weight, as published.

    Args:
        label_stride: train on every label_stride-th pixel; 1 = all, as published.
    """

    def __init__(self, label_stride: int = 1) -> None:
        self.label_stride = label_stride
        self.flip_rule = flip_rule("normals")

    def prepare_targets(self, samples: Sequence[Sample]) -> Targets:
        """normals (B, 3, H, W) float16 with -1000 outside, labelled (B,); see `normals_targets`."""
        return normals_targets(samples, self.label_stride)

    def count(self, targets: Targets) -> Tensor:
        """The number of pixels with a normal."""
        return valid_pixels(targets["normals"]).sum().float()

    def losses(self, maps_B3hw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """cosine and l1."""
        target = targets["normals"].float()
        prediction = resize_maps(maps_B3hw, target.shape[-2:])
        count = self.count(targets) if count is None else count
        return {
            "cosine": mean_over(count, cosine_loss(prediction, target)),
            "l1": mean_over(count, l1_loss(prediction, target)),
        }

    def decode(self, maps_B3hw: Tensor, size_hw: tuple[int, int] | None = None) -> Tensor:
        """Maps -> unit normals (B, 3, H, W) float32 at `size_hw` (None: the maps' own size): n / (|n| + 1e-5)."""
        raw = resize_maps(maps_B3hw, size_hw)
        return raw / (raw.norm(dim=1, keepdim=True) + 1e-5)

    def new_metric(self) -> NormalsMetric:
        """Angular errors."""
        return NormalsMetric()
