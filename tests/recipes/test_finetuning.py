"""The fine-tuning recipes are what the paper and the released configs say; pretraining is what its config says."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.model_description import DecoderDescription
from opensapiens.checkpoints.model_folder import build_model, read_description
from opensapiens.cli.main import main
from opensapiens.data.augment import PUBLISHED_POSE
from opensapiens.data.label_kinds import NORMALS
from opensapiens.data.sample import Sample
from opensapiens.data.scene_crop import SceneCrop
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308
from opensapiens.recipes.dense import depth, normals, segmentation
from opensapiens.recipes.finetuning import FineTuning
from opensapiens.recipes.labeled_people import people_with_maps
from opensapiens.recipes.pose import pose
from opensapiens.recipes.pretrain import pretrain
from opensapiens.recipes.published_schedules import published_pose_schedule
from opensapiens.tasks import TASKS
from opensapiens.tasks.pose import PoseTask
from opensapiens.training.run import Run
from opensapiens.training.schedule import learning_rate_factor

RECIPES = {"pose": pose, "segmentation": segmentation, "depth": depth, "normals": normals}


def make(task: str, people: Path, output: Path, size: Any = "0.3b", **options: Any) -> Run:
    """The run of a recipe; options: those of fine-tuning and those of the recipe itself."""
    own = inspect.signature(RECIPES[task]).parameters
    training = FineTuning(size, **{name: value for name, value in options.items() if name not in own})
    return RECIPES[task](people, output, training, **{name: value for name, value in options.items() if name in own})


@pytest.mark.parametrize("task", RECIPES)
def test_the_papers_text_is_the_default(task: str, people_shards: Path, tmp_path: Path) -> None:
    run = make(task, people_shards, tmp_path)
    assert run.final_size == (1024, 768) and run.model.backbone.embed_dim == 1024
    assert (run.optimizer.layer_decay, run.optimizer.weight_decay, run.optimizer.clip_norm) == (0.85, 0.1, 1.0)
    assert run.optimizer.betas == (0.9, 0.999) and run.schedule.decay == "linear" and run.ema_decay == 0
    last = learning_rate_factor(run.steps - 1, run.steps, run.schedule)
    assert last == pytest.approx(0)
    head, published = run.model.heads[task], TASKS[task].published
    assert head.deconv_channels == published.deconv_channels and head.dropout == published.dropout
    assert run.model.backbone.patch_padding == (2 if task in ("pose", "normals") else 0)
    assert (run.augmentation == PUBLISHED_POSE) == (task == "pose")
    assert run.model.preprocessing.resize == ("person_crop" if task == "pose" else "squash")


@pytest.mark.parametrize(
    ("labels", "size", "lr", "decay", "hardest"),
    [
        ("coco_17", "0.3b", 5e-4, 0.85, None),
        ("wholebody_133", "0.6b", 5e-4, 0.75, None),
        ("wholebody_133", "1b", 5e-4, 0.85, None),
        ("sapiens_308", "0.3b", 5e-5, 0.85, 128),
        ("sapiens_308", "1b", 5e-5, 0.95, 128),
        ("sapiens_308", "2b", 5e-5, 0.85, None),
    ],
)
def test_released_pose_configs(
    labels: str, size: Any, lr: float, decay: float, hardest: int | None, people_shards: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"size": size, "keypoints": labels, "schedule": "published", "steps": 2100}
    run = make("pose", people_shards, tmp_path, **options)
    assert (run.optimizer.lr, run.optimizer.layer_decay) == (lr, decay)
    assert run.schedule.milestones == (1700, 2000) and run.schedule.warmup_steps == 500
    task = run.tasks.tasks["pose"]
    assert isinstance(task, PoseTask) and task.hardest == hardest and task.sigma == 6


def test_settings_can_be_given(people_shards: Path, tmp_path: Path) -> None:
    run = make("depth", people_shards, tmp_path, batch_size=3, epochs=2, schedule="published")
    assert (run.batch_size, run.steps) == (3, 8)
    with pytest.raises(ValueError, match="no published schedule for the size 'toy'"):
        make("depth", people_shards, tmp_path, size="toy", schedule="published")


@pytest.mark.parametrize("task", RECIPES)
def test_toy_models_are_small_and_fit_their_task(task: str, people_shards: Path, tmp_path: Path) -> None:
    run = make(task, people_shards, tmp_path, size="toy", input_size=(64, 48))
    assert sum(parameter.numel() for parameter in build_model(run.model).parameters()) < 100_000
    assert len(run.data) == 12 and task in run.tasks.tasks


def test_points_of_shards_are_brought_to_the_set(people_shards: Path, tmp_path: Path) -> None:
    for keypoints, points in ((COCO_17, 17), (SAPIENS_308, 308)):
        run = make("pose", people_shards, tmp_path, size="toy", keypoints=keypoints.name)
        sample = run.data[0]
        assert sample.keypoint_set is keypoints and sample.keypoints is not None
        assert sample.keypoints.shape == (points, 3)


def test_framing_and_backgrounds(people_shards: Path, tmp_path: Path) -> None:
    scenes = make("segmentation", people_shards, tmp_path, backgrounds=people_shards)
    assert isinstance(scenes.augmentation, SceneCrop) and scenes.backgrounds is not None
    assert scenes.backgrounds.chance == 0.8
    persons = make("normals", people_shards, tmp_path, framing="person", backgrounds=people_shards)
    assert persons.augmentation == PUBLISHED_POSE and persons.model.preprocessing.resize == "person_crop"
    assert persons.backgrounds is not None and persons.backgrounds.chance == 0.5


def test_data_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither .* shards nor the folders images and normals or normal"):
        people_with_maps(tmp_path, NORMALS)
    (tmp_path / "people.json").write_text("{}")
    with pytest.raises(ValueError, match="needs the folder of its pictures: --images DIR"):
        make("pose", tmp_path / "people.json", tmp_path)


def test_pretraining_is_the_published_one(people_shards: Path, tmp_path: Path) -> None:
    run = pretrain((people_shards,), tmp_path, "1b", steps=1600, batch_size=4096)
    assert run.optimizer.lr == pytest.approx(2.4e-3)
    assert run.optimizer.betas == (0.9, 0.95) and run.optimizer.weight_decay == 0.05 and run.optimizer.clip_norm == 1.0
    assert run.model.backbone.image_size == (1024, 1024) and run.model.backbone.class_token
    assert run.model.decoder == DecoderDescription(512, 8, 16) and run.mask_ratio == 0.75
    factors = [learning_rate_factor(step, 1600, run.schedule) for step in (0, 39, 40, 820, 1599)]
    assert factors == pytest.approx([1e-4, 1, 1, 0.5, 0], abs=2e-3)
    targets = run.tasks.prepare_targets([Sample(np.zeros((1024, 1024, 3), np.uint8))])
    assert targets["masked_pretraining"]["masked"].tolist() == [3072]


def test_an_unreleased_set_takes_the_schedule_of_17_points() -> None:
    assert published_pose_schedule("0.3b", "own") == published_pose_schedule("0.3b", "coco_17")


@pytest.mark.parametrize("task", RECIPES)
def test_size_nano_is_the_network_inside_the_package(task: str, people_shards: Path, tmp_path: Path) -> None:
    shipped = read_description(model_folder("nano"))
    run = make(task, people_shards, tmp_path, size="nano")
    assert run.model.backbone == shipped.backbone and run.model.heads[task] == shipped.heads[task]
    assert run.final_size == shipped.preprocessing.input_size
    with pytest.raises(ValueError, match="no published schedule for the size 'nano'"):
        make(task, people_shards, tmp_path, size="nano", schedule="published")


def test_nano_cannot_be_pretrained_by_hiding_patches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "pretrain", "--data", "x", "--output", "y", "--size", "nano"]) == 2
    assert "mini" in capsys.readouterr().err
