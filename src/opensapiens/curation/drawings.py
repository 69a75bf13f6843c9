"""Drawings, told apart from photos by the fine structure of the pixels alone."""

from __future__ import annotations

import cv2
import numpy as np

from opensapiens.curation.picture import Picture, shrink
from opensapiens.curation.stage import Stage, one_by_one

SIDE = 512  # pixels: the scale of the structure must be the same for all images


def image_features(image: np.ndarray) -> np.ndarray:
    """(9,) float64 of an H×W×3 uint8 image: share of flat pixels; share of pixels on strong edges; noise; entropy of
    colors; colors needed for 90 % of the pixels; mean saturation; share of pixels without any slope; noise of the
    smoothest quarter of the image; the slope that a quarter of the pixels exceed. All scaled to about 0 to 1."""
    small = shrink(image, SIDE)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    spread = (cv2.dilate(small, square).astype(np.int16) - cv2.erode(small, square)).max(-1)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # blind to edges and slopes (Immerkær 1996)
    ripple = np.abs(cv2.filter2D(gray, -1, kernel))
    # A camera leaves noise everywhere; what was drawn or computed has places without any.
    calmest = np.percentile(cv2.blur(ripple, (8, 8))[4::8, 4::8], 25) if min(gray.shape) > 8 else ripple.mean()
    slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)) / 4
    saturation = (small.max(-1).astype(np.float32) - small.min(-1)) / np.maximum(small.max(-1), 1)
    entropy, needed = _colors(small)
    return np.array(
        [
            float((spread <= 4).mean()),
            float((spread >= 64).mean()),
            float(np.log1p(np.median(ripple))) / 4,
            entropy,
            needed,
            float(saturation.mean()),
            float((slope < 0.5).mean()),
            float(np.log1p(calmest)) / 4,
            float(np.log1p(np.percentile(slope, 75))) / 5,
        ]
    )


def _colors(image: np.ndarray) -> tuple[float, float]:
    """Entropy of the colors, and the logarithm of how many cover 90 % of the pixels, both by 15 bits."""
    colors = (image >> 3).astype(np.int32)
    counts = np.bincount((colors[..., 0] << 10 | colors[..., 1] << 5 | colors[..., 2]).ravel(), minlength=1 << 15)
    shares = np.sort(counts[counts > 0])[::-1] / counts.sum()
    needed = int(np.searchsorted(np.cumsum(shares), 0.9)) + 1
    return float(-(shares * np.log2(shares)).sum()) / 15, float(np.log2(needed)) / 15


# Rows: photo, drawing, rendering; columns: the features and a constant. Fitted by benchmarks/curation_accuracy.py.
WEIGHTS = np.array(
    [
        [-0.41, -0.49, -2.63, 0.97, 0.57, -2.18, -5.93, -1.96, 2.76, 1.49],
        [-1.02, 2.47, 2.86, -2.94, -0.76, 1.12, 6.52, -0.26, -0.43, -0.88],
        [1.43, -1.98, -0.23, 1.97, 0.19, 1.06, -0.6, 2.23, -2.33, -0.61],
    ]
)


def drawing_probability(picture: Picture) -> float:
    """The probability that the image is a drawing, painting or chart, by a small linear classifier."""
    logits = WEIGHTS @ np.append(image_features(picture.image), 1.0)
    powers = np.exp(logits - logits.max())
    return float(powers[1] / powers.sum())


DRAWING = Stage(
    "drawing",
    "1",
    {"drawing": "float32"},
    lambda: one_by_one(lambda picture: {"drawing": drawing_probability(picture)}),
)
