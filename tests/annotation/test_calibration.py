import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from opensapiens.annotation.calibration import CalibrationError, read_cameras, write_cameras
from opensapiens.geometry.cameras import CalibratedCamera

Ring = Callable[..., list[CalibratedCamera]]


def same(found: list[CalibratedCamera], expected: list[CalibratedCamera], size: bool = True) -> None:
    assert [camera.name for camera in found] == [camera.name for camera in expected]
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3)) + [0, 0, 1]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.project(points), other.project(points), atol=1e-5)
        assert not size or one.size == other.size


def test_our_json_round_trip(ring: Ring, tmp_path: Path) -> None:
    write_cameras(tmp_path / "rig.json", ring(3))
    same(read_cameras(tmp_path / "rig.json"), ring(3))
    assert json.loads((tmp_path / "rig.json").read_text())["cameras"][0]["size"] == [1280, 720], "width first"


def test_anipose_toml(ring: Ring, tmp_path: Path) -> None:
    lines = []
    for number, camera in enumerate(reversed(ring(3))):
        vector = cv2.Rodrigues(camera.rotation)[0].ravel().tolist()
        lines += [f"[cam_{number}]", f'name = "{camera.name}"', "size = [1280.0, 720.0]"]
        lines += [f"matrix = {camera.matrix.tolist()}", f"distortions = {camera.distortion.tolist()}"]
        lines += [f"rotation = {vector}", f"translation = {camera.translation.tolist()}", "fisheye = false", ""]
    (tmp_path / "rig.toml").write_text("\n".join([*lines, "[metadata]", "adjusted = false", "error = 0.0", ""]))
    same(read_cameras(tmp_path / "rig.toml"), ring(3))


def test_easymocap_files(ring: Ring, tmp_path: Path) -> None:
    inside = cv2.FileStorage(str(tmp_path / "intri.yml"), cv2.FILE_STORAGE_WRITE)
    outside = cv2.FileStorage(str(tmp_path / "extri.yml"), cv2.FILE_STORAGE_WRITE)
    for file in (inside, outside):
        file.startWriteStruct("names", cv2.FileNode_SEQ)
        for camera in ring(3):
            file.write("", camera.name)
        file.endWriteStruct()
    for camera in ring(3):
        inside.write(f"K_{camera.name}", camera.matrix)
        inside.write(f"dist_{camera.name}", camera.distortion[None])
        outside.write(f"R_{camera.name}", cv2.Rodrigues(camera.rotation)[0])
        outside.write(f"Rot_{camera.name}", camera.rotation)
        outside.write(f"T_{camera.name}", camera.translation[:, None])
    inside.release()
    outside.release()
    same(read_cameras(tmp_path), ring(3), size=False)


@pytest.mark.parametrize("ending", ["yml", "json"])
def test_opencv_files(ring: Ring, tmp_path: Path, ending: str) -> None:
    for camera in ring(2):
        file = cv2.FileStorage(str(tmp_path / f"{camera.name}.{ending}"), cv2.FILE_STORAGE_WRITE)
        file.write("image_width", 1280)
        file.write("image_height", 720)
        file.write("camera_matrix", camera.matrix)
        file.write("distortion_coefficients", camera.distortion[:, None])
        file.write("rvec", cv2.Rodrigues(camera.rotation)[0])
        file.write("tvec", camera.translation)
        file.release()
    same(read_cameras(tmp_path), ring(2))


def broken(ring: Ring, change: Callable[[dict], object]) -> str:
    rows = []
    for camera in ring(2):
        rows.append({
            "name": camera.name, "size": [1280, 720], "matrix": camera.matrix.tolist(), "distortion": [],
            "rotation": camera.rotation.tolist(), "translation": camera.translation.tolist(),
        })  # fmt: skip
    change(rows[1])
    return json.dumps({"cameras": rows})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("rotation"), "camera cam_01: its rotation is missing"),
        (lambda row: row.update(rotation=[[1, 0, 0], [0, 1, 0], [0, 0, -1]]), "not a rotation .* not mirrored"),
        (lambda row: row.update(rotation=[[2, 0, 0], [0, 1, 0], [0, 0, 1]]), "rows must have length 1"),
        (lambda row: row.update(translation=[1, 2]), "a translation of 3"),
        (lambda row: row.update(translation=[1, 2, "x"]), "not made of numbers"),
        (lambda row: row.update(matrix=[[0, 0, 1], [0, 5, 1], [0, 0, 1]]), "focal lengths must be above 0"),
        (lambda row: row.update(distortion=[0.1, 0.2]), "2 distortion coefficients"),
        (lambda row: row.update(size=[1280]), r"\[width, height\]"),
        (lambda row: row.update(name="../up"), "that of a folder"),
        (lambda row: row.update(name="cam_00"), "more than one camera of this name"),
    ],
)
def test_what_is_wrong_is_said(ring: Ring, tmp_path: Path, change: Callable[[dict], object], message: str) -> None:
    (tmp_path / "rig.json").write_text(broken(ring, change))
    with pytest.raises(CalibrationError, match=message):
        read_cameras(tmp_path / "rig.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", "[]", "at least two"),
        ("a.json", '{"cameras": 3}', "expected"),
        ("a.toml", "x = [", "not TOML"),
        ("a.toml", "[metadata]\nerror = 0.0", "no table"),
        ("a.toml", "[c]\nmatrix = [[1.0]]\nfisheye = true", "fisheye"),
        ("a.txt", "", "neither .json nor .toml"),
        ("b/c.yml", "%YAML:1.0\n---\nx: 1\n", "is missing"),
        ("b/c.txt", "", "neither intri.yml"),
        ("a.toml", "x = " + "[" * 5000, "nested"),
        ("a.toml", "[c]\nmatrix = [inf]", "not TOML"),
        ("a.json", "[" * 100_000, "nested"),
        ("a.json", '{"cameras": [{"matrix": [' + "9" * 400 + "]}]}", "64 bits"),
        ("a.json", " " * 16_000_001, "larger than the limit"),
        ("b/c.yml", "%YAML:1.0\n---\na: " + "[" * 200_000, "brackets, tags and keys"),
        ("b/c.yml", "%YAML:1.0\n---\na:\n   " + "- " * 200_000, "brackets, tags and keys"),
        ("b/c.yml", "%YAML:1.0\n---\n" + "a: " * 200_000, "brackets, tags and keys"),
        ("b/c.xml", "<?xml version='1.0'?><opencv_storage>" + "<a>" * 200_000, "brackets, tags and keys"),
        ("b/c.json", '{"a": ' * 200_000, "brackets, tags and keys"),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_calibration(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(CalibrationError, match=message):
        read_cameras(path if path.parent == tmp_path else path.parent)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"missing\.toml"):
        read_cameras(tmp_path / "missing.toml")
