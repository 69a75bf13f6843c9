"""Pictures and arrays as files; each appears under its name when it is complete."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from opensapiens.storage.files import write_bytes, written

PNG_LEVEL = 3  # of 9: half the time of the usual 6, files a tenth larger


def save_picture(path: Path, picture: Image.Image, **options: int) -> None:
    """A picture in the format of the ending. options: as Pillow's save takes them. Raises OSError."""
    with written(path) as temporary:
        picture.save(temporary, Image.registered_extensions()[path.suffix], **options)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """A compressed NPZ file. Raises OSError."""
    with written(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes a name for allow_pickle


def npz(**arrays: np.ndarray) -> Callable[[Path], None]:
    """A function that writes the arrays, under their names, as a compressed NPZ file."""
    return lambda path: save_arrays(path, **arrays)


def save_rgb_16_bits(path: Path, values: np.ndarray) -> None:
    """H×W×3 uint16 RGB as a PNG, which Pillow cannot write. Raises OSError."""
    encoded, data = cv2.imencode(".png", values[..., ::-1])
    if not encoded:
        raise OSError(f"{path}: could not be encoded as PNG")
    write_bytes(path, data.tobytes())
