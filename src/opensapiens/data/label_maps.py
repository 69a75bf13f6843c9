"""Reads label maps from untrusted files: class ids, depth, normals, masks, points, alpha, albedo; PNG, NPY, NPZ, EXR.

No code in them is run, and sizes are checked before anything is decoded.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image

from opensapiens.labels.parts import IGNORED, PartSet
from opensapiens.storage.files import check_regular_file, read_regular_file
from opensapiens.storage.pictures import MAX_PIXELS, ImageError, open_image, opencv_picture

ENDINGS = (".png", ".npy", ".npz", ".exr")
MAX_BYTES = 12 * MAX_PIXELS  # of an array: normals as float32


def read_parts(path: Path | str, part_set: PartSet) -> np.ndarray:
    """A label map as class ids (H, W) uint8; 255 = ignore.

    Ids are the indices of an indexed PNG, the values of a gray one or an array, or given by the set's colors in a color
    PNG. Raises ImageError for an id or a color that the set does not have.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        return _checked_ids(_one_channel(read_array(path), path), part_set, path)
    picture = _png(path)
    if picture.mode == "P":  # indices, whatever the palette
        return _checked_ids(np.array(picture), part_set, path)
    if picture.mode == "LA":
        picture = picture.getchannel("L")
    if picture.mode in ("RGB", "RGBA"):
        return _classes_of_colors(np.array(picture.convert("RGB")), part_set, path)
    return _checked_ids(np.array(picture.convert("L") if picture.mode == "1" else picture), part_set, path)


def _checked_ids(ids: np.ndarray, part_set: PartSet, path: Path) -> np.ndarray:
    wrong = np.unique(ids[(ids != IGNORED) & ((ids < 0) | (ids >= len(part_set)))])
    if len(wrong):
        ids_text = ", ".join(f"{value:g}" for value in wrong[:5])
        raise ImageError(
            f"{path}: holds the class {ids_text}; {part_set.name} has 0 to {len(part_set) - 1}, 255 = ignore"
        )
    if not np.array_equal(ids, ids.astype(np.uint8)):
        raise ImageError(f"{path}: holds classes that are no whole numbers")
    return ids.astype(np.uint8)


def _classes_of_colors(picture: np.ndarray, part_set: PartSet, path: Path) -> np.ndarray:
    codes = picture.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    palette = part_set.colors.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    order = np.argsort(palette)
    if (np.diff(palette[order]) == 0).any():
        raise ImageError(f"{path}: a picture in color, but two classes of {part_set.name} have the same color")
    place = np.searchsorted(palette[order], codes).clip(max=len(palette) - 1)
    classes = order[place]
    unknown = palette[classes] != codes
    if unknown.any():
        color = f"#{int(codes[unknown][0]):06x}"
        raise ImageError(f"{path}: {unknown.sum()} pixels are of no color of {part_set.name}, the first of {color}")
    return classes.astype(np.uint8)


def read_mask(path: Path | str) -> np.ndarray:
    """(H, W) bool: the first channel is above 0, as in the published data."""
    array = read_array(Path(path))
    return (array if array.ndim == 2 else array[..., 0]) > 0


def read_depth(path: Path | str, scale: float = 1.0) -> np.ndarray:
    """Depth (H, W) float32, small = near, in the file's unit times `scale`; NaN for 0, NaN or infinity.

    PNG of 8 or 16 bits (scale 0.001 for millimeters), NPY, NPZ, or EXR (its channel Z or V, else the first).
    """
    depth = _one_channel(read_array(Path(path)), Path(path)).astype(np.float32)
    depth *= np.float32(scale)
    depth[~np.isfinite(depth) | (depth == 0)] = np.nan
    return depth


def read_normals(path: Path | str) -> np.ndarray:
    """Unit normals (H, W, 3) float32, +x right, +y up, +z towards the camera; NaN for 0 or NaN.

    PNG of 8 or 16 bits holds (n + 1) / 2 of the full range, as RGB; NPY, NPZ and EXR hold n itself.
    """
    array = read_array(Path(path))
    if array.ndim != 3 or array.shape[2] < 3:
        raise ImageError(f"{path}: normals need three channels, it has the shape {array.shape}")
    array = array[..., :3]
    if np.issubdtype(array.dtype, np.integer):
        known = array.any(axis=-1)
        vectors = array.astype(np.float32) * np.float32(2 / np.iinfo(array.dtype).max) - 1
    else:
        vectors = array.astype(np.float32)
        known = np.isfinite(vectors).all(axis=-1) & vectors.any(axis=-1)
    vectors[~known] = np.nan
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)  # squares of float32 overflow
    return (vectors / lengths).astype(np.float32)


def read_points(path: Path | str) -> np.ndarray:
    """Points (H, W, 3) float32 in meters, x right, y down, z forward; NaN where z is not above 0. NPY, NPZ or EXR."""
    path = Path(path)
    array = read_array(path)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != "f":
        raise ImageError(f"{path}: points need three channels of meters, it has {array.dtype} of shape {array.shape}")
    return known_points(array.astype(np.float32))


def known_points(points: np.ndarray) -> np.ndarray:
    """Points (H, W, 3), NaN where they are not finite or z is not above 0."""
    known = np.isfinite(points).all(axis=-1) & (points[..., 2] > 0)
    return np.where(known[..., None], points, np.float32(np.nan))


