"""Reading pictures that nobody vouches for: each becomes upright 8-bit RGB, or an error that says what is wrong."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 200_000_000  # of a decoded picture; a "decompression bomb" is a small file that claims more
TRANSPARENT_COLOR = (255, 255, 255)  # what shows through transparent pixels; browsers and viewers show pages as white

ImageSource = str | Path | bytes | Image.Image | np.ndarray


class ImageError(ValueError):
    """A picture that cannot be used; the message says which and why."""


def read_image(source: ImageSource) -> np.ndarray:
    """Any picture as an (H, W, 3) uint8 RGB array.

    `source`: a path, the bytes of a file, a PIL image, or an array ((H, W), (H, W, 1), (H, W, 3) or (H, W, 4); uint8,
    or uint16 which is scaled to 8 bits). The kind of file is told by its content, not its name. EXIF rotation is
    applied; CMYK and palettes are converted; 16-bit grey is scaled by 65535 -> 255; transparent pixels are laid over
    white; of an animation the first frame is taken. Raises ImageError for a file that is missing, empty, truncated,
    no picture, or larger than MAX_PIXELS.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the PIL image")
    if isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), "the image data"
    else:
        name = str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ImageError(f"{name}: cannot be read ({error.strerror or error})") from error
    if not data:
        raise ImageError(f"{name}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is MAX_PIXELS
            image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in a format that can be read") from error
    except Exception as error:  # Pillow's readers raise many kinds on malformed headers
        raise ImageError(f"{name}: cannot be decoded ({error})") from error
    return _from_pil(image, name)


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width}x{height} pixels are more than the limit of {MAX_PIXELS}")
    if width == 0 or height == 0:
        raise ImageError(f"{name}: the picture has no pixels")
    try:
        if getattr(image, "is_animated", False):
            image.seek(0)
        image.load()  # decodes here, so that a truncated file fails here
        upright = ImageOps.exif_transpose(image)
        return _to_rgb(upright)
    except Exception as error:  # as above
        raise ImageError(f"{name}: truncated or damaged ({error})") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey comes as "I;16..." or, from some readers, as "I"
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not numbers")
        limit = 255.0 if image.mode == "F" and values.max(initial=0) <= 255 else 65535.0
        grey = np.rint(values.clip(0, limit) * (255.0 / limit)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (*TRANSPARENT_COLOR, 255))
        image = Image.alpha_composite(paper, layer)
    return np.array(image.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"an image array must be uint8 (or uint16), this one is {array.dtype}")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise ImageError(f"an image array must be (H, W), (H, W, 3) or (H, W, 4), not empty; this one is {array.shape}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(f"{array.shape[1]}x{array.shape[0]} pixels are more than the limit of {MAX_PIXELS}")
    if array.dtype == np.uint16:
        array = np.rint(array * (255.0 / 65535.0)).astype(np.uint8)
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=-1)
    if array.shape[-1] == 4:
        return np.array(_to_rgb(Image.fromarray(np.ascontiguousarray(array), "RGBA")))
    return np.ascontiguousarray(array)
