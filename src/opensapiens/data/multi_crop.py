"""Several random crops of one picture, for self-distillation."""

from dataclasses import dataclass

import numpy as np

from opensapiens.data.photometric import distort_colors
from opensapiens.data.sample import Sample
from opensapiens.data.square_crop import SquareCrop, square_crop

LOCAL_SIDE = 96 / 224  # of a global view's side, as in DINO; the paper of Sapiens2 does not say


@dataclass(frozen=True)
class MultiCrop:
    """Global views and smaller local ones; the areas are those of the paper of Sapiens2."""

    global_views: int = 2
    local_views: int = 4
    global_area: tuple[float, float] = (0.5, 1.0)  # of the picture
    local_area: tuple[float, float] = (0.2, 0.7)
    patch_size: int = 16


def local_size(size_hw: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Height and width of the local views beside global ones of `size_hw`, in whole patches."""
    height, width = (max(round(side * LOCAL_SIDE / patch_size), 1) * patch_size for side in size_hw)
    return height, width


def multi_crop(sample: Sample, size_hw: tuple[int, int], generator: np.random.Generator, settings: MultiCrop) -> Sample:
    """The first global view at `size_hw`, with the other views, global ones first, as its `views`.

    Global views keep their colors, as in the paper; those of local ones are distorted, as in DINO.
    """
    large, small = SquareCrop(area=settings.global_area), SquareCrop(area=settings.local_area)
    first, *others = [square_crop(sample, size_hw, generator, large).image for _ in range(settings.global_views)]
    small_size = local_size(size_hw, settings.patch_size)
    local = [
        distort_colors(square_crop(sample, small_size, generator, small).image, generator)
        for _ in range(settings.local_views)
    ]
    return Sample(image=first, key=sample.key, views=(*others, *local))
