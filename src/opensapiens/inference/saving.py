"""Overlays as JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from opensapiens.tasks.saving import save_picture

JPEG_SIDE = 65_500  # libjpeg's limit


def save_overlay(path: Path, picture: np.ndarray) -> None:
    """JPEG of H×W×3 uint8 RGB, scaled down if a side is longer than the format allows."""
    image = Image.fromarray(picture)
    image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    save_picture(path, image, quality=92)
