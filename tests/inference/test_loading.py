from pathlib import Path

import numpy as np
import pytest
import torch

import opensapiens
from opensapiens.checkpoints.model_folder import load_model
from opensapiens.inference.loading import ModelNotFound, model_folder, summarize


def test_a_model_folder_is_loaded_and_predicts(tiny_model: Path) -> None:
    people = opensapiens.load(tiny_model, device="cpu")
    result = people(np.zeros((90, 70, 3), np.uint8), boxes=[[10, 10, 60, 80]])
    (person,) = result.persons
    assert person.keypoints.shape == (308, 2) and person.scores.shape == (308,) and len(person.names) == 308
    assert result.parts.labels.shape == result.depth.values.shape == (90, 70)
    assert result.normals.values.shape == (90, 70, 3)


def test_dtype_and_lists(tiny_model: Path) -> None:
    people = opensapiens.load([tiny_model, str(tiny_model)], dtype=torch.bfloat16)
    assert len(people.models) == 2 and next(people.models[0].network.parameters()).dtype == torch.bfloat16
    assert {id(loaded) for loaded in people.model_of_task.values()} == {id(people.models[0])}, (
        "the first that can does it"
    )
    assert people(np.zeros((50, 50, 3), np.uint8), boxes=[[0, 0, 50, 50]]).depth.values.dtype == np.float32


def test_what_is_not_a_model(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opensapiens.inference.loading._embedded_folders", lambda: {"nano": tiny_model})
    assert model_folder("nano") == tiny_model
    with pytest.raises(ModelNotFound, match="Did you mean nano"):
        opensapiens.load("nanno")
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        opensapiens.load(tmp_path)
    (summary,) = opensapiens.list_models()
    assert summary.tasks == ("pose", "segmentation", "depth", "normals")


def test_the_summary_counts_parameters(tiny_model: Path) -> None:
    network, _ = load_model(tiny_model)
    summary = summarize(tiny_model)
    assert summary.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert summary.flops > summary.parameters and summary.input_size == (64, 48)


def test_the_package_has_no_other_names() -> None:
    assert set(dir(opensapiens)) == {"__version__", "load", "list_models"}
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        opensapiens.lod  # noqa: B018
