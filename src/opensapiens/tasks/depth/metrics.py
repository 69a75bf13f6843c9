"""Relative depth against true depth: each person's prediction is first fitted by the best scale and shift."""

import numpy as np
import torch
from torch import Tensor

from opensapiens.geometry.alignment import scale_shift_fit
from opensapiens.tasks.task import Targets

NAMES = ("rmse", "abs_rel", "delta1", "r2", "constant_rmse", "constant_abs_rel", "constant_delta1")


def depth_errors(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """rmse (unit of the truth), abs_rel = mean(|error| / truth), delta1 = share of pixels within a factor of 1.25, r2.

    One-dimensional arrays over a person's pixels; truth > 0 and not flat.
    """
    error = prediction - truth
    spread = ((truth - truth.mean()) ** 2).sum()
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "abs_rel": float((np.abs(error) / truth).mean()),
        "delta1": float(((prediction < 1.25 * truth) & (truth < 1.25 * prediction)).mean()),
        "r2": float(1 - (error**2).sum() / spread),
    }


class DepthMetric:
    """Means over persons of `depth_errors` after the scale-shift fit, and of the trivial answer ("constant_...").

    The trivial answer is each person's mean depth; its r2 is 0 by definition. Truth is in the label's own unit, metres
    in the synthetic data: abs_rel and delta1 say something only beside the constant's, since a person is thin compared
    with the distance to it.
    """

    def __init__(self) -> None:
        self.totals = torch.zeros(len(NAMES), 2, dtype=torch.float64)  # per figure: sum, persons

    def update(self, prediction_BHW: Tensor, targets: Targets) -> None:
        """Add a batch of raw depth of the labels' size; persons without any label, or flat ones, are left out."""
        target = targets["depth"].cpu().double().numpy()
        prediction = prediction_BHW.cpu().double().numpy()
        if prediction.shape != target.shape:
            raise ValueError(f"prediction {prediction.shape}, labels {target.shape}")
        for i in range(len(target)):
            mask = target[i] >= 0
            extent = float(targets["range"][i])
            if not mask.any() or extent <= 0:
                continue
            truth = float(targets["nearest"][i]) + extent * target[i]
            scale, shift = scale_shift_fit(prediction[i], truth, mask)
            self._add(depth_errors(scale * prediction[i][mask] + shift, truth[mask]))
            constant = depth_errors(np.full(mask.sum(), truth[mask].mean()), truth[mask])
            self._add({f"constant_{name}": value for name, value in constant.items() if name != "r2"})

    def _add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.totals[NAMES.index(name)] += torch.tensor([value, 1.0], dtype=torch.float64)

    def compute(self) -> dict[str, float]:
        """Every figure of NAMES."""
        return {name: float(total / persons) for name, (total, persons) in zip(NAMES, self.totals, strict=True)}
