"""Features of the backbone, before any head: for probes, search and your own models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from opensapiens.inference.forward import ImageView, LoadedModel, network_inputs
from opensapiens.models.human_model import HumanModel


@dataclass(eq=False)
class Features:
    """Outputs of the backbone after its final norm, float32; V views: one of a whole image, or one per person.

    tokens: V × N × D, one per patch, row by row. grid: rows and columns of patches, rows · columns = N. class_token:
    V × D, None where the backbone has none (only pretrained ones do).
    """

    tokens: np.ndarray
    grid: tuple[int, int]
    class_token: np.ndarray | None = None

    @property
    def map(self) -> np.ndarray:
        """V × D × rows × columns, the layout of the published feature extractor."""
        views, _, width = self.tokens.shape
        return self.tokens.transpose(0, 2, 1).reshape(views, width, *self.grid)

    @property
    def pooled(self) -> np.ndarray:
        """V × D, the mean over the patches."""
        return self.tokens.mean(axis=1)


def encode_views(loaded: LoadedModel, shown: Sequence[ImageView], batch_size: int = 8) -> Features:
    """The features of some views of images, in their order."""
    config = loaded.description.backbone
    prefix = config.prefix_tokens
    batches: list[np.ndarray] = []
    if shown:
        with loaded.ready() as network, torch.inference_mode():
            if not isinstance(network, HumanModel):
                raise ValueError("features are computed by plain PyTorch: load the model with runtime='torch'")
            for start in range(0, len(shown), batch_size):
                images = network_inputs(loaded, network, shown[start : start + batch_size])
                batches.append(network.backbone.tokens(images).float().cpu().numpy())
    grid = config.grid(loaded.input_size)
    nothing = np.empty((0, grid[0] * grid[1] + prefix, config.embed_dim), np.float32)
    tokens = np.concatenate([nothing, *batches])
    return Features(tokens[:, prefix:], grid, tokens[:, 0] if prefix else None)
