"""Random backgrounds behind a labeled person, as in the published training of parts, depth and normals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from opensapiens.data.images import ImageCollection
from opensapiens.data.label_kinds import ALPHA
from opensapiens.data.sample import Sample

GAMMA = 2.2


@dataclass(frozen=True)
class Backgrounds:
    """Pictures without people, and the chance of one (published: 0.8 for parts, 0.5 for depth and normals)."""

    pictures: Sequence[Sample] | ImageCollection
    chance: float = 0.5


def with_random_background(sample: Sample, generator: np.random.Generator, backgrounds: Backgrounds) -> Sample:
    """The sample, with the given chance on another background; unchanged if its person's pixels are unknown.

    The picture is resized to the image's height and cropped in the middle if it is wider, as published; if narrower, it
    is mirrored at its edges (published: stretched). Only the person's pixels are kept; the published rule also keeps
    those of part 255 (unknown). Colors are not matched, as in the published code without an optional library. Where
    alpha is known, the picture is mixed with the background by it, in linear light, as Sapiens2's matting does.
    """
    if generator.random() >= backgrounds.chance:
        return sample
    number = int(generator.integers(len(backgrounds.pictures)))
    mask = sample.person()
    if mask is None:
        return sample
    picture = fitted(backgrounds.pictures[number].image, *sample.image.shape[:2])
    if ALPHA in sample.labels:
        return replace(sample, image=mixed(sample.image, picture, sample.labels[ALPHA]))
    return replace(sample, image=np.where(mask[..., None], sample.image, picture))


def mixed(image: np.ndarray, background: np.ndarray, alpha_HW: np.ndarray) -> np.ndarray:
    """Both (H, W, 3) uint8, by the share of the first, as light adds up; ours: by a gamma of 2.2.

    The color of a soft edge is taken for the person's, although some of it is the old background's.
    """
    light = (np.arange(256, dtype=np.float32) / 255) ** GAMMA
    near, far = cv2.LUT(image, light), cv2.LUT(np.ascontiguousarray(background), light)
    share = alpha_HW[..., None]
    return np.round((near * share + far * (1 - share)) ** (1 / GAMMA) * 255).astype(np.uint8)


def fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture at `height`, cropped in the middle or extended by mirroring to `width`."""
    scaled_width = max(round(picture.shape[1] * height / picture.shape[0]), 1)
    scaled = cv2.resize(picture, (scaled_width, height), interpolation=cv2.INTER_AREA)
    spare = scaled_width - width
    if spare >= 0:
        return scaled[:, spare // 2 : spare // 2 + width]
    left = -spare // 2
    return cv2.copyMakeBorder(scaled, 0, 0, left, -spare - left, cv2.BORDER_REFLECT)
