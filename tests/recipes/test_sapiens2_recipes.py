"""Fine-tuning Sapiens2: what the released configs say, and a few steps of each task at toy size."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.checkpoints.model_folder import build_model, load_model
from opensapiens.geometry.cameras import PinholeCamera
from opensapiens.recipes.dense import albedo, matting, normals, pointmap, segmentation
from opensapiens.recipes.finetuning import FineTuning
from opensapiens.recipes.pretrain import pretrain
from opensapiens.recipes.sapiens2_schedules import published_schedule
from opensapiens.training.loop import train
from opensapiens.training.run import Run

SIZE = (64, 48)
RECIPES: dict[str, Callable[..., Run]] = {
    "pointmap": pointmap,
    "matting": matting,
    "albedo": albedo,
    "normals": normals,
    "segmentation": segmentation,
}
FOLDERS = {
    "pointmap": "points",
    "matting": "alphas",
    "albedo": "albedos",
    "normals": "normals",
    "segmentation": "parts",
}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four pictures of a bright disk, with every label."""
    root = tmp_path_factory.mktemp("people")
    for folder in ("images", *FOLDERS.values()):
        (root / folder).mkdir()
    rows, columns = np.indices(SIZE)
    camera = PinholeCamera(70, 70, 23.5, 31.5)
    for number in range(4):
        middle = np.array([20 + 6 * number, 20 + 2 * number])
        away = np.hypot(rows - middle[0], columns - middle[1]) / 14
        there = away < 1
        image = np.where(there[..., None], [200, 120, 60 + 30 * number], 40).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        bulge = np.sqrt(np.clip(1 - away**2, 0, 1))
        points = camera.unproject(np.stack([columns, rows], axis=-1), 3 - 0.3 * bulge)
        np.save(root / "points" / f"{number}.npy", np.where(there[..., None], points, np.nan).astype(np.float32))
        toward = np.stack([(columns - middle[1]) / 14, (middle[0] - rows) / 14, bulge + 1e-3], axis=-1)
        np.save(root / "normals" / f"{number}.npy", np.where(there[..., None], toward, np.nan).astype(np.float32))
        Image.fromarray(np.where(there, 255, 0).astype(np.uint8)).save(root / "alphas" / f"{number}.png")
        Image.fromarray(np.where(there, 22, 0).astype(np.uint8)).save(root / "parts" / f"{number}.png")
        Image.fromarray(image).save(root / "albedos" / f"{number}.png")
    return root


@pytest.mark.parametrize("task", RECIPES)
def test_a_few_steps_learn_something(task: str, people: Path, tmp_path: Path) -> None:
    options = {"parts": "sapiens_29"} if task == "segmentation" else {}
    steps = 150 if task == "pointmap" else 40  # a scale of ten and more has a long way to go
    training = FineTuning("sapiens2-toy", input_size=SIZE, steps=steps, batch_size=4, workers=0)
    run = RECIPES[task](people, tmp_path, training, **options)
    assert run.model.backbone.family == "sapiens2" and run.model.preprocessing.resize in ("zero_pad", "squash")
    run = replace(run, optimizer=replace(run.optimizer, lr=5e-3), log_steps=1)
    network, description = load_model(train(run))
    assert list(network.heads) == [task] == list(description.heads)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [sum(value for name, value in line.items() if name.startswith(f"{task}/")) for line in lines]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3]), losses


def test_the_released_configs() -> None:
    assert published_schedule("pose", "0.4b").clip_norm == 2 and published_schedule("pose", "0.8b").clip_norm == 4
    assert published_schedule("pointmap", "0.8b").clip_norm == 2 and published_schedule("normals", "1b").steps == 40_000
    rates = {
        task: published_schedule(task, "5b").lr for task in ("pose", "normals", "pointmap", "segmentation", "albedo")
    }
    assert rates == {"pose": 1e-4, "normals": 1e-4, "pointmap": 1e-4, "segmentation": 5e-4, "albedo": 5e-4}
    with pytest.raises(ValueError, match="no published schedule of matting for 1b"):
        published_schedule("matting", "1b")


def test_a_run_of_the_released_config(people: Path, tmp_path: Path) -> None:
    run = pointmap(people, tmp_path, FineTuning("sapiens2-0.8b", schedule="published"))
    assert (run.steps, run.batch_size, run.optimizer.layer_decay) == (20_000, 48, 0.85)
    head = run.model.heads["pointmap"]
    assert head.deconv_channels == (1536, 768, 512, 256) and head.scale is not None and head.scale.inputs == 6144
    assert run.model.preprocessing.resize == "zero_pad" and run.model.backbone.embed_dim == 1280


def test_masked_pretraining_of_the_backbone(people: Path, tmp_path: Path) -> None:
    run = pretrain([people / "images"], tmp_path, "sapiens2-toy", input_size=(64, 64), steps=2, batch_size=2, workers=0)
    folder = train(run)
    few = FineTuning("sapiens2-toy", str(folder), input_size=SIZE, steps=1, batch_size=2, workers=0)
    tuned = normals(people, tmp_path / "tuned", few)
    network, _ = load_model(train(tuned))
    assert network.backbone.config.family == "sapiens2"


def test_adapters_and_recomputed_blocks(people: Path, tmp_path: Path) -> None:
    run = normals(people, tmp_path, FineTuning("sapiens2-toy", input_size=SIZE, steps=2, batch_size=2, workers=0))
    run = replace(run, trainable="lora", lora_rank=2, recompute=True)
    start = build_model(run.model).backbone.state_dict()
    network, _ = load_model(train(run))
    trained = network.backbone.state_dict()
    assert trained.keys() == start.keys() and trained["periods"].equal(start["periods"])
