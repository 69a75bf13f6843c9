"""The published color distortion: brightness, contrast, saturation, hue, in one of two orders."""

import cv2
import numpy as np

BRIGHTNESS = 32  # largest offset, of 255
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 18  # largest turn, of OpenCV's 180


def distort_colors(image: np.ndarray, generator: np.random.Generator, chance: float = 0.5) -> np.ndarray:
    """Each of the four changes of an (H, W, 3) uint8 RGB image with probability `chance`; contrast first or last.

    As in the published training of parts, depth and normals, truncated to bytes after each step. (The published pose
    training has bugs here: contrast is applied twice or never, and a hue beyond 180 is not wrapped.)
    """
    contrast_first = generator.random() < 0.5
    if generator.random() < chance:
        image = _scaled(image, 1.0, generator.uniform(-BRIGHTNESS, BRIGHTNESS))
    if contrast_first and generator.random() < chance:
        image = _scaled(image, generator.uniform(*CONTRAST), 0.0)
    if generator.random() < chance:
        image = _in_hsv(image, 0, float(generator.uniform(*SATURATION)))
    if generator.random() < chance:
        image = _in_hsv(image, int(generator.integers(-HUE, HUE)), 1.0)
    if not contrast_first and generator.random() < chance:
        image = _scaled(image, generator.uniform(*CONTRAST), 0.0)
    return image


def _scaled(image: np.ndarray, factor: float, offset: float) -> np.ndarray:
    return (image.astype(np.float32) * np.float32(factor) + np.float32(offset)).clip(0, 255).astype(np.uint8)


def _in_hsv(image: np.ndarray, turn: int, saturation: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + turn) % 180
    hsv[..., 1] = _scaled(hsv[..., 1], saturation, 0.0)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
