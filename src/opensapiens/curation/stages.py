"""The stages of scoring, and those that need no more than the pixels. What to keep is decided later."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from opensapiens.curation.drawings import DRAWING
from opensapiens.curation.people import embedding_stage, person_stage
from opensapiens.curation.picture import Picture, Scores, shrink
from opensapiens.curation.stage import Stage, one_by_one
from opensapiens.curation.text import TEXT
from opensapiens.inference.options import AUTO


def file_facts(picture: Picture) -> Scores:
    """Facts from decoding. sha256 in hexadecimal; aspect: longer over shorter side, from 1; frames: more than 1 in an
    animation."""
    return {
        "sha256": hashlib.sha256(picture.data).hexdigest(),
        "bytes": len(picture.data),
        "format": picture.format,
        "height": picture.size[0],
        "width": picture.size[1],
        "min_side": min(picture.size),
        "aspect": max(picture.size) / min(picture.size),
        "frames": picture.frames,
    }


FILE = Stage(
    "file",
    "1",
    {
        "sha256": "string",
        "bytes": "int64",
        "format": "string",
        "height": "int32",
        "width": "int32",
        "min_side": "int32",
        "aspect": "float32",
        "frames": "int32",
    },
    lambda: one_by_one(file_facts),
    full_size=True,
)


def perceptual_hash(picture: Picture) -> int:
    """64 bits that hardly change when an image is scaled or compressed again: the DCT hash of the library imagehash."""
    import imagehash
    from PIL import Image

    return int(str(imagehash.phash(Image.fromarray(picture.image))), 16)


PERCEPTUAL_HASH = Stage(
    "perceptual_hash", "1", {"phash": "uint64"}, lambda: one_by_one(lambda picture: {"phash": perceptual_hash(picture)})
)


def quality(picture: Picture) -> Scores:
    """All from 0 to 1. blur: see `blur`; brightness: mean of gray; contrast: its standard deviation over the largest
    possible one; clipped: share of pixels at either end of the scale; chroma: the difference between the largest and
    the smallest channel that 1 % of the pixels exceed, near 0 for grayscale."""
    small = shrink(picture.image, 512)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    spread = small.max(-1).astype(np.int16) - small.min(-1)
    return {
        "blur": blur(cv2.cvtColor(shrink(picture.image, 2048), cv2.COLOR_RGB2GRAY)),
        "brightness": float(gray.mean()) / 255,
        "contrast": float(gray.std()) / 127.5,
        "clipped": float(((gray <= 2) | (gray >= 253)).mean()),
        "chroma": float(np.percentile(spread, 99)) / 255,
    }


def blur(gray: np.ndarray, window: int = 11) -> float:
    """0 (sharp) to 1 (blurred) for H×W uint8: how little of the image's variation a second blur removes.

    The perceptual blur metric of Crété et al., "The blur effect" (2007): blurring evens out the neighboring pixels of a
    sharp image, and hardly changes those of a blurred one. The larger value of the two directions.
    """
    values = gray.astype(np.float32)
    worst = 0.0
    for axis, size in ((0, (1, window)), (1, (window, 1))):  # cv2 gives sizes as (width, height)
        if gray.shape[axis] < 2:
            continue
        blurred = cv2.blur(values, size)
        variation = np.abs(np.diff(values, axis=axis))
        lost = np.maximum(variation - np.abs(np.diff(blurred, axis=axis)), 0)
        total = float(variation.sum())
        worst = max(worst, 1 - float(lost.sum()) / total if total > 0 else 1.0)
    return worst


QUALITY = Stage(
    "quality",
    "1",
    dict.fromkeys(("blur", "brightness", "contrast", "clipped", "chroma"), "float32"),
    lambda: one_by_one(quality),
    full_size=True,
)


def default_stages(detector: str = AUTO) -> list[Stage]:
    """All the stages of the package in order of cost. detector: as `person_stage` takes it."""
    return [FILE, PERCEPTUAL_HASH, QUALITY, DRAWING, embedding_stage(), person_stage(detector), TEXT]
