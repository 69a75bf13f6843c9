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
        raise CalibrationError(f"{path}: {len(cameras)} camera; agreement needs at least two")
    return sorted(cameras, key=lambda camera: camera.name)


def write_cameras(path: str | Path, cameras: Sequence[CalibratedCamera]) -> None:
    """Our JSON."""
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


def camera_of(where: str, name: object, row: Mapping[str, Any]) -> CalibratedCamera:
    """A camera from whatever numbers a file has, checked. row: "matrix", "distortion", "rotation" (3×3, or a vector of
    3), "translation", "size" (width, height); distortion and size may be missing.

    Raises CalibrationError, with `where`, for numbers that are not finite, a matrix that is none of a camera, and a
    rotation that is none.
    """
    where = f"{where}: camera {name}"
    if not isinstance(name, str) or not name or Path(name).name != name or name in (".", ".."):
        raise CalibrationError(f"{where}: a camera's name must be that of a folder")
    made = {label: _numbers(where, label, row.get(label)) for label in ("matrix", "rotation", "translation")}
    made["distortion"] = _numbers(where, "distortion", [] if row.get("distortion") is None else row["distortion"])
    if made["matrix"].size != 9 or made["rotation"].size not in (3, 9) or made["translation"].size != 3:
        raise CalibrationError(f"{where}: needs a 3×3 matrix, a rotation (3×3 or 3) and a translation of 3 numbers")
    intrinsics, turn = made["matrix"].reshape(3, 3), made["rotation"]
    if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0):
        raise CalibrationError(f"{where}: focal lengths must be above 0")
    turn = cv2.Rodrigues(turn.ravel())[0] if turn.size == 3 else turn.reshape(3, 3)
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
        raise CalibrationError(f"{where}: its rotation is none (rows of length 1 at right angles, no mirror)")
    if made["distortion"].size not in DISTORTION_COUNTS:
        raise CalibrationError(
            f"{where}: {made['distortion'].size} distortion coefficients; OpenCV has {DISTORTION_COUNTS}"
        )
    shape = None if row.get("size") is None else _numbers(where, "size", row["size"]).ravel()
    if shape is not None and (shape.size != 2 or (shape < 1).any()):
        raise CalibrationError(f"{where}: its size must be [width, height]")
    return CalibratedCamera(
        name,
        np.array([[intrinsics[0, 0], 0, intrinsics[0, 2]], [0, intrinsics[1, 1], intrinsics[1, 2]], [0, 0, 1]]),
        turn,
        made["translation"].ravel(),
        made["distortion"].ravel(),
        None if shape is None else (int(shape[1]), int(shape[0])),
    )


def _numbers(where: str, label: str, values: object) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise CalibrationError(f"{where}: its {label} is not made of numbers") from error
    if not np.isfinite(array).all():
        raise CalibrationError(f"{where}: its {label} is missing, or holds what is not finite")
    return array


def _of_json(content: Any, path: Path) -> list[CalibratedCamera]:
    rows = content.get("cameras") if isinstance(content, Mapping) else content
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        fields = '{"name", "matrix", "distortion", "rotation", "translation"}'
        raise CalibrationError(f'{path}: expected {{"cameras": [{fields}, …]}}')
    return [camera_of(str(path), row.get("name"), row) for row in rows]


def _of_toml(content: Mapping[str, Any], path: Path) -> list[CalibratedCamera]:
    """Aniposelib's: a table per camera, beside one of metadata; the rotation is a vector, the size (width, height)."""
    cameras = []
    for key, row in content.items():
        if not isinstance(row, Mapping) or "matrix" not in row:
            continue
        if row.get("fisheye"):
            raise CalibrationError(f"{path}: camera {key} is a fisheye, whose lens model is not known here")
        cameras.append(camera_of(str(path), row.get("name", key), {**row, "distortion": row.get("distortions")}))
    if not cameras:
        raise CalibrationError(f"{path}: no table with a camera's matrix")
    return cameras


def _of_folder(folder: Path) -> list[CalibratedCamera]:
    """EasyMocap's two files, or OpenCV's of one camera each, named after it."""
    both = [folder / "intri.yml", folder / "extri.yml"]
    if all(file.is_file() for file in both):
        inside, outside = (_storage(file) for file in both)
        names = outside.getNode("names")
        listed = [names.at(i).string() for i in range(names.size())]
        return [
            camera_of(str(folder), name, {
                "matrix": _matrix(inside, f"K_{name}"), "distortion": _matrix(inside, f"dist_{name}"),
                "rotation": _matrix(outside, f"Rot_{name}", f"R_{name}"), "translation": _matrix(outside, f"T_{name}"),
            })
            for name in listed
        ]  # fmt: skip
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".yml", ".yaml", ".xml", ".json"))
    if not files:
        raise CalibrationError(f"{folder}: neither intri.yml and extri.yml nor one OpenCV file per camera in it")
    return [_of_storage(file) for file in files]


def _of_storage(file: Path) -> CalibratedCamera:
    storage = _storage(file)
    width, height = (_number(storage, name) for name in ("image_width", "image_height"))
    row = {
        "matrix": _matrix(storage, "camera_matrix", "cameraMatrix", "K", "M"),
        "distortion": _matrix(storage, "distortion_coefficients", "distCoeffs", "dist_coeffs", "D"),
        "rotation": _matrix(storage, "rotation", "R", "rotation_vector", "rvec"),
        "translation": _matrix(storage, "translation", "T", "translation_vector", "tvec", "t"),
        "size": (width, height) if width and height else None,
    }
    return camera_of(str(file), file.stem, row)


def _storage(file: Path) -> cv2.FileStorage:
    _check_nesting(file, read_text(file, limit=LARGEST_FILE))
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
    if not storage.isOpened():
        raise CalibrationError(f"{file}: not a file that OpenCV's FileStorage can read")
    return storage


def _check_nesting(file: Path, text: str) -> None:
    """OpenCV's parsers recurse, and end the process where a file nests some 100,000 levels. No file nests deeper than
    it has marks that can open a level. Raises CalibrationError."""
    if sum(text.count(mark) for mark in ("[", "{", "<", ":", "- ")) > MOST_LEVELS:
        raise CalibrationError(f"{file}: more than {MOST_LEVELS} brackets, tags and keys, as no calibration has")


def _matrix(storage: cv2.FileStorage, *names: str) -> np.ndarray | None:
    """The first of some matrices that is there. A number that is missing is refused by camera_of."""
    for name in names:
        node = storage.getNode(name)
        if not node.empty():
            return node.mat()
    return None


def _number(storage: cv2.FileStorage, name: str) -> float:
    node = storage.getNode(name)
    return 0.0 if node.empty() else node.real()
