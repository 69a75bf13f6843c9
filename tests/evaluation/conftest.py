"""A random model of toy size."""

from pathlib import Path

import pytest
import torch

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_folder import build_model, save_model
from opensapiens.recipes.nano import describe


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random nano of toy size."""
    torch.manual_seed(0)
    description = describe(SapiensConfig((64, 48), 24, 2, 2), (8, 8), (8, 8))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, build_model(description), description)
    return folder
