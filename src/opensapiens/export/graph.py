"""A network as one graph of PyTorch operators, from which every other format is made."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from opensapiens.models.human_model import HumanModel
from opensapiens.models.position_embedding import bicubic_position_embedding

MAX_BATCH = 4096
MAX_PATCHES = 256  # rows or columns; 4096 pixels


def network_graph(network: HumanModel, input_size: tuple[int, int], any_size: bool = False) -> ExportedProgram:
    """The graph of a network in evaluation mode: input `images` (B, 3, H, W), one output per head, in their order.

    Nothing is computed while it is made, so that it takes seconds where tracing a large network takes minutes, and the
    graph shares its weights with the network. The batch is free.

    Args:
        network: with parameters on the CPU.
        input_size: height and width in pixels, fixed in the graph unless any_size.
        any_size: leave height and width free, in whole patches; the position embedding is resized in the graph.
    """
    patch = network.backbone.config.patch_size
    shape: dict[int, object] = {0: Dim("batch", min=1, max=MAX_BATCH)}
    if any_size:
        for axis, name in ((2, "rows"), (3, "columns")):
            shape[axis] = patch * Dim(name, min=2, max=MAX_PATCHES)
    example = torch.zeros(2, 3, *input_size, dtype=next(network.parameters()).dtype)
    forward = _AnySize(network) if any_size else _Maps(network)
    with torch.no_grad():
        return torch.export.export(forward.eval(), (example,), dynamic_shapes={"images": shape}, strict=False)


class _Maps(nn.Module):
    """A network as a graph has it: images in, maps out, no choice of heads."""

    def __init__(self, network: HumanModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(images).values())


class _AnySize(_Maps):
    """The same with the position embedding always resized: a graph cannot ask whether the grid is the trained one."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        backbone = self.network.backbone
        tokens, grid, pyramid = backbone.tokens_and_pyramid(images)
        extra = int(backbone.config.class_token)
        position = backbone.position_embedding
        patch_positions = bicubic_position_embedding(position[:, extra:], backbone.config.grid(), grid)
        tokens = backbone.prepend_class_token(tokens + patch_positions, position[:, :1] if extra else None)
        features = backbone.feature_map(tokens, grid, pyramid)
        return tuple(head(features) for head in self.network.heads.values())
