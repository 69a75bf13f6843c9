"""Probe and neighbors find what is in the features, and only that."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import opensapiens
from opensapiens.cli.main import main
from opensapiens.data.label_kinds import PARTS
from opensapiens.data.sample import Sample
from opensapiens.evaluation.frozen import (
    Labeled,
    _classify,
    evaluate_frozen,
    fit_probe,
    neighbor_votes,
    patch_classes,
)
from opensapiens.evaluation.people import EvaluationError
from opensapiens.storage.pictures import ImageError


def clouds(count: int, seed: int) -> Labeled:
    """Three classes around corners of a triangle, in 8 dimensions of which two matter."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 3, (count,), generator=generator)
    centers = torch.zeros(3, 8)
    centers[0, 0], centers[1, 0], centers[2, 1] = 4, -4, 4
    return Labeled(centers[classes] + torch.randn(count, 8, generator=generator), classes)


@pytest.mark.parametrize("method", ["probe", "knn"])
def test_what_is_there_is_found(method: Any) -> None:
    known, asked = clouds(150, 0), clouds(150, 1)
    right = (_classify(method, known, asked.features, 3, seed=0) == asked.classes).float().mean()
    assert right > 0.95
    shuffled = Labeled(known.features, known.classes[torch.randperm(150, generator=torch.Generator().manual_seed(2))])
    assert (_classify(method, shuffled, asked.features, 3, seed=0) == asked.classes).float().mean() < 0.6


def test_the_probe_is_at_the_minimum_of_its_loss() -> None:
    known = clouds(100, 0)
    weights = fit_probe(known, 3, strength=0.1).requires_grad_()
    logits = torch.nn.functional.linear(known.features, weights[:, :-1], weights[:, -1])
    loss = torch.nn.functional.cross_entropy(logits, known.classes) + 0.05 * weights[:, :-1].square().sum()
    (gradient,) = torch.autograd.grad(loss, weights)
    assert gradient.abs().max() < 1e-3
    assert fit_probe(known, 3, 10.0).norm() < fit_probe(known, 3, 0.01).norm()


def test_nearer_neighbors_count_more() -> None:
    known = Labeled(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 1]))
    votes = neighbor_votes(known, torch.tensor([[3.0, 0.1], [0.1, 3.0]]), 2)
    assert votes.argmax(dim=1).tolist() == [0, 1]


def test_patch_classes() -> None:
    parts = np.zeros((4, 6), np.uint8)
    parts[:2, :2], parts[2:, 4:] = 255, 3
    parts[0, 2:4] = 7
    parts[1, 2] = 7
    assert patch_classes(Sample(np.zeros((4, 6, 3), np.uint8), labels={PARTS: parts}), (2, 3), 28).tolist() == [
        255,
        7,
        0,
        0,
        0,
        3,
    ]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """train/ and test/ with red and blue pictures: a random network tells these apart."""
    for split, count in (("train", 6), ("test", 3)):
        for name, color in (("blue", (20, 30, 220)), ("red", (220, 30, 20))):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40 + number, 50), color).save(folder / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("method", ["probe", "knn"])
def test_pictures(method: Any, classes: Path, tiny_model: Path) -> None:
    loaded = opensapiens.load(tiny_model, device="cpu").models[0]
    figures = evaluate_frozen(method, loaded, classes / "train", classes / "test")
    assert figures["accuracy"] == figures["mean_class_accuracy"] == 1 and figures["largest_class_accuracy"] == 0.5
    assert (figures["images"], figures["train_images"], figures["classes"]) == (6, 12, 2)


def test_body_parts(people_shards: Path, tiny_model: Path) -> None:
    loaded = opensapiens.load(tiny_model, device="cpu").models[0]
    figures = evaluate_frozen("knn", loaded, people_shards, people_shards, limit=4)
    assert figures["people"] == 4 and figures["of"] == "body parts"
    assert 0 <= figures["mIoU"] < 0.5 < figures["background_aAcc"] < 1


def test_folders_that_do_not_do(
    classes: Path, people_shards: Path, tiny_model: Path, tmp_path: Path, capsys: Any
) -> None:
    loaded = opensapiens.load(tiny_model, device="cpu").models[0]
    (classes / "test" / "green").mkdir()
    Image.new("RGB", (9, 9)).save(classes / "test" / "green" / "1.png")
    with pytest.raises(EvaluationError, match="green are only in"):
        evaluate_frozen("knn", loaded, classes / "train", classes / "test")
    (classes / "test" / "green" / "1.png").unlink()
    (classes / "test" / "red" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"0\.png"):
        evaluate_frozen("knn", loaded, classes / "train", classes / "test")
    command = ["evaluate", "knn", "--train", str(classes / "train"), "--images", str(classes / "test")]
    assert main([*command, "--model", str(tiny_model), "--device", "cpu"]) == 1
    out, err = capsys.readouterr()
    assert ["images", "5"] in map(str.split, out.splitlines())
    assert "red/0.png: not a picture" in err.splitlines()[-2] and err.splitlines()[-1] == "1 picture left out"
    with pytest.raises(EvaluationError, match="does not"):
        evaluate_frozen("knn", loaded, people_shards, classes / "test")
    with pytest.raises(EvaluationError, match="no folder"):
        evaluate_frozen("knn", loaded, classes / "nowhere", classes / "test")
    assert main(["evaluate", "probe", "--images", str(classes / "test"), "--model", str(tiny_model)]) == 2
    assert "name it with --train" in capsys.readouterr().err
