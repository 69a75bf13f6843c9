"""The running average of the weights over the steps, smoother than the last ones and the ones that are exported."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a model's parameters.

    The decay grows from 0.1 at the first step to `decay`, so that a short run does not export its random start
    (the rule of TensorFlow's ExponentialMovingAverage). With `decay` 0 it is the model's own weights, without a copy.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {
            name: p.detach().clone() if decay else p.detach() for name, p in model.named_parameters()
        }

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Takes in the weights after step `step` (from 0)."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in model.named_parameters():
            self.weights[name].lerp_(parameter, 1 - decay)
