"""The nano recipe is what it says, and its toy size runs to the end."""

from pathlib import Path

import torch

from opensapiens.checkpoints.model_folder import build_model, load_model
from opensapiens.recipes.nano import nano, nano_smoke, nano_tasks
from opensapiens.tasks.pose import PoseTask
from opensapiens.training.loop import train


def test_the_toy_run_ends_with_a_model_that_loads(people_shards: Path, tmp_path: Path) -> None:
    model, description = load_model(train(nano_smoke(people_shards, tmp_path)))
    maps = model(torch.zeros(1, 3, 64, 48))
    assert {head: tuple(m.shape) for head, m in maps.items()} == {
        "pose": (1, 308, 16, 12),
        "segmentation": (1, 28, 16, 12),
        "depth": (1, 1, 16, 12),
        "normals": (1, 3, 16, 12),
    }
    assert description.preprocessing.input_size == (64, 48)


def test_gaussians_keep_their_relative_size() -> None:
    pose = nano_tasks().tasks["pose"]
    assert isinstance(pose, PoseTask)
    assert [pose.sigma_at(height) for height in (256, 128, 32)] == [6, 3, 2]


def test_the_full_model_is_small(people_shards: Path, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = build_model(nano(people_shards, tmp_path).model)
    assert 2 * sum(parameter.numel() for parameter in model.parameters()) < 16e6  # bytes as 16-bit floats
