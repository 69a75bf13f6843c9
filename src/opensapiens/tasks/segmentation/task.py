"""The body-part task: one logit per class and pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.geometry.view import resize_maps
from opensapiens.labels.parts import PartSet
from opensapiens.tasks.forward import flip_rule
from opensapiens.tasks.segmentation.loss import dice_loss, weighted_cross_entropy
from opensapiens.tasks.segmentation.metrics import SegmentationMetric
from opensapiens.tasks.segmentation.targets import segmentation_targets
from opensapiens.tasks.task import Targets, mean_over


class SegmentationTask:
    """Body parts; logits are raised bilinearly to the labels' size, for the loss and before the argmax, as published.

    Args:
        part_set: the classes, with their loss weights.
        label_stride: train on every label_stride-th pixel; 1 = all, as published. 4 costs a sixteenth (small machines).
        dice_weight: weight of `dice_loss`; 0 as published.
    """

    def __init__(self, part_set: PartSet, label_stride: int = 1, dice_weight: float = 0.0) -> None:
        self.part_set = part_set
        self.label_stride = label_stride
        self.dice_weight = dice_weight
        self.class_weights = torch.from_numpy(part_set.loss_weights.copy())
        self.flip_rule = flip_rule("segmentation", part_set)

    def prepare_targets(self, samples: Sequence[Sample]) -> Targets:
        """labels (B, H, W) uint8, labelled (B,); see `segmentation_targets`."""
        return segmentation_targets(samples, self.part_set.name, self.label_stride)

    def count(self, targets: Targets) -> Tensor:
        """The number of samples with a part map."""
        return targets["labelled"].sum().float()

    def losses(self, maps_BPhw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """cross_entropy, and dice when it has a weight."""
        labels = targets["labels"]
        logits = resize_maps(maps_BPhw, labels.shape[-2:])
        loss = weighted_cross_entropy(logits, labels, self.class_weights.to(logits.device))
        count = self.count(targets) if count is None else count
        terms = {"cross_entropy": mean_over(count, loss)}
        if self.dice_weight:
            terms["dice"] = self.dice_weight * mean_over(count, dice_loss(logits, labels))
        return terms

    def decode(self, maps_BPhw: Tensor, size_hw: tuple[int, int] | None = None) -> Tensor:
        """Logits -> class ids (B, H, W) uint8 at `size_hw` (None: the maps' own size)."""
        return resize_maps(maps_BPhw, size_hw).argmax(dim=1).to(torch.uint8)

    def new_metric(self) -> SegmentationMetric:
        """Intersection over union."""
        return SegmentationMetric(len(self.part_set))
