"""A published family at toy size: the same names, tables and layouts, with narrow layers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from opensapiens.backbones.sapiens import PUBLISHED_SIZES
from opensapiens.checkpoints.model_description import DecoderDescription
from opensapiens.checkpoints.model_folder import BACKBONE, build_masked_autoencoder, build_model
from opensapiens.checkpoints.published_table import PRETRAINING, PUBLISHED_MODELS
from opensapiens.checkpoints.sapiens_files import to_published
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks import TASKS

KINDS = {
    "pretrain": "backbone",
    "pose17": "pose",
    "pose133": "pose",
    "pose308": "pose",
    "seg28": "segmentation",
    "depth": "depth",
    "normals": "normals",
}
"""End of a published name -> its layout."""


@pytest.fixture
def small_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every size and head of the family becomes a small one; counts of layers stay apart, as of the real ones."""
    for i, size in enumerate(PUBLISHED_SIZES):
        monkeypatch.setitem(PUBLISHED_SIZES, size, {"embed_dim": 32, "layers": i + 1, "heads": 4})
    for task in TASKS.values():
        shape = task.published
        small = HeadShape(tuple(8 for _ in shape.deconv_channels), tuple(8 for _ in shape.conv_channels), shape.dropout)
        monkeypatch.setattr(task, "published", small)


def published_tensors(kind: str, size: str = "0.3b", seed: int = 0) -> dict[str, Tensor]:
    """Random tensors by their published names, of a toy-size model (64x48 pixels; 64x64 for pretraining)."""
    model = PUBLISHED_MODELS[f"sapiens-{size}-{kind}"]
    torch.manual_seed(seed)
    network = build_model(model.description((64, 64) if model.task == PRETRAINING else (64, 48)))
    state = {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}
    if KINDS[kind] == "backbone":
        state = {name.removeprefix(BACKBONE): tensor for name, tensor in state.items()}
    return to_published(state, KINDS[kind])


def autoencoder_tensors() -> dict[str, Tensor]:
    """The same for a whole masked autoencoder, as a training checkpoint holds it."""
    description = PUBLISHED_MODELS["sapiens-0.3b-pretrain"].description((64, 64))
    torch.manual_seed(1)
    decoder = DecoderDescription(32, 2, 16)
    state = build_masked_autoencoder(replace(description, decoder=decoder)).state_dict()
    return to_published({name: torch.randn_like(tensor) for name, tensor in state.items()}, "masked_autoencoder")
