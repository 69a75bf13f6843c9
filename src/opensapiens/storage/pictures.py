"""Reads untrusted pictures as upright 8-bit RGB, or raises an error that says what is wrong."""

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from opensapiens.storage.files import read_regular_file

# Pillow detects formats by content; some of them start programs (EPS) or hold far more than a picture.
IMAGE_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
MAX_PIXELS = int(os.environ.get("OPENSAPIENS_MAX_PIXELS", 120_000_000))
"""Of a picture, against decompression bombs; phones take photos of 108 million pixels."""
MAX_FILE_BYTES = 5 * MAX_PIXELS  # more than four uncompressed bytes per pixel
MAX_ASPECT = 200  # longer over shorter side; the memory of drawings and crops grows with the longer side
PNG_START = b"\x89PNG\r\n\x1a\n"
TRANSPARENT_COLOR = (255, 255, 255)  # behind transparent pixels
BAND_PIXELS = 1 << 22  # converted at a time, so that a large picture is not in memory several times

ImageSource = str | Path | bytes | BinaryIO | Image.Image | np.ndarray
_TURNS = {3: (2, False), 2: (0, True), 4: (2, True), 8: (1, False), 6: (3, False), 5: (1, True), 7: (3, True)}
"""EXIF orientation -> quarter turns to the left, and whether the picture is mirrored first."""

if Image.MAX_IMAGE_PIXELS is not None:
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, MAX_PIXELS)  # Pillow refuses twice as many


class ImageError(ValueError):
    """A picture that cannot be used; the message says which and why."""


def read_image(source: ImageSource) -> np.ndarray:
    """Any picture as an (H, W, 3) uint8 RGB array.

    source: a path, the bytes of a file, a file open for reading bytes, a PIL image, or an array ((H, W), (H, W, 1),
    (H, W, 3) or (H, W, 4); uint8 or uint16). The format is detected by content, among IMAGE_FORMATS. EXIF rotation is
    applied; CMYK and palettes are converted; 16-bit gray is scaled by 65535 -> 255, floating-point gray by 1, 255 or
    65535 -> 255, depending on its values; transparent pixels are laid over white; animations and multi-page files give
    the first picture. Raises ImageError for a file that is missing, not regular, empty, truncated, not a picture, or
    beyond MAX_FILE_BYTES, MAX_PIXELS or MAX_ASPECT.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        _check_size(source.size, "the PIL image")
        return _decoded(source, "the PIL image")
    data, name = _content(source)
    with open_image(data, name) as image:
        return _decoded(image, name)


def opencv_picture(data: bytes, flags: int, name: str) -> np.ndarray:
    """A PNG or JPEG as OpenCV decodes it: 16-bit color stays 16-bit, and the channels are RGB or RGBA.

    Raises ImageError, also for a PNG with a chunk that is longer than the file: OpenCV would fill that memory first.
    """
    array = None
    if data and (not data.startswith(PNG_START) or _has_whole_chunks(data)):
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if array is None:
        raise ImageError(f"{name}: not an image that can be decoded")
    if array.ndim == 2:
        return array
    return cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA if array.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _has_whole_chunks(data: bytes) -> bool:
    start = len(PNG_START)
    while start < len(data):
        kind = data[start + 4 : start + 8]
        start += 12 + int.from_bytes(data[start : start + 4], "big")
        if kind == b"IEND":  # whatever follows is not read
            return start <= len(data)
    return False


def open_image(data: bytes, name: str, formats: tuple[str, ...] = IMAGE_FORMATS) -> Image.Image:
    """The picture in the bytes of a file, not decoded yet; `name` is for errors. Raises ImageError.

    All pictures in this package are opened here.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty; copy it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is MAX_PIXELS
            image = _open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        listed = ", ".join(formats)
        raise ImageError(f"{name}: not a picture in a format that can be read ({listed}); convert it to PNG") from error
    except Exception as error:  # Pillow's readers raise many kinds on malformed headers
        raise ImageError(f"{name}: cannot be decoded ({_said(error)}); copy it again") from error
    _check_size(image.size, name)
    return image


_open = Image.open  # the original, also within limited_formats
_opening = threading.Lock()


