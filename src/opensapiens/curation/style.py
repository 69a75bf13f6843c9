"""Photo, drawing or rendering, told by the pixels' small structure alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np

from opensapiens.curation.picture import Picture, shrink
from opensapiens.curation.stages import Scores

SIDE = 512  # pixels: the structure is looked at in one size


class Style:
    """A small linear classifier of how flat, how noisy and how many-coloured an image is."""

    name, version, full_size, gpu = "style", "1", False, False
    columns: ClassVar = {"photo": "float32", "drawing": "float32", "render": "float32"}

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """Three probabilities that add up to 1."""
        return [_scores(style_features(picture.image)) for picture in pictures]


def style_features(image: np.ndarray) -> np.ndarray:
    """(6,) float64 of an H×W×3 uint8 image: share of flat pixels; share of pixels on strong edges; noise; entropy of
    colours; colours needed for 90 % of the pixels; mean saturation. All scaled to about 0 to 1."""
    small = shrink(image, SIDE)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    square = np.ones((3, 3), np.uint8)
    spread = cv2.dilate(small, square).astype(np.int16) - cv2.erode(small, square)
    spread = spread.max(-1)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # blind to edges and slopes (Immerkær 1996)
    ripple = np.abs(cv2.filter2D(grey.astype(np.float32), -1, kernel))
    colors = (small >> 3).astype(np.int32)
    counts = np.bincount((colors[..., 0] << 10 | colors[..., 1] << 5 | colors[..., 2]).ravel(), minlength=1 << 15)
    shares = np.sort(counts[counts > 0])[::-1] / grey.size
    needed = int(np.searchsorted(np.cumsum(shares), 0.9)) + 1
    saturation = (small.max(-1).astype(np.float32) - small.min(-1)) / np.maximum(small.max(-1), 1)
    return np.array(
        [
            float((spread <= 4).mean()),
            float((spread >= 64).mean()),
            float(np.log1p(np.median(ripple))) / 4,
            float(-(shares * np.log2(shares)).sum()) / 15,
            float(np.log2(needed)) / 15,
            float(saturation.mean()),
        ]
    )


# Rows: photo, drawing, render; columns: the features and a constant. Fitted by benchmarks/curation_accuracy.py.
WEIGHTS = np.array(
    [
        [-1.55, -1.13, 0.22, 0.86, -1.01, -0.09, 1.08],
        [1.38, 4.08, -1.15, -4.10, -0.48, 1.26, 0.46],
        [0.17, -2.95, 0.93, 3.24, 1.48, -1.17, -1.55],
    ]
)


def _scores(features: np.ndarray) -> Scores:
    logits = WEIGHTS @ np.append(features, 1.0)
    powers = np.exp(logits - logits.max())
    photo, drawing, render = powers / powers.sum()
    return {"photo": float(photo), "drawing": float(drawing), "render": float(render)}
