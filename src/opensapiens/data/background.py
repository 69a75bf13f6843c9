"""Other backgrounds behind a labeled person, as the published training of parts, depth and normals has them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from opensapiens.data.images import ImageCollection
from opensapiens.data.sample import Sample


@dataclass(frozen=True)
class Backgrounds:
    """Pictures without people, and how often one is put behind a sample's person.

    Published chances: 0.8 for parts, 0.5 for depth and normals.
    """

    pictures: Sequence[Sample] | ImageCollection
    chance: float = 0.5


def with_random_background(sample: Sample, generator: np.random.Generator, backgrounds: Backgrounds) -> Sample:
    """The sample before another background, at the given chance; unchanged where it has no mask.

    The picture is resized to the image's height and cut in the middle where it is wider, as published; where it is
    narrower it is mirrored at its edges (published: stretched, which bends whatever is in it). Only the person's own
    pixels are kept: the published rule takes parts above 0, of which 255 (unknown) is one, so that scraps of the old
    background stay. Their colors are not matched to the new background, for which the published code calls a library
    that is optional and mostly missing.
    """
    if generator.random() >= backgrounds.chance:
        return sample
    number = int(generator.integers(len(backgrounds.pictures)))
    mask = sample.person()
    if mask is None:
        return sample
    picture = fitted(backgrounds.pictures[number].image, *sample.image.shape[:2])
    return replace(sample, image=np.where(mask[..., None], sample.image, picture))


def fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture at `height`, its middle cut to `width` or its sides mirrored out to it."""
    scaled_width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    scaled = cv2.resize(picture, (scaled_width, height), interpolation=cv2.INTER_AREA)
    spare = scaled_width - width
    if spare >= 0:
        return scaled[:, spare // 2 : spare // 2 + width]
    left = -spare // 2
    return cv2.copyMakeBorder(scaled, 0, 0, left, -spare - left, cv2.BORDER_REFLECT)
