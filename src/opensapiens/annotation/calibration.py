"""Calibrations of camera rigs in files: our JSON, and what other tools write.

Our JSON, axes as in CalibratedCamera (a point of the world is at rotation @ point + translation, x right, y down, z
forward; integer pixel coordinates are pixel centers):

    {"cameras": [{"name": "cam_01", "size": [width, height],
                  "matrix": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
                  "distortion": [k1, k2, p1, p2, k3],
                  "rotation": [[…], […], […]],        (or a rotation vector of three)
                  "translation": [x, y, z]}, …]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.geometry.cameras import DISTORTION_COUNTS, CalibratedCamera
from opensapiens.storage.files import write_json
from opensapiens.storage.json_files import read_json, read_toml
from opensapiens.storage.listing import counted
from opensapiens.storage.text_files import FileError, read_text

LARGEST_FILE = 16_000_000  # bytes; a calibration of a thousand cameras is a tenth of it
MOST_LEVELS = 20_000  # marks that open a level in OpenCV's files; a camera has about 30


class CalibrationError(ValueError):
    """A calibration that cannot be used; the message names the file and the camera."""


def read_cameras(path: str | Path) -> list[CalibratedCamera]:
    """The cameras of a calibration, sorted by name.

    .json: ours, see above. .toml: as Aniposelib and Pose2Sim write it (Anipose, Pose2Sim, FreeMoCap, Lightning Pose).
    .yml, .yaml, .xml, and .json with OpenCV's matrices: cv2.FileStorage, either one camera per file (camera_matrix,
    distortion_coefficients, rotation R, translation T) in a folder of such files, or EasyMocap's pair intri.yml and
    extri.yml in a folder. Raises CalibrationError.
    """
    path = Path(path)
    try:
        if path.is_dir():
            cameras = _of_folder(path)
        elif path.suffix.lower() == ".toml":
            cameras = _of_toml(read_toml(path, LARGEST_FILE), path)
        elif path.suffix.lower() == ".json":
            cameras = _of_json(read_json(path, limit=LARGEST_FILE), path)
        else:
            raise CalibrationError(
                f"{path}: neither .json nor .toml, nor a folder of OpenCV's .yml files (docs/annotation.md shows each)"
            )
    except FileError as error:
        raise CalibrationError(str(error)) from error
    except (OSError, ValueError, cv2.error) as error:
        if isinstance(error, CalibrationError):
            raise
        raise CalibrationError(f"{path}: not a calibration that can be read ({error})") from error
    names = [camera.name for camera in cameras]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise CalibrationError(f"{path}: {', '.join(repeated)}: more than one camera of this name")
    if len(cameras) < 2:
        raise CalibrationError(f"{path}: {counted(len(cameras), 'camera')}; agreement needs at least two")
    return sorted(cameras, key=lambda camera: camera.name)


def write_cameras(path: str | Path, cameras: Sequence[CalibratedCamera]) -> None:
    """Write our JSON format."""
    rows = [
        {
            "name": camera.name,
            "size": None if camera.size is None else [camera.size[1], camera.size[0]],
            "matrix": camera.matrix.tolist(),
            "distortion": camera.distortion.tolist(),
            "rotation": camera.rotation.tolist(),
            "translation": camera.translation.tolist(),
        }
        for camera in cameras
    ]
    write_json(path, {"cameras": rows})


def camera_of(
    where: str, name: Any, matrix: Any, distortion: Any, rotation: Any, translation: Any, size: Any = None
) -> CalibratedCamera:
    """A camera from the unchecked numbers of a file. rotation: 3×3, or a vector of 3. size: (width, height).

    Raises CalibrationError, with `where`, for numbers that are not finite, and for a matrix, rotation, distortion or
    size that no camera has.
    """
    where = f"{where}: camera {name}"
    if not isinstance(name, str) or not name or Path(name).name != name or name in (".", ".."):
        raise CalibrationError(f"{where}: a camera's name must be that of a folder")
    intrinsics = _numbers(where, "matrix", matrix)
    coefficients = _numbers(where, "distortion", [] if distortion is None else distortion)
    turn = _numbers(where, "rotation", rotation)
    position = _numbers(where, "translation", translation)
    if intrinsics.size != 9 or turn.size not in (3, 9) or position.size != 3:
        raise CalibrationError(f"{where}: needs a 3×3 matrix, a rotation (3×3 or 3) and a translation of 3 numbers")
    fx, _, cx, _, fy, cy = intrinsics[:6]
    if not (fx > 0 and fy > 0):
        raise CalibrationError(f"{where}: focal lengths must be above 0")
    turn = cv2.Rodrigues(turn)[0] if turn.size == 3 else turn.reshape(3, 3)
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
        raise CalibrationError(f"{where}: not a rotation (its rows must have length 1, be orthogonal and not mirrored)")
    if coefficients.size not in DISTORTION_COUNTS:
        raise CalibrationError(f"{where}: {coefficients.size} distortion coefficients; OpenCV has {DISTORTION_COUNTS}")
    width_height = None if size is None else _numbers(where, "size", size)
    if width_height is not None and (width_height.size != 2 or (width_height < 1).any()):
        raise CalibrationError(f"{where}: its size must be [width, height]")
    return CalibratedCamera(
        name,
        np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
        turn,
        position,
        coefficients,
        None if width_height is None else (int(width_height[1]), int(width_height[0])),
    )


def _numbers(where: str, label: str, values: Any) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise CalibrationError(f"{where}: its {label} is not made of numbers") from error
    if not np.isfinite(array).all():
        raise CalibrationError(f"{where}: its {label} is missing, or holds numbers that are not finite")
    return array.ravel()


def _of_json(content: Any, path: Path) -> list[CalibratedCamera]:
    rows = content.get("cameras") if isinstance(content, Mapping) else content
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        expected = '{"cameras": [{"name", "matrix", "distortion", "rotation", "translation"}, …]}'
        raise CalibrationError(f"{path}: expected {expected}")
    fields = ("name", "matrix", "distortion", "rotation", "translation", "size")
    return [camera_of(str(path), *map(row.get, fields)) for row in rows]


def _of_toml(content: Mapping[str, Any], path: Path) -> list[CalibratedCamera]:
    """Aniposelib's: a table per camera, beside one of metadata; the rotation is a vector, the size (width, height)."""
    cameras = []
    for key, row in content.items():
        if not isinstance(row, Mapping) or "matrix" not in row:
            continue
        if row.get("fisheye"):
            raise CalibrationError(f"{path}: camera {key} is a fisheye camera, whose lens model is not supported")
        fields = ("matrix", "distortions", "rotation", "translation", "size")
        cameras.append(camera_of(str(path), row.get("name", key), *map(row.get, fields)))
    if not cameras:
        raise CalibrationError(f"{path}: no table with a camera's matrix")
    return cameras


