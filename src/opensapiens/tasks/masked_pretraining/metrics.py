"""How well hidden patches are predicted."""

import torch
from torch import Tensor

from opensapiens.tasks.task import Targets


class ReconstructionMetric:
    """`mse`: squared error of the hidden patches, normalised each by itself; 1 is what predicting their mean gives."""

    def __init__(self) -> None:
        self.totals = torch.zeros(2, dtype=torch.float64)  # error, patches

    def update(self, errors_B: Tensor, targets: Targets) -> None:
        """Add a batch of `reconstruction_error`."""
        self.totals += torch.stack([errors_B.double().sum().cpu(), targets["masked"].double().sum().cpu()])

    def compute(self) -> dict[str, float]:
        """mse."""
        error, patches = self.totals.tolist()
        return {"mse": error / patches if patches else float("nan")}