def read_alpha(path: Path | str) -> np.ndarray:
    """How much of each pixel is the person, (H, W) float32 from 0 to 1: the last channel of a picture, of the full
    range where it is whole numbers."""
    array = read_array(Path(path))
    return _shares(array if array.ndim == 2 else array[..., -1]).clip(0, 1)


def read_albedo(path: Path | str) -> np.ndarray:
    """Albedo (H, W, 3) float32 RGB from 0 to 1, of the full range where it is whole numbers; NaN where it is NaN."""
    path = Path(path)
    array = read_array(path)
    if array.ndim != 3 or array.shape[2] < 3:
        raise ImageError(f"{path}: albedo needs three channels, it has the shape {array.shape}")
    return _shares(array[..., :3])


def _shares(values: np.ndarray) -> np.ndarray:
    shares = values.astype(np.float32)
    return shares / np.float32(np.iinfo(values.dtype).max) if values.dtype.kind in "ui" else shares


def read_array(path: Path) -> np.ndarray:
    """The numbers of a PNG (RGB), NPY, NPZ (one array, or the one named "depth", "normal" or "data") or EXR file.

    (H, W) or (H, W, C). Raises ImageError for a file that is missing, damaged, too large, of another kind or shape, or
    that holds Python objects.
    """
    readers = {".png": _read_png, ".npy": _read_npy, ".npz": _read_npz, ".exr": _read_exr}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ImageError(f"{path}: not one of {', '.join(ENDINGS)}")
    try:
        check_regular_file(path, MAX_BYTES)
        array = readers[suffix](path)
    except (ImageError, ModuleNotFoundError):
        raise
    except MemoryError as error:
        raise ImageError(f"{path}: there is not enough memory for it") from error
    except Exception as error:  # readers raise many kinds on damaged files
        raise ImageError(f"{path}: cannot be read ({error or type(error).__name__})") from error
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind not in "uifb":
        raise ImageError(f"{path}: not a map of numbers, but {array.dtype} of shape {array.shape}")
    return array.astype(np.uint8) if array.dtype == bool else array


def _one_channel(array: np.ndarray, path: Path) -> np.ndarray:
    if array.ndim == 3 and array.shape[2] != 1:
        raise ImageError(f"{path}: {array.shape[2]} channels where one was expected")
    return array.reshape(array.shape[:2])


def _png(path: Path) -> Image.Image:
    try:
        picture = open_image(read_regular_file(path, MAX_BYTES), str(path), ("PNG",))
        picture.load()
        return picture
    except ImageError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds on malformed files
        raise ImageError(f"{path}: not a whole PNG ({error or type(error).__name__})") from error


def _read_png(path: Path) -> np.ndarray:
    picture = _png(path)
    if picture.mode in ("L", "1", "P"):
        return np.array(picture)
    # Pillow reduces 16-bit color to 8 bits; OpenCV does not.
    return opencv_picture(path.read_bytes(), cv2.IMREAD_UNCHANGED, str(path))


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return _checked_npy(file, path)


def _checked_npy(file: BinaryIO, path: Path | str) -> np.ndarray:
    """Checks the header before it reads the content."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ImageError(f"{path}: holds Python objects, which are not read")
    if len(shape) not in (2, 3) or dtype.kind not in "uifb":
        raise ImageError(f"{path}: not a map of numbers, but {dtype} of shape {shape}")
    if shape[0] * shape[1] > MAX_PIXELS or math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise ImageError(f"{path}: an array of {shape} is too large; the limit is {MAX_PIXELS} pixels")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def npz_array(data: bytes, name: str) -> np.ndarray:
    """The array of an NPZ file, as `read_array` reads it; `name` stands in messages. Raises ImageError."""
    try:
        return _array_of_npz(io.BytesIO(data), name)
    except ImageError:
        raise
    except Exception as error:  # readers raise many kinds on damaged files
        raise ImageError(f"{name}: cannot be read ({error or type(error).__name__})") from error


def _read_npz(path: Path) -> np.ndarray:
    return _array_of_npz(path, path)


def _array_of_npz(file: Path | BinaryIO, path: Path | str) -> np.ndarray:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        known = [f"{name}.npy" for name in ("depth", "normal", "normals", "data") if f"{name}.npy" in names]
        if len(names) != 1 and len(known) != 1:
            raise ImageError(f"{path}: holds {len(names)} arrays, none or several named depth, normal or data")
        name = names[0] if len(names) == 1 else known[0]
        with archive.open(name) as member:
            return _checked_npy(member, path)  # type: ignore[arg-type]


def _read_exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("EXR files need OpenEXR: pip install opensapiens[exr]", name="OpenEXR") from error
    try:
        # Not OpenCV: its wheels contain OpenEXR 2.3 of 2018, which only an environment variable enables.
        with OpenEXR.File(str(path), header_only=True) as file:
            header = file.header()
            low, high = header["dataWindow"]
            pixels = int(high[0] - low[0] + 1) * int(high[1] - low[1] + 1)
            if pixels > MAX_PIXELS or 4 * pixels * len(header["channels"]) > MAX_BYTES:
                raise ImageError(f"{path}: more than {MAX_PIXELS} pixels, or many channels")
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels: dict[str, Any] = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, ValueError) as error:  # the library raises either on damaged files
        raise error if isinstance(error, ImageError) else ImageError(f"{path}: cannot be read ({error})") from error
    for names in (("R", "G", "B"), ("X", "Y", "Z"), ("x", "y", "z"), ("Z",), ("V",), ("Y",)):
        if all(name in channels for name in names):
            return np.stack([channels[name] for name in names], axis=-1)
    return next(iter(channels.values()))
