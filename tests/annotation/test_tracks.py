"""Points in space as TRC and C3D; the latter is opened by another library than the one that writes it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from opensapiens.annotation.options import AnnotateOptions, Up
from opensapiens.annotation.tables import Y_UP, Z_UP
from opensapiens.inference.formats.c3d import write_c3d
from opensapiens.inference.formats.trc import write_trc
from opensapiens.inference.options import OptionsError
from opensapiens.labels.keypoints import SAPIENS_308


def test_a_c3d_file_is_read_by_another_library(tmp_path: Path) -> None:
    pytest.importorskip("ezc3d")
    c3d = pytest.importorskip("c3d")
    names = SAPIENS_308.names  # more than the 255 that one parameter of a C3D file can hold
    points = np.random.default_rng(0).normal(size=(7, len(names), 3))
    points[2, 5] = np.nan
    write_c3d(tmp_path / "person_1.c3d", points, names, 59.94, "m")
    with (tmp_path / "person_1.c3d").open("rb") as file:
        reader = c3d.Reader(file)
        assert reader.point_rate == pytest.approx(59.94)
        assert reader.get("POINT:UNITS").string_value.strip() == "m"
        assert reader.get("POINT:Y_SCREEN").string_value.strip() == "+Z", "z is up"
        labels = [label.strip() for label in reader.point_labels]
        frames = [frame for _, frame, _ in reader.read_frames()]
    assert labels == list(names[:255])
    assert [str(label).strip() for label in reader.get("POINT:LABELS2").string_array] == list(names[255:])
    read = np.stack(frames)
    assert read.shape[:2] == (7, len(names))
    there = np.isfinite(points).all(axis=-1)
    assert ((read[..., 3] >= 0) == there).all(), "what is missing has a negative residual"
    assert np.abs(read[there][:, :3] - points[there]).max() < 1e-6


def test_a_trc_file_as_opensim_reads_it(tmp_path: Path) -> None:
    points = np.array([[[1.0, 2, 3], [4, 5, 6]], [[np.nan] * 3, [7, 8, 9]]])
    write_trc(tmp_path / "p.trc", points @ Y_UP["z"].T, ("nose", "left_eye"), 50, "m")
    lines = (tmp_path / "p.trc").read_text().split("\n")
    assert lines[0] == "PathFileType\t4\t(X/Y/Z)\tp.trc"
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    assert header["NumFrames"] == "2" and header["NumMarkers"] == "2" and header["Units"] == "m"
    assert header["DataRate"] == "50" and header["OrigDataStartFrame"] == "1"
    assert lines[3].split("\t") == ["Frame#", "Time", "nose", "", "", "left_eye", "", ""]
    assert lines[4].split("\t") == ["", "", "X1", "Y1", "Z1", "X2", "Y2", "Z2"] and lines[5] == ""
    assert [float(cell) for cell in lines[6].split("\t")] == [1, 0, 2, 3, 1, 5, 6, 4], "y is up: x, y, z -> y, z, x"
    assert lines[7].split("\t")[:5] == ["2", "0.020000", "", "", ""] and len(lines) == 9


@pytest.mark.parametrize("up", ["y", "z", "-y"])
def test_turned_axes_stay_right_handed(up: Up) -> None:
    axis = {"y": [0.0, 1, 0], "z": [0.0, 0, 1], "-y": [0.0, -1, 0]}[up]
    for turn, turned in ((Y_UP[up], [0, 1, 0]), (Z_UP @ Y_UP[up], [0, 0, 1])):
        assert np.linalg.det(turn) == pytest.approx(1) and (turn @ axis).tolist() == turned


def test_a_missing_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ezc3d", None)
    with pytest.raises(ModuleNotFoundError, match=r"^C3D files need ezc3d: pip install opensapiens\[formats\]$"):
        write_c3d(tmp_path / "a.c3d", np.zeros((1, 1, 3)), ("nose",), 30, "m")


def test_a_c3d_file_needs_cameras() -> None:
    with pytest.raises(OptionsError, match="--c3d needs --cameras"):
        AnnotateOptions(c3d=True)
