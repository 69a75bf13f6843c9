"""The moving average of the weights, which is exported."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a model's parameters. With `decay` 0 it is the model's own weights, not copied.

    The decay grows from 0.1 at the first step to `decay`, so that a short run does not export its random start
    (the rule of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, model: nn.Module, decay: float, start_share: float = 0.0) -> None:
        self.decay, self.start_share = decay, start_share
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()} if start_share else {}
        # What belongs to the weights and is not trained, such as the periods of rotary positions.
        self.buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        self.weights: dict[str, Tensor] = {
            name: p.detach().clone() if decay else p.detach() for name, p in model.named_parameters()
        }

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Adds the weights after step `step` (from 0)."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in model.named_parameters():
            self.weights[name].lerp_(parameter, 1 - decay)

    def exported(self) -> dict[str, Tensor]:
        """The average and the buffers; the former interpolated with the initial weights by `start_share` (WiSE-FT,
        Wortsman et al., CVPR 2022)."""
        if not self.start_share:
            return self.weights | self.buffers
        mixed = {name: torch.lerp(weight, self.start[name], self.start_share) for name, weight in self.weights.items()}
        return mixed | self.buffers