def _of_folder(folder: Path) -> list[CalibratedCamera]:
    """EasyMocap's two files, or OpenCV's of one camera each, named after it."""
    easymocap = [folder / "intri.yml", folder / "extri.yml"]
    if all(file.is_file() for file in easymocap):
        intrinsics, extrinsics = (_storage(file) for file in easymocap)
        names = extrinsics.getNode("names")
        return [
            camera_of(
                str(folder), name, _matrix(intrinsics, f"K_{name}"), _matrix(intrinsics, f"dist_{name}"),
                _matrix(extrinsics, f"Rot_{name}", f"R_{name}"), _matrix(extrinsics, f"T_{name}"),
            )
            for name in (names.at(i).string() for i in range(names.size()))
        ]  # fmt: skip
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".yml", ".yaml", ".xml", ".json"))
    if not files:
        raise CalibrationError(f"{folder}: neither intri.yml and extri.yml nor one OpenCV file per camera in it")
    return [_of_storage(file) for file in files]


def _of_storage(file: Path) -> CalibratedCamera:
    storage = _storage(file)
    width, height = (_number(storage, name) for name in ("image_width", "image_height"))
    return camera_of(
        str(file),
        file.stem,
        _matrix(storage, "camera_matrix", "cameraMatrix", "K", "M"),
        _matrix(storage, "distortion_coefficients", "distCoeffs", "dist_coeffs", "D"),
        _matrix(storage, "rotation", "R", "rotation_vector", "rvec"),
        _matrix(storage, "translation", "T", "translation_vector", "tvec", "t"),
        None if not width or not height else (width, height),
    )


def _storage(file: Path) -> cv2.FileStorage:
    _check_nesting(file, read_text(file, limit=LARGEST_FILE))
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
    if not storage.isOpened():
        raise CalibrationError(f"{file}: not a file that OpenCV's FileStorage can read")
    return storage


def _check_nesting(file: Path, text: str) -> None:
    """Raises CalibrationError for a file that may nest too deeply: OpenCV's parsers recurse, and some 100,000 levels
    kill the process. A file cannot nest deeper than the number of its marks that open a level."""
    if sum(text.count(mark) for mark in ("[", "{", "<", ":", "- ")) > MOST_LEVELS:
        raise CalibrationError(f"{file}: more than {MOST_LEVELS} brackets, tags and keys, as no calibration has")


def _matrix(storage: cv2.FileStorage, *names: str) -> np.ndarray | None:
    """The first matrix that the file has, by its possible names; camera_of refuses a missing one."""
    for name in names:
        node = storage.getNode(name)
        if not node.empty():
            return node.mat()
    return None


def _number(storage: cv2.FileStorage, name: str) -> float:
    node = storage.getNode(name)
    return 0.0 if node.empty() else node.real()
