"""Intersection over union and its relatives, from histograms that add up over images."""

import torch
from torch import Tensor

from opensapiens.tasks.segmentation.targets import IGNORE
from opensapiens.tasks.task import Targets


def histograms(prediction: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(3, classes) float64: pixels in the intersection, the prediction and the labels, without ignored ones (255)."""
    known = labels != IGNORE
    predicted, truth = prediction[known].long(), labels[known].long()
    counts = [torch.bincount(ids, minlength=classes) for ids in (predicted[predicted == truth], predicted, truth)]
    return torch.stack(counts).double()


def class_ratios(histograms_3P: Tensor) -> dict[str, Tensor]:
    """Per class (P,), in 0-1: IoU, Acc (= recall), Dice (= F1), Precision. NaN where the denominator is 0."""
    both, predicted, truth = histograms_3P
    return {
        "IoU": both / (predicted + truth - both),
        "Acc": both / truth,
        "Dice": 2 * both / (predicted + truth),
        "Precision": both / predicted,
    }


class SegmentationMetric:
    """mIoU and mAcc, means over the classes that occur, and aAcc, the share of pixels that are right; all in 0-1."""

    def __init__(self, classes: int) -> None:
        self.totals = torch.zeros(3, classes, dtype=torch.float64)

    def update(self, prediction_BHW: Tensor, targets: Targets) -> None:
        """Add a batch of predicted class ids of the labels' size; samples without a label consist of ignored pixels."""
        labels = targets["labels"]
        if prediction_BHW.shape != labels.shape:
            raise ValueError(f"prediction {tuple(prediction_BHW.shape)}, labels {tuple(labels.shape)}")
        self.totals += histograms(prediction_BHW, labels, self.totals.shape[1]).cpu()

    def per_class(self) -> dict[str, Tensor]:
        """`class_ratios` of everything seen."""
        return class_ratios(self.totals)

    def compute(self) -> dict[str, float]:
        """mIoU, mAcc, aAcc."""
        ratios = self.per_class()
        return {
            "mIoU": float(ratios["IoU"].nanmean()),
            "mAcc": float(ratios["Acc"].nanmean()),
            "aAcc": float(self.totals[0].sum() / self.totals[2].sum()),
        }
