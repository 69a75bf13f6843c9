"""`exr`: depth and normals as half floats in one OpenEXR file, for compositing.

Channels: Z, depth as `NAME_depth.npz` has it; N.X, N.Y, N.Z, normals (+x right, +y up, +z towards the camera); A, 1
where there is either, else 0. Outside the people all are 0, since filters spread what is not a number. Nuke shows Z as
depth.Z, A as alpha and the normals as layer N; Blender as passes Depth and N.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from opensapiens.inference.formats.format import Files, Format, Frame, Photo, missing_library
from opensapiens.inference.results import Result
from opensapiens.storage.files import written
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import PointmapTask

FOLDER = "exr"
LARGEST_HALF = float(np.finfo(np.float16).max)


def exr_library() -> ModuleType:
    """OpenEXR. Raises ModuleNotFoundError that says how to install it."""
    try:
        import OpenEXR
    except ModuleNotFoundError as error:
        raise missing_library("OpenEXR", "EXR files", error) from error
    return OpenEXR


def save_exr(path: Path, channels: dict[str, np.ndarray]) -> None:
    """Channels (H, W), by name, as half floats without loss beyond that (ZIP). Raises ModuleNotFoundError, OSError."""
    library = exr_library()
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    pixels = {name: np.ascontiguousarray(_halved(values)) for name, values in channels.items()}
    with written(path) as temporary:
        library.File(header, pixels).write(str(temporary))


def _halved(values: np.ndarray) -> np.ndarray:
    return values.clip(-LARGEST_HALF, LARGEST_HALF).astype(np.float16)


def channels_of(result: Result) -> dict[str, np.ndarray]:
    """The channels of a result's depth and normals, (H, W) float32 each."""
    channels: dict[str, np.ndarray] = {}
    anything = np.zeros(result.image.shape[:2], bool)
    if result.depth is not None:
        anything |= np.isfinite(result.depth.values)
        channels["Z"] = np.nan_to_num(result.depth.values, posinf=LARGEST_HALF, neginf=-LARGEST_HALF)
    if result.normals is not None:
        normals = result.normals.values
        known = np.isfinite(normals).all(axis=-1)
        anything |= known
        channels |= {f"N.{axis}": np.where(known, normals[..., k], 0) for k, axis in enumerate("XYZ")}
    return channels | {"A": anything.astype(np.float32)}


def _of_photo(photo: Photo) -> Files:
    return {"maps.exr": partial(save_exr, channels=channels_of(photo.result))}


def _of_frame(frame: Frame) -> Files:
    return {f"{frame.number:06d}.exr": partial(save_exr, channels=channels_of(frame.result))}


EXR = Format(
    _of_photo,
    _of_frame,
    folder=FOLDER,
    inside=r"\d{6}\.exr",
    needs=(DepthTask.name, NormalsTask.name, PointmapTask.name),
    endings=("maps.exr",),
    library=exr_library,
)
