"""A backbone of one's own, as somebody outside the package would write it: a few convolutions, then attention.

Run with torchrun it trains on two ranks: `torchrun toy.py SHARDS FOLDER`.
"""

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from opensapiens.recipes.nano import describe, nano_smoke
from opensapiens.training.loop import train
from opensapiens.training.run import Run


@dataclass(frozen=True)
class ToyConfig:
    """Its shape."""

    family: ClassVar[str] = "toy"

    image_size: tuple[int, int]
    embed_dim: int = 16
    layers: int = 2

    patch_size: ClassVar[int] = 16
    feature_stride: ClassVar[int] = 16
    prefix_tokens: ClassVar[int] = 0

    @property
    def feature_channels(self) -> int:
        return self.embed_dim

    def grid(self, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
        height, width = image_size or self.image_size
        return height // 16, width // 16

    def build(self) -> "ToyBackbone":
        return ToyBackbone(self)

    def view_inputs(self, picture_3: np.ndarray, size_hw: tuple[int, int]) -> dict[str, np.ndarray]:
        return {}

    def mirrored(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(inputs)

    def multiply_adds(self, image_size: tuple[int, int] | None = None, kept: int | None = None) -> int:
        rows, columns = self.grid(image_size)
        tokens, width = rows * columns, self.embed_dim
        convolutions = tokens * (16 * 3 * 16 * 8 + 8 * 16 * width)
        return convolutions + self.layers * (5 * width**2 * tokens + 2 * tokens**2 * width)

    def block_activation_bytes(self, tokens: int, half: bool) -> int:
        return 40 * tokens * self.embed_dim


class ToyBlock(nn.Module):
    """Attention with one head, then one layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU())
        self.shift = nn.Parameter(nn.init.normal_(self.query.weight.new_empty(1, 2 * width)))

    def forward(self, tokens_BND: Tensor) -> Tensor:
        query, key, value = (layer(tokens_BND)[:, None] for layer in (self.query, self.key, self.value))
        tokens_BND = tokens_BND + F.scaled_dot_product_attention(query, key, value)[:, 0]
        gate, mixed = (self.mix(tokens_BND) + self.shift).chunk(2, dim=-1)
        return tokens_BND + gate * mixed


class ToyBackbone(nn.Module):
    """Its network."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 8, 4, stride=4), nn.SiLU(), nn.Conv2d(8, config.embed_dim, 4, stride=4)
        )
        self.blocks = nn.ModuleList(ToyBlock(config.embed_dim) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.embed_dim)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        grid = images_B3HW.shape[2] // 16, images_B3HW.shape[3] // 16
        return self.tokens(images_B3HW).transpose(1, 2).unflatten(2, grid).contiguous()

    def tokens(self, images_B3HW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        tokens = self.convolutions(images_B3HW).flatten(2).transpose(1, 2)
        if kept_BK is not None:
            tokens = tokens.gather(1, kept_BK.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def hold_positions(self) -> None:
        pass

    def no_decay(self) -> Collection[str]:
        return {f"blocks.{number}.shift" for number in range(self.config.layers)}

    def layer_of(self, name: str) -> int:
        first, number, *_ = name.split(".")
        return int(number) + 1 if first == "blocks" else 0 if first == "convolutions" else self.config.layers + 1

    def fitted(self, tensors: Mapping[str, Tensor], trained: object) -> dict[str, Tensor]:
        if not isinstance(trained, ToyConfig):
            raise ValueError("a toy starts from a toy")
        return dict(tensors)


def toy_run(shards: Path, output: Path, layers: int = 2, **changes: Any) -> Run:
    """Three steps of the toy recipe with this backbone in place of its own, half the learning rate at each layer."""
    run = nano_smoke(shards, output, steps=3, batch_size=4)
    model = describe(ToyConfig((64, 48), layers=layers), (8, 8), (8, 8))
    optimizer = replace(run.optimizer, muon=False, layer_decay=0.5)
    return replace(run, model=model, optimizer=optimizer, ema_decay=0.0, device="cpu", **changes)


if __name__ == "__main__":
    data, folder = map(Path, sys.argv[1:])
    train(toy_run(data, folder / "fsdp", parallel="fsdp", recompute=True))
