"""The depth task: one relative depth per pixel, small = near."""

from collections.abc import Sequence

from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.geometry.view import resize_maps
from opensapiens.tasks.depth.loss import EPSILON, decorrelation, depth_l1, silog
from opensapiens.tasks.depth.metrics import DepthMetric
from opensapiens.tasks.depth.targets import depth_targets
from opensapiens.tasks.forward import flip_rule
from opensapiens.tasks.task import Targets, mean_over


class DepthTask:
    """Relative depth of the person in the crop, by the scale-invariant log loss.

    Args:
        l1_weight: weight of an L1 term on the normalised depth; 0 as published. See `silog` for when it is needed.
        correlation_weight: weight of `decorrelation`; 0 as published.
        floor: least depth that the logarithm sees; published: 1e-6.
        label_stride: train on every label_stride-th pixel; 1 = all, as published.
    """

    def __init__(
        self,
        l1_weight: float = 0.0,
        correlation_weight: float = 0.0,
        floor: float = EPSILON,
        label_stride: int = 1,
    ) -> None:
        self.l1_weight = l1_weight
        self.correlation_weight = correlation_weight
        self.floor = floor
        self.label_stride = label_stride
        self.flip_rule = flip_rule("depth")

    def prepare_targets(self, samples: Sequence[Sample]) -> Targets:
        """depth (B, H, W) in 0-1 with -1 outside, nearest (B,), range (B,), labelled (B,); see `depth_targets`."""
        return depth_targets(samples, self.label_stride)

    def count(self, targets: Targets) -> Tensor:
        """The number of samples with depth."""
        return targets["labelled"].sum().float()

    def losses(self, maps_B1hw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """silog; l1 and correlation when they have a weight."""
        target = targets["depth"]
        prediction = resize_maps(maps_B1hw, target.shape[-2:]).squeeze(1)
        count = self.count(targets) if count is None else count
        terms = {"silog": mean_over(count, silog(prediction, target, self.floor))}
        if self.l1_weight:
            terms["l1"] = self.l1_weight * mean_over(count, depth_l1(prediction, target))
        if self.correlation_weight:
            terms["correlation"] = self.correlation_weight * mean_over(count, decorrelation(prediction, target))
        return terms

    def decode(self, maps_B1hw: Tensor, size_hw: tuple[int, int] | None = None) -> Tensor:
        """Maps -> raw relative depth (B, H, W) float32 at `size_hw` (None: the maps' own size); may be negative."""
        return resize_maps(maps_B1hw, size_hw).squeeze(1)

    def new_metric(self) -> DepthMetric:
        """Errors after a scale-shift fit per person."""
        return DepthMetric()
