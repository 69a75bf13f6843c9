"""What a masked autoencoder saw and what it made of it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from opensapiens.drawing.sheet import sheet

HIDDEN_GRAY = 40


class Reconstructed(Protocol):
    """What is drawn of a reconstruction: H×W×3 uint8 picture, H×W bool hidden pixels, share of hidden patches."""

    @property
    def image(self) -> np.ndarray:
        """Predicted where hidden."""

    @property
    def hidden(self) -> np.ndarray:
        """Which pixels were not shown."""

    @property
    def mask_ratio(self) -> float:
        """Share of the patches."""


def draw_reconstructions(
    images: Sequence[np.ndarray], reconstructions: Sequence[Sequence[Reconstructed]], height: int = 320
) -> np.ndarray:
    """A sheet with a row for each image: the image, then what was shown and what was made of it, once for each ratio.

    images: N pictures H×W×3 uint8. reconstructions: for each ratio N reconstructions, of the images in their order.
    """
    tiles, titles = [], []
    for number, image in enumerate(images):
        tiles.append(image)
        titles.append("image")
        for row in reconstructions:
            made = row[number]
            tiles += [np.where(made.hidden[..., None], np.uint8(HIDDEN_GRAY), image), made.image]
            titles += [f"{made.mask_ratio:.0%} hidden", "reconstruction"]
    return sheet(tiles, titles, height, columns=1 + 2 * len(reconstructions))
