"""`opensapiens synthesize`: what it hands on, and what becomes of scans that cannot be read."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from opensapiens.cli.main import main
from opensapiens.data.shards import ShardDataset
from opensapiens.synthetic import synthesize as synthesize_module


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What the generator was asked for, in place of frames; scans named "bad..." cannot be read."""
    made: list[tuple] = []

    def usable(paths, workers):
        good = [path for path in paths if not path.name.startswith("bad")]
        return good, [f"{path}: cannot be read" for path in paths if path not in good]

    monkeypatch.setattr(synthesize_module, "synthesize", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(synthesize_module, "usable_files", usable)
    return made


def test_options_reach_the_generator(calls: list[tuple], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "sky.hdr"), np.ones((8, 16, 3), np.float32))
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((8, 16, 3), np.uint8))
    words = f"synthesize --out {tmp_path / 'out'} --count 3 --seed 4 --size 64 48 --environment {tmp_path} --parameters"
    assert main([*words.split(), "--all-labels", "--backgrounds", str(tmp_path / "photo.png")]) == 0
    ((count, out, seed, _, style, surroundings, scans, parameters, all_labels),) = calls
    assert (count, out, seed, style.size, scans, parameters) == (3, tmp_path / "out", 4, (64, 48), [], True)
    assert all_labels
    assert surroundings.names() == {"environments": ["sky.hdr"], "photos": 1}


def test_scans_that_cannot_be_read_are_left_out_and_named(
    calls: list[tuple], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["synthesize", "--out", str(tmp_path / "out"), "--scans", str(tmp_path)]
    assert main(command) == 2 and "no scan here" in capsys.readouterr().err
    (tmp_path / "bad.glb").touch()
    assert main(command) == 2 and not calls
    assert "bad.glb: cannot be read" in capsys.readouterr().err
    (tmp_path / "good.glb").touch()
    assert main(command) == 1
    assert calls[0][6] == [tmp_path / "good.glb"]
    assert "left out" in capsys.readouterr().err


def test_photos_that_cannot_be_read_are_left_out_and_named(
    calls: list[tuple], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "bad.png"), np.zeros((8, 16, 3), np.uint8))
    command = ["synthesize", "--out", str(tmp_path / "out"), "--backgrounds", str(tmp_path)]
    assert main(command) == 2 and not calls
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((8, 16, 3), np.uint8))
    assert main(command) == 1
    assert calls[0][5].photos.paths == [tmp_path / "good.png"]
    assert "left out" in capsys.readouterr().err


def test_people_are_cut_out_when_asked(
    calls: list[tuple], people_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synthesize", "--out", str(people_shards), "--count", "6", "--cutouts", str(tmp_path)]) == 0
    assert len(ShardDataset(tmp_path)) == len(ShardDataset(people_shards))
    assert f"people cut out in {tmp_path}" in capsys.readouterr().out
