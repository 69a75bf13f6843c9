"""What a run starts with: by a folder or by a name, the weights inside the package among them."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from opensapiens.checkpoints.catalog import ModelNotFound, model_folder
from opensapiens.checkpoints.model_folder import load_model
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308
from opensapiens.recipes.finetuning import FineTuning
from opensapiens.recipes.pose import pose
from opensapiens.recipes.pretrain import pretrain
from opensapiens.training.run import Run
from opensapiens.training.start import starting_model


def own_points(people: Path, output: Path, **settings: Any) -> Run:
    run = pose(people, output, FineTuning(settings.pop("size", "nano")), keypoints="coco_17")
    return replace(run, **settings)


def assert_same_backbone(model: torch.nn.Module, shipped: torch.nn.Module) -> None:
    for name, tensor in shipped.get_submodule("backbone").state_dict().items():
        torch.testing.assert_close(model.get_submodule("backbone").state_dict()[name], tensor, rtol=0, atol=0)


def test_nano_by_name_gives_its_backbone(people_shards: Path, tmp_path: Path) -> None:
    shipped, _ = load_model(model_folder("nano"))
    model: Any = starting_model(own_points(people_shards, tmp_path, pretrained="nano"))
    assert_same_backbone(model, shipped)
    assert model.heads["pose"].output.weight.std().item() == pytest.approx(0.001, rel=0.1)


def test_nano_by_name_gives_the_points_of_the_same_name_too(people_shards: Path, tmp_path: Path) -> None:
    shipped, _ = load_model(model_folder("nano"))
    model: Any = starting_model(own_points(people_shards, tmp_path, start_from="nano"))
    assert_same_backbone(model, shipped)
    of_shipped: Any = shipped.heads["pose"]
    for point in ("nose", "left_ankle"):
        own = model.heads["pose"].output.weight[COCO_17.index(point)]
        assert torch.equal(own, of_shipped.output.weight[SAPIENS_308.index(point)]), point


def test_another_network_than_nanos_says_which_size_to_take(people_shards: Path, tmp_path: Path) -> None:
    for start in ("pretrained", "start_from"):
        with pytest.raises(CheckpointError, match=r"of the family nano.*: give its --size"):
            starting_model(own_points(people_shards, tmp_path, size="toy", **{start: "nano"}))
        with pytest.raises(ModelNotFound, match="Did you mean nano"):
            starting_model(own_points(people_shards, tmp_path, **{start: "nanno"}))


def test_a_small_pretraining_batch_is_warned_of(people_shards: Path, tmp_path: Path) -> None:
    def run(batch_size: int) -> Run:
        return pretrain((people_shards,), tmp_path, "toy", input_size=(96, 96), steps=2, batch_size=batch_size)

    with pytest.warns(UserWarning, match=r"of 8 .* rate of 4\.7e-06 .*--micro-batch 8 .*--optimizer\.lr 1\.5e-4"):
        starting_model(run(8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        starting_model(run(64))
        starting_model(replace(run(8), optimizer=replace(run(8).optimizer, lr=1.5e-4)))
