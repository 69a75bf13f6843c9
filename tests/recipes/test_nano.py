"""The nano recipe is what it says, and its toy size runs to the end."""

from pathlib import Path

import pytest
import torch

from opensapiens.checkpoints.model_folder import build_model, load_model
from opensapiens.recipes.nano import nano, nano_smoke, nano_tasks, pose_sigma
from opensapiens.training.loop import train


def test_the_toy_run_ends_with_a_model_that_loads(people_shards: Path, tmp_path: Path) -> None:
    model, description = load_model(train(nano_smoke(people_shards, tmp_path)))
    maps = model(torch.zeros(1, 3, 64, 48))
    assert {head: tuple(m.shape) for head, m in maps.items()} == {
        "pose": (1, 308, 16, 12),
        "segmentation": (1, 28, 16, 12),
        "depth": (1, 1, 16, 12),  # one more than they predict, for the place in the picture
        "normals": (1, 3, 16, 12),
    }
    assert description.preprocessing.input_size == (64, 48)


@pytest.mark.parametrize("size", [(256, 192), (192, 144), (128, 96)])
def test_the_tasks_fit_the_maps_at_every_stage(people_shards: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    run = nano(people_shards, tmp_path)
    with torch.device("meta"):
        maps = build_model(run.model)(torch.zeros(1, 3, *size))
    assert maps["pose"].shape[-2:] == nano_tasks(size, 1).tasks["pose"].heatmap_size  # type: ignore[attr-defined]


def test_gaussians_keep_their_relative_size() -> None:
    assert pose_sigma((1024, 768)) == 6 and pose_sigma((512, 384)) == 3
    assert pose_sigma((128, 96)) == 2


def test_the_full_model_is_small(people_shards: Path, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = build_model(nano(people_shards, tmp_path).model)
    assert 2 * sum(parameter.numel() for parameter in model.parameters()) < 16e6  # bytes as 16-bit floats
