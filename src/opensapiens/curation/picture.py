"""What a curation stage sees of an image, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from opensapiens.storage.pictures import open_image, read_image

Scores = dict[str, str | int | float | list[float]]
"""A stage's columns for one image."""
WORKING_SIDE = 1024  # the longer side of the copy that model stages see; the cheap ones see the whole picture


@dataclass(frozen=True, eq=False)
class Picture:
    """One image that could be decoded.

    image: H×W×3 uint8 RGB, upright; `working_copy` makes it smaller. size: height and width of the original, upright.
    data: the bytes of the file, empty in a working copy. format: as Pillow names it. frames: more than one if animated.
    """

    image: np.ndarray
    size: tuple[int, int]
    data: bytes = b""
    format: str = ""
    frames: int = 1

    @property
    def scale(self) -> float:
        """Pixels of the original per pixel of `image`."""
        return self.size[0] / self.image.shape[0]


def decode(data: bytes) -> Picture:
    """The picture in the bytes of a file. Raises ImageError."""
    image = read_image(data)
    with open_image(data, "the image data") as header:
        try:
            frames = int(getattr(header, "n_frames", 1))
        except Exception:  # of damaged pages behind the first, which is all that is used
            frames = 1
        return Picture(image, image.shape[:2], data, header.format or "", frames)


def working_copy(picture: Picture) -> Picture:
    """The picture with a longer side of at most WORKING_SIDE pixels and without the file's bytes."""
    image = shrink(picture.image, WORKING_SIDE)
    return Picture(image, picture.size, b"", picture.format, picture.frames)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """An image whose longer side is at most `side` pixels; one that is small enough stays as it is."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
