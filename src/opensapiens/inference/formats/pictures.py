"""Pictures to look at: `overlay`, one per task, `sheet`, all of them on one, and `cutout`, the people alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from opensapiens.inference.formats.format import Files, Format, Photo
from opensapiens.inference.saving import save_overlay
from opensapiens.tasks.saving import PNG_LEVEL, save_picture
from opensapiens.tasks.segmentation import SegmentationTask


def _overlays(photo: Photo) -> Files:
    return {f"{task}.jpg": partial(save_overlay, picture=picture) for task, picture in photo.overlays.items()}


def _sheet(photo: Photo) -> Files:
    return {"sheet.jpg": lambda path: save_overlay(path, photo.result.sheet(photo.overlays))}


def _cutout(photo: Photo) -> Files:
    """The photo with the people's masks as its alpha channel; colors outside are kept (straight alpha)."""

    def write(path: Path) -> None:
        anybody = np.zeros(photo.result.image.shape[:2], bool)
        for person in photo.result.persons:
            anybody |= person.mask
        pixels = np.dstack([photo.result.image, anybody.astype(np.uint8) * 255])
        save_picture(path, Image.fromarray(pixels, "RGBA"), compress_level=PNG_LEVEL)

    return {"cutout.png": write}


OVERLAY = Format(_overlays, endings=("overlay.mp4",))
SHEET = Format(_sheet, endings=("sheet.jpg",))
CUTOUT = Format(_cutout, needs=(SegmentationTask.name,), endings=("cutout.png",))
