"""The page on formats: its commands run, and its table has every format."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_folder import build_model, save_model
from opensapiens.cli.main import main
from opensapiens.inference.encoding import Encoder
from opensapiens.inference.formats import FORMATS
from opensapiens.recipes.nano import describe

PAGE = (Path(__file__).parent.parent.parent / "docs" / "formats.md").read_text()


def test_every_format_has_its_place_in_the_table() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(FORMATS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with photo.jpg, clip.mp4 and a model of toy size."""
    torch.manual_seed(0)
    description = describe(SapiensConfig((64, 48), 24, 2, 2), (8, 8), (8, 8))
    save_model(tmp_path / "tiny", build_model(description), description)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    encoder = Encoder(tmp_path / "clip.mp4", (96, 64), Fraction(10))
    for number in range(3):
        encoder.add(pixels, number / 10)
    encoder.close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run(folder: Path) -> None:
    for library in ("av", "OpenEXR", "trimesh"):
        pytest.importorskip(library)
    shown = [line.partition("#")[0].split() for line in PAGE.splitlines() if line.startswith("opensapiens predict ")]
    assert len(shown) == 6
    for _, *words in shown:
        assert main([*words, "--model", "tiny", "--whole-image", "--runtime", "torch"]) == 0, words
    made = {path.name for path in (folder / "out").iterdir()}
    assert {"photo_points.glb", "photo_maps.exr", "photo_cutout.png", "clip_trc", "clip_depth.mp4"} <= made
