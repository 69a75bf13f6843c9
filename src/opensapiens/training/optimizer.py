"""AdamW over groups of parameters: which ones decay, and how fast each layer learns."""

import re

import torch
from torch import nn

from opensapiens.training.run import OptimizerSettings

NEVER_DECAYED = ("position_embedding", "class_token", "mask_token")


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of a model. Each group keeps its full learning rate under "full_lr".

    As published, no weight decay on 1-D parameters, biases and the position embedding. Layer decay: embeddings are
    layer 0, block i is i + 1, and everything after the blocks (final norm and heads) is the last, at the full
    learning rate.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    last = 1 + max((layer for name in names if (layer := _block(name)) is not None), default=-1) + 1
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        lr = settings.lr * settings.layer_decay ** (last - _layer(name, last))
        decays = parameter.ndim > 1 and not name.endswith(".bias") and not name.endswith(NEVER_DECAYED)
        groups.setdefault((lr, settings.weight_decay if decays else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": lr, "full_lr": lr, "weight_decay": decay}
            for (lr, decay), parameters in groups.items()
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
