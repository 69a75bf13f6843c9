"""Angles between predicted and true normals."""

import torch
from torch import Tensor

from opensapiens.tasks.normals.loss import valid_pixels
from opensapiens.tasks.task import Targets

BINS_PER_DEGREE = 20  # the median is read from a histogram, so that it adds up over batches and ranks


def angles_degrees(prediction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """(N,) angles in degrees at the valid pixels of the target; of any length, and 90 for a prediction of length 0."""
    valid = valid_pixels(target_B3HW)
    prediction = prediction_B3HW.double().movedim(1, -1)[valid]
    target = target_B3HW.double().movedim(1, -1)[valid]
    # atan2 of |cross| and dot: exact near 0 and 180 degrees, where the arc cosine is not.
    sine, cosine = torch.linalg.cross(prediction, target).norm(dim=-1), (prediction * target).sum(dim=-1)
    return torch.where((prediction == 0).all(dim=-1), 90.0, torch.atan2(sine, cosine).rad2deg())


class NormalsMetric:
    """Mean and median angle in degrees, share of pixels within 11.25, 22.5 and 30 degrees; over all persons' pixels."""

    def __init__(self) -> None:
        # Sum of angles, then the histogram over 0-180 degrees with the last bin for 180 itself.
        self.totals = torch.zeros(1 + 180 * BINS_PER_DEGREE + 1, dtype=torch.float64)

    def update(self, prediction_B3HW: Tensor, targets: Targets) -> None:
        """Add a batch of normals of the labels' size; samples without a label consist of background."""
        target = targets["normals"]
        if prediction_B3HW.shape != target.shape:
            raise ValueError(f"prediction {tuple(prediction_B3HW.shape)}, labels {tuple(target.shape)}")
        angles = angles_degrees(prediction_B3HW, target.to(prediction_B3HW.device)).cpu()
        self.totals[0] += angles.sum()
        # Edges belong to the bin below ("within 30 degrees" includes 30): bin i holds ((i - 1) / 20, i / 20].
        bins = (angles.nan_to_num(180) * BINS_PER_DEGREE).ceil().long()  # the sum keeps a NaN in sight
        self.totals[1:] += torch.bincount(bins, minlength=len(self.totals) - 1)

    def compute(self) -> dict[str, float]:
        """mean, median (to 0.05 degrees), within_11.25, within_22.5, within_30 (0-1)."""
        total, histogram = self.totals[0], self.totals[1:]
        pixels, cumulative = histogram.sum(), histogram.cumsum(0)
        share = cumulative / pixels
        middle = int((share < 0.5).sum()) if pixels > 0 else 0
        result = {"mean": float(total / pixels), "median": middle / BINS_PER_DEGREE if pixels > 0 else float("nan")}
        return result | {f"within_{limit:g}": float(share[int(limit * BINS_PER_DEGREE)]) for limit in (11.25, 22.5, 30)}
