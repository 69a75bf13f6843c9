"""AdamW with weight decay and learning rate by parameter group; optionally Muon for matrices."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.training.run import OptimizerSettings


class MuonAdamW(torch.optim.AdamW):
    """AdamW in which groups with "muon" set step by Muon (K. Jordan et al., 2024): along the orthogonalized momentum.

    Steps are scaled to the size of AdamW's (Liu et al., arXiv 2502.16982, section 2.2), so that one learning rate suits
    both. Weights of convolutions are flattened to matrices. Ranks that hold the same matrices share the work.
    (torch.optim.Muon takes only matrices and always computes in bfloat16, which many CPUs emulate.)
    """

    MOMENTUM = 0.95
    QUINTIC = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration, as published

    def __init__(self, groups: list[dict[str, Any]], products: torch.dtype, **settings: Any) -> None:
        """products: dtype of the iteration."""
        super().__init__(groups, **settings)
        self.products = products

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every parameter with a gradient; clears the gradients of Muon's parameters."""
        groups = [group for group in self.param_groups if group["muon"]]
        stepped = [(p, group) for group in groups for p in group["params"] if p.grad is not None]
        updates = self._orthogonalized([self._direction(parameter) for parameter, _ in stepped])
        for (parameter, group), update in zip(stepped, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.view_as(parameter), alpha=-group["lr"] * 0.2 * max(update.shape) ** 0.5)
            parameter.grad = None
        super().step()

    def _direction(self, parameter: nn.Parameter) -> torch.Tensor:
        """Updates the momentum with the gradient; returns Nesterov's look-ahead as a matrix."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - self.MOMENTUM)
        return torch.lerp(gradient, momentum, self.MOMENTUM).flatten(1)

    def _orthogonalized(self, matrices: list[torch.Tensor]) -> list[torch.Tensor]:
        """Each matrix with singular values near 1; every rank computes some and sends them to the others."""
        if not matrices or not dist.is_initialized() or isinstance(matrices[0], DTensor):
            return [orthogonalized(matrix.to(self.products), self.QUINTIC).to(matrix.dtype) for matrix in matrices]
        sizes = [matrix.numel() for matrix in matrices]
        results = torch.zeros(sum(sizes), dtype=self.products, device=matrices[0].device)
        parts = [part.view_as(matrix) for part, matrix in zip(results.split(sizes), matrices, strict=True)]
        by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
        for number in by_size[dist.get_rank() :: dist.get_world_size()]:
            parts[number].copy_(orthogonalized(matrices[number].to(self.products), self.QUINTIC))
        dist.all_reduce(results)
        return [part.to(matrix.dtype) for part, matrix in zip(parts, matrices, strict=True)]


def orthogonalized(matrix: torch.Tensor, quintic: tuple[float, float, float]) -> torch.Tensor:
    """A matrix with the same singular vectors and singular values of about 0.7 to 1.2, by five iterations."""
    tall = matrix.shape[0] > matrix.shape[1]
    values = matrix.T if tall else matrix
    values = values / values.norm().clamp(min=1e-7)
    a, b, c = quintic
    for _ in range(5):
        square = values @ values.T
        values = a * values + (b * square + c * square @ square) @ values
    return (values.T if tall else values).contiguous()


def build_optimizer(
    model: HumanModel | MaskedAutoencoder, settings: OptimizerSettings, products: torch.dtype = torch.float32
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of a model. Each group has its full learning rate under "full_lr".

    With `settings.muon`, the matrices between the patches and the outputs step by Muon, which computes in `products`.
    As published, 1-D parameters, biases and `model.no_decay()` have no weight decay. Layer decay follows
    `Backbone.layer_of`; everything outside the backbone has the full learning rate.
    """
    last, not_decayed = len(model.backbone.blocks) + 1, set(model.no_decay())
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_backbone = name.startswith("backbone.")
        layer = model.backbone.layer_of(name.removeprefix("backbone.")) if in_backbone else last
        lr = settings.lr * settings.layer_decay ** (last - layer)
        decays = parameter.ndim > 1 and not name.endswith(".bias") and name not in not_decayed
        muon = settings.muon and decays and layer > 0 and "output" not in name.split(".")
        groups.setdefault((lr, settings.weight_decay if decays else 0.0, muon), []).append(parameter)
    described = [
        {"params": parameters, "lr": lr, "full_lr": lr, "weight_decay": decay, "muon": muon}
        for (lr, decay, muon), parameters in groups.items()
    ]
    fused = next(model.parameters()).device.type in ("cpu", "cuda")  # one kernel for all parameters
    if settings.muon:
        return MuonAdamW(described, products, betas=settings.betas, fused=fused)
    return torch.optim.AdamW(described, betas=settings.betas, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's learning rate to `factor` times its full one."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["full_lr"]
