"""The stages of scoring: each turns a batch of pictures into scores, never into verdicts.

A stage is anything with these members; write your own for an unsafe-content or an aesthetic score and hand it to
`score(..., stages=[*default_stages(), YourStage()])`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import cv2
import numpy as np

from opensapiens.curation.picture import Picture, Scores, shrink


class Stage(Protocol):
    """One step of scoring; plain attributes will do for the properties.

    A stage may have a method `prepare()`, called once in each worker: loading a model belongs there, since stages
    travel between processes.
    """

    @property
    def name(self) -> str:
        """Stored with the manifest."""
        ...

    @property
    def version(self) -> str:
        """Stored with the manifest; raise it when the scores change."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """Column -> type: Arrow's name of it, with [] behind it for a list."""
        ...

    @property
    def full_size(self) -> bool:
        """Whether it must see every pixel; others get a working copy."""
        ...

    @property
    def gpu(self) -> bool:
        """Whether it gains from a GPU."""
        ...

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """One dictionary of scores per picture, with exactly the stage's columns. Pure: the same in, the same out."""
        ...


class FileFacts:
    """What is known once the file is decoded: size, shape, kind of file, and the hash of its bytes."""

    name, version, full_size, gpu = "file", "1", True, False
    columns: ClassVar = {
        "sha256": "string",
        "bytes": "int64",
        "format": "string",
        "height": "int32",
        "width": "int32",
        "min_side": "int32",
        "aspect": "float32",
        "frames": "int32",
    }

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """sha256 in hexadecimal; aspect: longer by shorter side, from 1; frames: more than 1 in an animation."""
        return [
            {
                "sha256": hashlib.sha256(picture.data).hexdigest(),
                "bytes": len(picture.data),
                "format": picture.format,
                "height": picture.size[0],
                "width": picture.size[1],
                "min_side": min(picture.size),
                "aspect": max(picture.size) / min(picture.size),
                "frames": picture.frames,
            }
            for picture in pictures
        ]


class PerceptualHash:
    """64 bits that hardly change when an image is scaled or compressed again: the DCT hash of the library imagehash."""

    name, version, full_size, gpu = "perceptual_hash", "1", False, False
    columns: ClassVar = {"phash": "uint64"}

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """The bits as one number, the first bit the highest."""
        import imagehash
        from PIL import Image

        hashes = [imagehash.phash(Image.fromarray(picture.image)) for picture in pictures]
        return [{"phash": int(str(value), 16)} for value in hashes]


class Quality:
    """How sharp, how exposed and how colourful an image is, from its pixels alone."""

    name, version, full_size, gpu = "quality", "1", True, False
    columns: ClassVar = {
        "blur": "float32",
        "brightness": "float32",
        "contrast": "float32",
        "clipped": "float32",
        "chroma": "float32",
    }

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """All from 0 to 1. blur: see `blur`; brightness: mean of grey; contrast: its standard deviation by the largest
        there can be; clipped: share of pixels at either end of the scale; chroma: the difference of the largest and the
        smallest channel that 1 % of the pixels exceed, near 0 for greyscale."""
        return [_quality(picture.image) for picture in pictures]


def _quality(image: np.ndarray) -> Scores:
    small = shrink(image, 512)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    spread = small.max(-1).astype(np.int16) - small.min(-1)
    return {
        "blur": blur(cv2.cvtColor(shrink(image, 2048), cv2.COLOR_RGB2GRAY)),
        "brightness": float(grey.mean()) / 255,
        "contrast": float(grey.std()) / 127.5,
        "clipped": float(((grey <= 2) | (grey >= 253)).mean()),
        "chroma": float(np.percentile(spread, 99)) / 255,
    }


def blur(grey: np.ndarray, window: int = 11) -> float:
    """0 (sharp) to 1 (blurred) for H×W uint8: how little of the image's variation a further blur takes away.

    The perceptual blur metric of Crété et al., "The blur effect" (2007): neighbouring pixels of a sharp image grow more
    alike when it is blurred again, those of a blurred one hardly do. The larger value of the two directions.
    """
    values = grey.astype(np.float32)
    worst = 0.0
    for axis, size in ((0, (1, window)), (1, (window, 1))):  # cv2 gives sizes as (width, height)
        if grey.shape[axis] < 2:
            continue
        again = cv2.blur(values, size)
        variation = np.abs(np.diff(values, axis=axis))
        lost = np.maximum(variation - np.abs(np.diff(again, axis=axis)), 0)
        total = float(variation.sum())
        worst = max(worst, 1 - float(lost.sum()) / total if total > 0 else 1.0)
    return worst


def default_stages(detector: str = "nano") -> list[Stage]:
    """All the stages of the package in order of cost. detector: as `PersonDetection` takes it."""
    from opensapiens.curation.drawings import DrawingScore
    from opensapiens.curation.people import Embedding, PersonDetection
    from opensapiens.curation.text import TextArea

    return [
        FileFacts(),
        PerceptualHash(),
        Quality(),
        DrawingScore(),
        Embedding(),
        PersonDetection(detector),
        TextArea(),
    ]
