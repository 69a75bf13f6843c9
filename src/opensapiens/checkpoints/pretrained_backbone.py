"""A pretrained backbone into a model of another shape: the class token goes, the position embedding is resized."""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor

from opensapiens.models.position_embedding import resize_position_embedding
from opensapiens.models.vit import VisionTransformer, ViTConfig

from .strict_loading import CheckpointError, load_strictly

PYRAMID = ("stem.", "decoder.")
"""First parts of the names of a backbone's convolutions around its transformer."""


def fit_backbone(tensors: Mapping[str, Tensor], config: ViTConfig) -> dict[str, Tensor]:
    """Backbone tensors (our names) as a backbone of this config takes them: the published rule of loading.

    A class token that the config does not have is dropped, with its row of the position embedding. A position embedding
    of another length is taken for a square grid, as the published weights have, and resized bicubically.

    The published code decides by the parity of the length whether there is a class row, and so cannot load back its own
    models with an odd number of patches; here the class token itself decides, and the length only in its absence.

    Raises:
        CheckpointError: no position embedding, or one that belongs to no square grid.
    """
    fitted = dict(tensors)
    positions = fitted.get("position_embedding")
    if positions is None or positions.ndim != 3:
        raise CheckpointError("the tensors of a backbone need a position_embedding of three axes")
    rows, columns = config.grid()
    class_position, patch_positions = _without_class_row(positions, "class_token" in fitted, rows * columns)
    if not config.class_token:
        fitted.pop("class_token", None)
        class_position = None
    if patch_positions.shape[1] != rows * columns:
        side = isqrt(patch_positions.shape[1])
        if side * side != patch_positions.shape[1]:
            raise CheckpointError(
                f"a position embedding of {patch_positions.shape[1]} patches is of no square grid, and the model's is "
                f"{rows}x{columns}"
            )
        patch_positions = resize_position_embedding(patch_positions, (side, side), (rows, columns))
    parts = [patch_positions] if class_position is None else [class_position, patch_positions]
    fitted["position_embedding"] = torch.cat(parts, dim=1)
    return fitted


def _without_class_row(positions: Tensor, has_class_token: bool, patches: int) -> tuple[Tensor | None, Tensor]:
    """The row of the class token (None where there is none) and the rows of the patches."""
    length = positions.shape[1]
    unfit = length != patches and isqrt(length) ** 2 != length
    if has_class_token or (unfit and isqrt(length - 1) ** 2 == length - 1):
        return positions[:, :1], positions[:, 1:]
    return None, positions


def load_backbone(backbone: VisionTransformer, tensors: Mapping[str, Tensor], source: str = "the checkpoint") -> None:
    """Load pretrained tensors (our names) into a backbone, fitted to its shape.

    A convolutional stem and its decoder, which the tensors may lack as a whole, then stay as they are.

    Raises:
        CheckpointError: tensors that are missing, unexpected or mis-shaped after fitting; it lists them.
    """
    fitted = fit_backbone(tensors, backbone.config)
    if not any(name.startswith(PYRAMID) for name in fitted):
        own = backbone.state_dict()
        fitted |= {name: own[name] for name in own if name.startswith(PYRAMID)}
    load_strictly(backbone, fitted, source)
