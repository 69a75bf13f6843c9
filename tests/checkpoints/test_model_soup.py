"""The mean of models: what is averaged, how much of each, and what cannot be."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model, load_model, read_description, save_model
from opensapiens.checkpoints.model_soup import average_models
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.cli import main
from opensapiens.geometry.view import Preprocessing

DESCRIPTION = ModelDescription(
    name="tiny",
    backbone=SapiensConfig((64, 48), 16, 1, 2),
    heads={"depth": HeadDescription(1, (4,), ())},
    preprocessing=Preprocessing((64, 48)),
    license="Apache-2.0",
    source="a test",
    metrics={"depth": {"r2": 0.5}},
)


def saved(folder: Path, seed: int, description: ModelDescription = DESCRIPTION) -> Path:
    torch.manual_seed(seed)
    save_model(folder, build_model(description), description, torch.float16)
    return folder


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_mean_is_of_every_tensor_by_the_shares(tmp_path: Path) -> None:
    sources = [saved(tmp_path / str(seed), seed) for seed in range(3)]
    average_models(sources, tmp_path / "mean", [3, 1, 4], torch.float32)
    a, b, c = map(tensors, sources)
    mean = tensors(tmp_path / "mean")
    assert mean.keys() == a.keys()
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (3 * a[name].float() + b[name].float() + 4 * c[name].float()) / 8)


def test_the_folder_is_a_model_like_any_other_without_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [saved(tmp_path / str(seed), seed) for seed in range(2)]
    assert main(["average", *map(str, sources), "--output", str(tmp_path / "mean")]) == 0
    assert "mean of 2: a test" in capsys.readouterr().out
    _, description = load_model(tmp_path / "mean")
    assert description == replace(DESCRIPTION, metrics={}, source="mean of 2: a test")
    a, b = map(tensors, sources)
    for name, tensor in tensors(tmp_path / "mean").items():
        assert tensor.dtype == torch.float16  # as the sources
        torch.testing.assert_close(tensor, ((a[name].float() + b[name].float()) / 2).half())


def test_what_cannot_be_averaged_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (saved(tmp_path / str(seed), seed) for seed in range(2))
    wider = saved(tmp_path / "wider", 0, replace(DESCRIPTION, backbone=SapiensConfig((64, 48), 32, 1, 2)))
    flipped = replace(DESCRIPTION, preprocessing=replace(DESCRIPTION.preprocessing, flip_test=True))
    output = tmp_path / "mean"
    with pytest.raises(CheckpointError, match="differ in their backbone"):
        average_models([first, wider], output)
    with pytest.raises(CheckpointError, match="differ in their preprocessing"):
        average_models([first, saved(tmp_path / "flipped", 0, flipped)], output)
    with pytest.raises(CheckpointError, match="two models or more"):
        average_models([first], output)
    for shares in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(CheckpointError, match="as many shares"):
            average_models([first, second], output, shares)
    assert main(["average", str(first), str(tmp_path / "none"), "--output", str(output)]) == 2
    assert "no folder or file of that name" in capsys.readouterr().err
    assert not output.exists()


def test_the_command_takes_models_by_name(tmp_path: Path) -> None:
    assert main(["average", "nano", "nano", "--output", str(tmp_path / "mean")]) == 0
    shipped, mean = (read_description(folder) for folder in (model_folder("nano"), tmp_path / "mean"))
    assert mean.backbone == shipped.backbone and mean.source.startswith("mean of 2: mean of 2")
