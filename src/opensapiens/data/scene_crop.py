"""The published augmentation for body parts, depth and normals: parts of whole pictures, not crops of one person."""

from dataclasses import dataclass

import numpy as np

from opensapiens.data.crop import cut_sample, flip_sample, resize_sample, rotate_sample
from opensapiens.data.photometric import distort_colors
from opensapiens.data.sample import Sample
from opensapiens.labels.parts import IGNORED


@dataclass(frozen=True)
class SceneCrop:
    """How strongly pictures are changed; the defaults are those of the published 28 parts.

    scale: of the picture relative to the crop, before it is cut. largest_class_share: a crop in which one class has
    more than this share of the labeled pixels is redrawn, up to `tries` times; 1 accepts any.
    """

    scale: tuple[float, float] = (0.2, 2.0)
    largest_class_share: float = 0.75
    tries: int = 10
    rotation_degrees: float = 45.0
    rotation_chance: float = 0.5
    flip_chance: float = 0.5
    color_chance: float = 0.5  # of each of brightness, contrast, saturation and hue


PUBLISHED_SEGMENTATION = SceneCrop()
PUBLISHED_DEPTH = SceneCrop(largest_class_share=1.0, rotation_degrees=60.0)
# The published training does not rotate here, since its normals would not turn with the picture; ours would.
PUBLISHED_NORMALS = SceneCrop(largest_class_share=1.0, rotation_chance=0.0)


def scene_crop(sample: Sample, size_hw: tuple[int, int], generator: np.random.Generator, settings: SceneCrop) -> Sample:
    """A random crop of the sample's picture at `size_hw`, randomly changed.

    In the published order: resize, cut, resize to the size (which stretches smaller crops), rotate, mirror, colors.
    """
    factor = generator.uniform(*settings.scale)
    within = int(size_hw[0] * factor), int(size_hw[1] * factor)
    sample = resize_sample(sample, size_within(sample.image.shape[:2], within))
    sample = cut_sample(sample, varied_window(sample, size_hw, generator, settings.largest_class_share, settings.tries))
    if sample.image.shape[:2] != tuple(size_hw):
        sample = resize_sample(sample, size_hw)
    if generator.random() < settings.rotation_chance:
        sample = rotate_sample(sample, generator.uniform(-settings.rotation_degrees, settings.rotation_degrees))
    if generator.random() < settings.flip_chance:
        sample = flip_sample(sample)
    sample.image = distort_colors(sample.image, generator, settings.color_chance)
    return sample


def size_within(size_hw: tuple[int, ...], within_hw: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same aspect whose longer and shorter side fit those of `within_hw`, as published."""
    factor = min(max(within_hw) / max(size_hw), min(within_hw) / min(size_hw))
    return max(int(size_hw[0] * factor + 0.5), 1), max(int(size_hw[1] * factor + 0.5), 1)


def varied_window(
    sample: Sample, size_hw: tuple[int, int], generator: np.random.Generator, largest_share: float, tries: int
) -> tuple[int, int, int, int]:
    """A random window (x1, y1, x2, y2) of `size_hw`, or as much of it as the picture has, in which no class of parts
    has a larger share of the labeled pixels; the last one after `tries`."""
    height, width = sample.image.shape[:2]
    window = (0, 0, width, height)
    for _ in range(tries):
        top = int(generator.integers(max(height - size_hw[0], 0) + 1))
        left = int(generator.integers(max(width - size_hw[1], 0) + 1))
        window = (left, top, min(left + size_hw[1], width), min(top + size_hw[0], height))
        if largest_share >= 1 or sample.parts is None:
            break
        counts = np.bincount(sample.parts[window[1] : window[3], window[0] : window[2]].ravel(), minlength=256)
        counts[IGNORED] = 0
        if (counts > 0).sum() > 1 and counts.max() < largest_share * counts.sum():
            break
    return window
