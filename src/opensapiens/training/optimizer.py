"""AdamW over groups of parameters: which ones decay, and how fast each layer learns; Muon for matrices on request."""

import re

import torch
from torch import nn

from opensapiens.training.run import OptimizerSettings

NEVER_DECAYED = ("position_embedding", "class_token", "mask_token")


class MuonAdamW(torch.optim.AdamW):
    """AdamW in which groups with "muon" set step by Muon (K. Jordan et al., 2024): along the momentum of a matrix with
    all its singular values brought near 1.

    Steps are scaled to the size of AdamW's (Liu et al., arXiv 2502.16982, section 2.2), so that one learning rate suits
    both. The weights of convolutions count as matrices of one row per first axis. torch.optim.Muon takes matrices only
    and computes in bfloat16, which processors without such units emulate.
    """

    MOMENTUM = 0.95
    QUINTIC = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration, as published

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every parameter with a gradient; those of Muon lose theirs."""
        for group in self.param_groups:
            for parameter in group["params"] if group["muon"] else ():
                if parameter.grad is not None:
                    self._step_matrix(parameter, parameter.grad, group["lr"], group["weight_decay"])
                    parameter.grad = None
        super().step()

    def _step_matrix(self, parameter: nn.Parameter, gradient: torch.Tensor, lr: float, weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - self.MOMENTUM)
        update = orthogonalised(torch.lerp(gradient, momentum, self.MOMENTUM).flatten(1), self.QUINTIC)
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(update.view_as(parameter), alpha=-lr * 0.2 * max(update.shape) ** 0.5)


def orthogonalised(matrix: torch.Tensor, quintic: tuple[float, float, float]) -> torch.Tensor:
    """A matrix with the same singular vectors, its singular values between about 0.7 and 1.2; five iterations."""
    tall = matrix.shape[0] > matrix.shape[1]
    values = matrix.T if tall else matrix
    values = values / values.norm().clamp(min=1e-7)
    if has_fast_bfloat16(values.device):
        values = values.bfloat16()  # as published
    a, b, c = quintic
    for _ in range(5):
        square = values @ values.T
        values = a * values + (b * square + c * square @ square) @ values
    return (values.T if tall else values).to(matrix.dtype).contiguous()


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are computed by units of their own; emulated ones are slower than float32."""
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_avx512_bf16_supported())


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of a model. Each group keeps its full learning rate under "full_lr".

    With `settings.muon`, the matrices between the patches and the outputs step by Muon.

    As published, no weight decay on 1-D parameters, biases and the position embedding. Layer decay: embeddings are
    layer 0, block i is i + 1, and everything after the blocks (final norm and heads) is the last, at the full
    learning rate.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    last = 1 + max((layer for name in names if (layer := _block(name)) is not None), default=-1) + 1
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        lr = settings.lr * settings.layer_decay ** (last - _layer(name, last))
        decays = parameter.ndim > 1 and not name.endswith(".bias") and not name.endswith(NEVER_DECAYED)
        muon = settings.muon and decays and not {"patch_embedding", "output"} & set(name.split("."))
        groups.setdefault((lr, settings.weight_decay if decays else 0.0, muon), []).append(parameter)
    return (MuonAdamW if settings.muon else torch.optim.AdamW)(
        [
            {"params": parameters, "lr": lr, "full_lr": lr, "weight_decay": decay, "muon": muon}
            for (lr, decay, muon), parameters in groups.items()
        ],
        betas=settings.betas,
        fused=next(model.parameters()).device.type in ("cpu", "cuda"),  # one kernel for all parameters
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's learning rate to `factor` times its full one."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["full_lr"]


def _block(name: str) -> int | None:
    found = re.search(r"(?:^|\.)blocks\.(\d+)\.", name)
    return int(found.group(1)) if found else None


def _layer(name: str, last: int) -> int:
    block = _block(name)
    if block is not None:
        return block + 1
    return 0 if name.endswith(NEVER_DECAYED) or "patch_embedding." in name else last
