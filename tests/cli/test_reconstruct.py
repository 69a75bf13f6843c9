from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.cli import main
from opensapiens.recipes.pretrain import pretrain
from opensapiens.training.loop import train


@pytest.fixture(scope="module")
def pretrained(people_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    return train(pretrain((people_shards,), folder, "toy", input_size=(64, 64), steps=1, batch_size=2, workers=0))


def test_it_draws_each_ratio(pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "sub" / "out.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)).save(photo)
    words = ["reconstruct", str(photo), "--model", str(pretrained), "--output", str(out), "--mask-ratio"]
    assert main([*words, "0.9"]) == 0
    one = Image.open(out).width
    assert main([*words, "0.75", "0.9"]) == 0
    assert Image.open(out).width > 1.5 * one and "drawn" in capsys.readouterr().out


def test_misuse(pretrained: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photo)
    for words, message in (
        ([str(photo), "--model", str(tiny_model)], "no decoder"),
        ([str(photo), "--model", str(pretrained), "--mask-ratio", "0.999"], "keeps none of 16 patches"),
        ([str(tmp_path / "nothing.png"), "--model", str(pretrained)], "nothing.png"),
    ):
        assert main(["reconstruct", *words, "--output", str(tmp_path / "x.png")]) == 2
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error
    assert not (tmp_path / "x.png").exists()