@contextmanager
def limited_formats() -> Iterator[list[str]]:
    """Limits Pillow to IMAGE_FORMATS within a `with` block, for libraries that open pictures themselves; yields a list
    of what was refused."""
    refused: list[str] = []

    def limited(file: BinaryIO) -> Image.Image:
        try:
            return open_image(file.read(), "a texture")
        except ImageError as error:
            refused.append(str(error))
            raise

    with _opening:
        Image.open = limited  # type: ignore[assignment]
        try:
            yield refused
        finally:
            Image.open = _open


def _content(source: str | Path | bytes | BinaryIO) -> tuple[bytes, str]:
    """The bytes of a file, and its name for errors."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "the image data"
    try:
        if isinstance(source, str | Path):
            return read_regular_file(source, MAX_FILE_BYTES), str(source)
        name = str(getattr(source, "name", "the image data"))
        data = source.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a closed file, a path with a zero byte
        raise ImageError(f"{source}: cannot be read ({_said(error)})") from error
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"{name}: more than the limit of {MAX_FILE_BYTES:,} bytes")
    return data, name


def _said(error: Exception) -> str:
    """An error's message, or its type."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the picture has no pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width}x{height} pixels are more than the limit of {MAX_PIXELS}; make it smaller, or set "
            "OPENSAPIENS_MAX_PIXELS"
        )
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(f"{name}: {width}x{height} pixels; a side may be {MAX_ASPECT} times the other, cut it")


def _decoded(image: Image.Image, name: str) -> np.ndarray:
    try:
        if image.tell() != 0:
            image.seek(0)
        image.load()  # decodes here, so that a truncated file fails here
        pixels = _rgb(image)
        turns, mirrored = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1), (0, False))
    except MemoryError as error:
        width, height = image.size
        raise ImageError(f"{name}: there is not enough memory for its {width}x{height} pixels") from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except Exception as error:  # as above
        raise ImageError(f"{name}: truncated or damaged ({_said(error)}); copy it again") from error
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, turns))


def _rgb(image: Image.Image) -> np.ndarray:
    """The pixels (H, W, 3) uint8, without EXIF rotation."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    white = _white_level(image)
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        below = min(top + rows, height)
        band = image if rows >= height else image.crop((0, top, width, below))
        pixels[top:below] = _band_rgb(band, white)
    return pixels


def _band_rgb(band: Image.Image, white: float | None) -> np.ndarray:
    """(H, W, 3) uint8, or (H, W, 1) for gray. white: the value of white, for more than 8 bits."""
    if white is not None:
        values = np.asarray(band).astype(np.float32 if white <= 255 else np.float64)[..., None]
        if not np.isfinite(values).all():
            raise ImageError("it holds values that are not numbers")
        return np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8)
    if band.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in band.info:
        layer = band.convert("RGBA")
        band = Image.alpha_composite(Image.new("RGBA", layer.size, (*TRANSPARENT_COLOR, 255)), layer)
    return np.asarray(band if band.mode == "RGB" else band.convert("RGB"))


def _white_level(image: Image.Image) -> float | None:
    """The value of white in a gray picture with more than 8 bits; None for other pictures.

    Floating point is usually up to 1, 255 or 65535, and slightly over after resampling. 16-bit gray has the mode
    "I;16..." or, from some readers, "I".
    """
    if image.mode.startswith("I;16"):
        return 65535.0
    if image.mode not in ("I", "F"):
        return None
    lowest, highest = image.getextrema()
    assert isinstance(lowest, int | float) and isinstance(highest, int | float)
    levels = [65535.0] if image.mode == "I" and image.format != "TIFF" else [255.0, 65535.0]
    if image.mode == "F":
        levels.insert(0, 1.0)
    white = next((level for level in levels if highest <= 1.5 * level), None)
    if white is None or lowest < -0.5 * white:
        raise ImageError(f"its values go from {lowest:g} to {highest:g}: save it with 8 or 16 bits, 0 for black")
    return white


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"an image array must be uint8 (or uint16), this one is {array.dtype}")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise ImageError(f"an image array must be (H, W), (H, W, 3) or (H, W, 4), not empty; this one is {array.shape}")
    _check_size((array.shape[1], array.shape[0]), "the image array")
    if array.dtype == np.uint16:
        array = np.rint(array * np.float32(255 / 65535)).astype(np.uint8)
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=-1)
    if array.shape[-1] == 4:
        return _rgb(Image.fromarray(np.ascontiguousarray(array), "RGBA"))
    return np.ascontiguousarray(array)
