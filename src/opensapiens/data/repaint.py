"""Clothes painted anew with pieces of photos.

A generator draws cloth from a few formulas; a network that has seen only those takes them for what makes a person.
Shading stays, so that folds and roundness do.
"""

from collections.abc import Callable

import cv2
import numpy as np

from opensapiens.geometry.boxes import box_of_mask
from opensapiens.labels.parts import SAPIENS_28

GARMENTS = tuple(
    tuple(SAPIENS_28.names.index(name) for name in names)
    for names in (
        ("Upper_Clothing",),
        ("Lower_Clothing",),
        ("Apparel",),
        ("Left_Shoe", "Right_Shoe", "Left_Sock", "Right_Sock"),
    )
)
LEAST_PIXELS = 40
SHADING = (0.35, 2.2)  # brightness over the garment's mean, at most
Windows = Callable[[tuple[int, int]], np.ndarray]
"""From (height, width) to a piece of a photo of that size, (height, width, 3) uint8."""


def repaint_clothes(
    rng: np.random.Generator, image: np.ndarray, owners: np.ndarray, parts: np.ndarray, window: Windows, chance: float
) -> np.ndarray:
    """A copy of the image (H, W, 3) in which each garment of each person is painted anew with the given chance.

    owners: (H, W), 0 = nobody. parts: (H, W), ids of `SAPIENS_28`.
    """
    painted = image.copy()
    for owner in np.unique(owners[owners > 0]):
        for garment in GARMENTS:
            if rng.random() >= chance:
                continue
            mask = (owners == owner) & np.isin(parts, garment)
            box = box_of_mask(mask)
            if box is None or mask.sum() < LEAST_PIXELS:
                continue
            x1, y1, x2, y2 = box.astype(int)
            inside, pixels = mask[y1:y2, x1:x2], image[y1:y2, x1:x2]
            light = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
            shading = np.clip((light + 4) / (light[inside].mean() + 4), *SHADING)
            cloth = window((y2 - y1, x2 - x1)).astype(np.float32)
            gain = rng.uniform(60, 200) / (cloth[inside].mean() + 10)  # photos are darker or lighter than clothes
            cloth = cloth * np.clip(gain, 0.5, 2.0) * shading[..., None]
            painted[y1:y2, x1:x2][inside] = np.clip(cloth, 0, 255).astype(np.uint8)[inside]
    return painted
