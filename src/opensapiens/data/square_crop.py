"""The random square crops of masked pretraining."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from opensapiens.data.sample import Sample


@dataclass(frozen=True)
class SquareCrop:
    """The published crops of pretraining: RandomResizedCrop, Pillow's bicubic resampling, and a flip."""

    area: tuple[float, float] = (0.2, 1.0)  # of the image
    aspect: tuple[float, float] = (3 / 4, 4 / 3)  # width over height; log-uniform
    flip_chance: float = 0.5
    tries: int = 10  # for an area and an aspect that fit


def square_crop(
    sample: Sample, size_hw: tuple[int, int], generator: np.random.Generator, settings: SquareCrop
) -> Sample:
    """A random part of the sample's image at `size_hw`, without labels."""
    height, width = sample.image.shape[:2]
    box = random_box(height, width, generator, settings)
    picture = Image.fromarray(sample.image).crop(box).resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC)
    image = np.array(picture)
    if generator.random() < settings.flip_chance:
        image = np.ascontiguousarray(image[:, ::-1])
    return Sample(image=image, key=sample.key)


def random_box(
    height: int, width: int, generator: np.random.Generator, settings: SquareCrop
) -> tuple[int, int, int, int]:
    """A random box (left, top, right, bottom) with area and aspect within the settings' ranges.

    If none fits after the tries, the largest centered box with an allowed aspect, as published.
    """
    for _ in range(settings.tries):
        area = height * width * generator.uniform(*settings.area)
        aspect = float(np.exp(generator.uniform(*np.log(settings.aspect))))
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left, top = int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1))
            return left, top, left + w, top + h
    aspect = float(np.clip(width / height, *settings.aspect))
    w, h = min(width, max(round(height * aspect), 1)), min(height, max(round(width / aspect), 1))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
