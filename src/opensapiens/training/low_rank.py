"""Low-rank adapters (LoRA, Hu et al., 2021) in a frozen backbone, for fine-tuning with little memory."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opensapiens.backbones import Backbone
from opensapiens.models.human_model import NoBlocks, blocks_of

SCALE = 2.0  # of the adapters' output, independent of their rank (elsewhere "alpha over rank")


class AdaptedLinear(nn.Linear):
    """A frozen linear layer plus a trained product of two thin matrices, initially zero.

    Weight and bias keep their names; `adapter_down` (rank, in) and `adapter_up` (out, rank) are added.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.adapter_down = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.adapter_up = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.adapter_down, a=5**0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """As nn.Linear."""
        return super().forward(tokens) + SCALE * F.linear(F.linear(tokens, self.adapter_down), self.adapter_up)


def add_adapters(backbone: Backbone, rank: int) -> None:
    """Adapts every linear layer of every block. Raises NoBlocks if there is none."""
    adapted = 0
    for block in blocks_of(backbone):
        for parent in list(block.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Linear):
                    setattr(parent, name, AdaptedLinear(layer, rank))
                    adapted += 1
    if not adapted:
        raise NoBlocks(f"the blocks of the {backbone.config.family} backbone have no linear layers to adapt")


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors with the adapters merged into the weights."""
    plain = {name: tensor for name, tensor in tensors.items() if ".adapter_" not in name}
    for name, down in tensors.items():
        if name.endswith(".adapter_down"):
            layer = name.removesuffix(".adapter_down")
            weight = plain[f"{layer}.weight"]
            plain[f"{layer}.weight"] = weight + SCALE * torch.mm(tensors[f"{layer}.adapter_up"], down)
    return plain
