"""The pose task: one heatmap per keypoint."""

from collections.abc import Sequence

import torch
from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.geometry.heatmaps import decode_heatmaps
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.tasks.forward import flip_rule
from opensapiens.tasks.pose.loss import gaussian_losses, hardest_keypoints_mse, heatmap_mse, location_cross_entropy
from opensapiens.tasks.pose.metrics import PoseMetric, PosePrediction
from opensapiens.tasks.pose.targets import gaussian_factors, gaussian_heatmaps, pose_targets
from opensapiens.tasks.task import Targets, mean_over


class PoseTask:
    """Top-down keypoints by UDP heatmaps (the paper's section 4.1 and its published code).

    Args:
        keypoint_set: the points, one channel each.
        input_size: (height, width) of the crops.
        heatmap_stride: crop pixels per heatmap pixel.
        sigma: of the Gaussian, in heatmap pixels. Published: 6 at 256 x 192; scale it with the heatmap.
        hardest: train only this many points of each sample, the worst ones; published: 128 of 308 for 0.3b and 1b.
        location_weight: weight of `location_cross_entropy`; published: 0.
        point_weights: (K,) how much each point weighs in the loss; published: all 1.
    """

    def __init__(
        self,
        keypoint_set: KeypointSet,
        input_size: tuple[int, int],
        heatmap_stride: int = 4,
        sigma: float = 6.0,
        hardest: int | None = None,
        location_weight: float = 0.0,
        point_weights: Sequence[float] | None = None,
    ) -> None:
        self.keypoint_set = keypoint_set
        self.input_size = input_size
        self.heatmap_size = (input_size[0] // heatmap_stride, input_size[1] // heatmap_stride)
        self.sigma = sigma
        self.hardest = hardest
        self.location_weight = location_weight
        self.point_weights = torch.ones(len(keypoint_set)) if point_weights is None else torch.tensor(point_weights)
        self.flip_rule = flip_rule("pose", keypoint_set)

    def prepare_targets(self, samples: Sequence[Sample]) -> Targets:
        """points (B, K, 2) crop pixels, weights (B, K), area (B,), labelled (B,); see `pose_targets`."""
        names = self.keypoint_set.name, len(self.keypoint_set)
        return pose_targets(samples, *names, self.input_size, self.heatmap_size, self.sigma)

    def count(self, targets: Targets) -> Tensor:
        """The number of persons with keypoints."""
        return targets["labelled"].sum().float()

    def losses(self, maps_BKhw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """heatmap_mse, and location when it has a weight.

        Raises:
            ValueError: maps of another size than the heatmaps'.
        """
        if maps_BKhw.shape[1:] != (len(self.keypoint_set), *self.heatmap_size):
            expected = (len(self.keypoint_set), *self.heatmap_size)
            raise ValueError(f"the pose head gives {tuple(maps_BKhw.shape[1:])} maps, the task needs {expected}")
        known, sizes = targets["weights"], (self.input_size, self.heatmap_size, self.sigma)
        weights = known * self.point_weights.to(known.device)
        count = self.count(targets) if count is None else count
        if self.location_weight and self.hardest is None:
            along_y, along_x = gaussian_factors(targets["points"], known, *sizes)
            mse, location = gaussian_losses(maps_BKhw, along_y, along_x, weights)
            return {
                "heatmap_mse": mean_over(count, mse),
                "location": self.location_weight * mean_over(count, location),
            }
        heatmaps = gaussian_heatmaps(targets["points"], known, *sizes)
        if self.hardest is None:
            loss = heatmap_mse(maps_BKhw.float(), heatmaps, weights)
        else:
            loss = hardest_keypoints_mse(maps_BKhw.float(), heatmaps, weights, self.hardest)
        terms = {"heatmap_mse": mean_over(count, loss)}
        if self.location_weight:
            location = location_cross_entropy(maps_BKhw.float(), heatmaps, weights)
            terms["location"] = self.location_weight * mean_over(count, location)
        return terms

    def decode(self, maps_BKhw: Tensor, size_hw: tuple[int, int] | None = None) -> PosePrediction:
        """Heatmaps -> points in the pixels of a crop of `size_hw` (None: the task's input size), and their scores."""
        height, width = size_hw or self.input_size
        points, scores = decode_heatmaps(maps_BKhw.float().cpu().numpy(), (height, width))
        # The published decoding stretches by size / (size - 1), for its mapping back to the image; the targets are not.
        shrink = torch.tensor([(width - 1) / width, (height - 1) / height])
        return PosePrediction(torch.as_tensor(points) * shrink, torch.as_tensor(scores))

    def new_metric(self) -> PoseMetric:
        """Mean object keypoint similarity."""
        return PoseMetric(self.keypoint_set)
