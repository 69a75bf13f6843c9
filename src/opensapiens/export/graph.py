"""A network as one graph of PyTorch operators, from which every other format is made."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from opensapiens.backbones import BackboneConfig
from opensapiens.models.human_model import HumanModel

MAX_BATCH = 4096
MAX_PATCHES = 256  # rows or columns; 4096 pixels


def network_graph(network: HumanModel, input_size: tuple[int, int], any_size: bool = False) -> ExportedProgram:
    """The graph of a network in evaluation mode: `images` (B, 3, H, W) and what the backbone wants beside them (see
    `extra_inputs`), one output per head, in their order.

    Nothing is computed while it is made, so that it takes seconds where tracing a large network takes minutes, and the
    graph shares its weights with the network. The batch is free.

    Args:
        network: with parameters on the CPU.
        input_size: height and width in pixels, fixed in the graph unless any_size.
        any_size: leave height and width free, in whole patches; the position embedding is resized in the graph.
    """
    patch = network.backbone.config.patch_size
    batch = Dim("batch", min=1, max=MAX_BATCH)
    shape: dict[int, object] = {0: batch}
    if any_size:
        for axis, name in ((2, "rows"), (3, "columns")):
            shape[axis] = patch * Dim(name, min=2, max=MAX_PATCHES)
    example = torch.zeros(2, 3, *input_size, dtype=next(network.parameters()).dtype)
    extra = extra_inputs(network.backbone.config, input_size, len(example))
    shapes: dict[str, object] = {"images": shape}
    if extra:
        shapes["extra"] = tuple({0: batch} for _ in extra)
    with torch.no_grad():
        return torch.export.export(
            _Maps(network, list(extra)).eval(), (example, *extra.values()), dynamic_shapes=shapes, strict=False
        )


def extra_inputs(config: BackboneConfig, input_size: tuple[int, int], count: int) -> dict[str, Tensor]:
    """A batch of what the backbone wants beside pixels, by name: that of views which lie right of and below the middle
    of their picture."""
    height, width = input_size
    picture = np.array([0, 0, 2 * np.hypot(height, width)], np.float32)
    return {
        name: torch.from_numpy(values).expand(count, *values.shape)
        for name, values in config.view_inputs(picture, input_size).items()
    }


def axis_names(graph: ExportedProgram) -> dict[str, str]:
    """The symbols in the shapes of a graph of network_graph -> what they stand for: "batch", "rows", "columns" (the
    latter of patches)."""
    images, *_ = _user_inputs(graph)
    sides: dict[str, Any] = {"batch": images.shape[0], "rows": images.shape[2], "columns": images.shape[3]}
    free = {name: side for name, side in sides.items() if isinstance(side, torch.SymInt)}
    return {str(symbol): name for name, side in free.items() for symbol in side.node.expr.free_symbols}


def named_shapes(graph: ExportedProgram) -> tuple[list[list[int | str]], list[list[int | str]]]:
    """The shapes of a graph's inputs and of its outputs: a free side as "batch" or in patches, "16*rows"."""
    names = axis_names(graph)
    outputs = [node.meta["val"] for node in graph.graph_module.graph.output_node().args[0]]

    def named(values: Tensor) -> list[int | str]:
        sides = (side if isinstance(side, int) else str(side) for side in values.shape)
        return [
            side if isinstance(side, int) else re.sub(r"\w+", lambda word: names.get(word[0], word[0]), side)
            for side in sides
        ]

    return [named(values) for values in _user_inputs(graph)], [named(values) for values in outputs]


def _user_inputs(graph: ExportedProgram) -> list[Tensor]:
    """What stands for the images and the others."""
    given = set(graph.graph_signature.user_inputs)
    nodes = graph.graph_module.graph.find_nodes(op="placeholder")
    return [node.meta["val"] for node in nodes if node.name in given]


class _Maps(nn.Module):
    """A network as a graph has it: images and named tensors in, maps out, no choice of heads."""

    def __init__(self, network: HumanModel, extra: list[str]) -> None:
        super().__init__()
        self.network, self.extra = network, extra

    def forward(self, images: Tensor, *extra: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(self.extra, extra, strict=True))
        return tuple(self.network(images, inputs=inputs).values())
