"""The augmentations of Sapiens2's fine-tuning on whole pictures, as its released configs list them, in their order.

What the descriptions of them leave open is ours, and is marked so. Ours too: instead of a sample that a pipeline drops,
another one is not drawn, but the same is changed anew; noise has the sum of two dice for a bell; a picture never
becomes more than twice as large as the network's input.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from opensapiens.data.augment import add_noise, compress
from opensapiens.data.crop import cut_sample, flip_sample, pad_sample, resize_sample, rotate_sample
from opensapiens.data.label_kinds import ALBEDO, ALPHA, NORMALS, PARTS, POINTS, LabelKind
from opensapiens.data.photometric import distort_colors
from opensapiens.data.sample import Sample
from opensapiens.data.scene_crop import size_within, varied_window
from opensapiens.data.square_crop import SquareCrop, random_box
from opensapiens.geometry.boxes import box_of_mask
from opensapiens.geometry.cameras import fitted_camera
from opensapiens.labels.parts import IGNORED

Size = tuple[int, int]
Change = Callable[[Sample, Size, np.random.Generator], Sample]
TRIES = 10
CANONICAL_FOCAL, NEAREST = 768.0, 0.04


@dataclass(frozen=True)
class PictureSteps:
    """What is done to a picture: (chance, change) in order. A sample that `accepted` refuses is changed anew, a few
    times."""

    steps: tuple[tuple[float, Change], ...]
    accepted: Callable[[Sample], bool]


def changed_picture(sample: Sample, size_hw: Size, generator: np.random.Generator, pictures: PictureSteps) -> Sample:
    """The sample at `size_hw` pixels, randomly changed."""
    changed = sample
    for _ in range(TRIES):
        changed = sample
        for chance, change in pictures.steps:
            if chance >= 1 or generator.random() < chance:
                changed = change(changed, size_hw, generator)
        if pictures.accepted(changed):
            break
    return changed


def _colors(sample: Sample, _size: Size, generator: np.random.Generator) -> Sample:
    return replace(sample, image=distort_colors(sample.image, generator))


def _jpeg(sample: Sample, _size: Size, generator: np.random.Generator) -> Sample:
    return replace(sample, image=compress(sample.image, int(generator.integers(30, 61))))


def _down_and_up(sample: Sample, _size: Size, generator: np.random.Generator) -> Sample:
    """The picture made 0.1 to 0.7 as large and again as it was; ours: which interpolations are drawn from."""
    height, width = sample.image.shape[:2]
    factor = generator.uniform(0.1, 0.7)
    methods = generator.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA], 2).tolist()
    small = max(round(width * factor), 1), max(round(height * factor), 1)
    lowered = cv2.resize(sample.image, small, interpolation=methods[0])
    return replace(sample, image=cv2.resize(lowered, (width, height), interpolation=methods[1]))


def _scaled(sample: Sample, size: Size, generator: np.random.Generator) -> Sample:
    """0.5 to 2 times as large, aspect kept; ours: the limit."""
    height, width = sample.image.shape[:2]
    limit = max(2 * max(size) / max(height, width), 1.0)
    factor = min(generator.uniform(0.5, 2.0), limit)
    return resize_sample(sample, (max(round(height * factor), 1), max(round(width * factor), 1)))


def _scaled_within(sample: Sample, size: Size, generator: np.random.Generator) -> Sample:
    """As large as fits into 0.4 to 2 times the input, aspect kept."""
    factor = generator.uniform(0.4, 2.0)
    target = size_within(sample.image.shape[:2], (int(size[0] * factor), int(size[1] * factor)))
    return resize_sample(sample, target, _area_or(cv2.INTER_CUBIC, sample, target))


def _part(sample: Sample, _size: Size, generator: np.random.Generator) -> Sample:
    """A part of 0.4 to 1 of the area, with sides 1 : 2 to 2 : 1; ours: aspects are log-uniform, and where no part fits,
    the largest one in the middle is taken."""
    wanted = SquareCrop(area=(0.4, 1.0), aspect=(0.5, 2.0), tries=8)
    height, width = sample.image.shape[:2]
    return cut_sample(sample, random_box(height, width, generator, wanted))


def _window(sample: Sample, size: Size, generator: np.random.Generator, largest_share: float = 1.0) -> Sample:
    """A window of the input's size; ours: what a smaller picture lacks is at its right and below it."""
    sample = cut_sample(sample, varied_window(sample, size, generator, largest_share, TRIES))
    height, width = sample.image.shape[:2]
    return pad_sample(sample, (max(height, size[0]), max(width, size[1])))


def _around_alpha(sample: Sample, _size: Size, _generator: np.random.Generator) -> Sample:
    """The box of everything that is not quite transparent; ours: no margin."""
    box = box_of_mask(sample.labels[ALPHA] > 0) if ALPHA in sample.labels else None
    return sample if box is None else cut_sample(sample, tuple(box.astype(int).tolist()))


def _turned(sample: Sample, _size: Size, generator: np.random.Generator, border: int = 0) -> Sample:
    return rotate_sample(sample, generator.uniform(-60, 60), border)


def _mirrored(sample: Sample, _size: Size, _generator: np.random.Generator) -> Sample:
    return flip_sample(sample)


def _blurred(sample: Sample, _size: Size, generator: np.random.Generator) -> Sample:
    return replace(sample, image=cv2.GaussianBlur(sample.image, (3, 3), generator.uniform(0.1, 2.0)))


def _noisy(sample: Sample, _size: Size, generator: np.random.Generator) -> Sample:
    """Noise of variance 5 to 20."""
    return replace(sample, image=add_noise(sample.image, float(generator.uniform(5, 20)) ** 0.5, generator))


def _solarized(sample: Sample, _size: Size, _generator: np.random.Generator) -> Sample:
    """What is 128 or brighter becomes its negative."""
    return replace(sample, image=np.where(sample.image >= 128, 255 - sample.image, sample.image))


def _squashed(sample: Sample, size: Size, _generator: np.random.Generator, enlarging: int = cv2.INTER_CUBIC) -> Sample:
    return resize_sample(sample, size, _area_or(enlarging, sample, size))


def _fitted(sample: Sample, size: Size, _generator: np.random.Generator) -> Sample:
    """As large as fits, aspect kept, rounded, in the middle of black."""
    height, width = sample.image.shape[:2]
    factor = min(size[0] / height, size[1] / width)
    rows, columns = min(max(round(height * factor), 1), size[0]), min(max(round(width * factor), 1), size[1])
    return pad_sample(
        resize_sample(sample, (rows, columns)), size, left=(size[1] - columns) // 2, top=(size[0] - rows) // 2
    )


def _area_or(enlarging: int, sample: Sample, size: Size) -> int:
    """The published rule, which looks at widths alone."""
    return cv2.INTER_AREA if size[1] < sample.image.shape[1] else enlarging


def _shows_parts(sample: Sample) -> bool:
    """A hundredth of the pixels is somebody."""
    return sample.parts is None or bool(((sample.parts > 0) & (sample.parts != IGNORED)).mean() >= 0.01)


def _shows(kind: LabelKind, sample: Sample) -> bool:
    """16 pixels or more are known, and 96 % or less."""
    if kind not in sample.labels:
        return True
    known = kind.known(sample.labels[kind])
    return bool(known.sum() >= 16 and known.mean() <= 0.96)


def _shows_points(sample: Sample) -> bool:
    """As the others, and nothing is too near for the canonical camera."""
    if POINTS not in sample.labels:
        return True
    points = sample.labels[POINTS]
    camera = fitted_camera(points) if _shows(POINTS, sample) else None
    return camera is not None and bool(np.nanmin(points[..., 2]) * CANONICAL_FOCAL / camera.fx >= NEAREST)


def _anything(_sample: Sample) -> bool:
    return True


_GEOMETRY: tuple[tuple[float, Change], ...] = ((0.3, _scaled), (0.3, _part), (0.3, _mirrored), (1.0, _fitted))
_DEGRADED: tuple[tuple[float, Change], ...] = ((0.3, _blurred), (0.3, _noisy), (0.3, _solarized))

SAPIENS2_SEGMENTATION = PictureSteps(
    (
        (1.0, _scaled_within),
        (0.3, partial(_window, largest_share=0.75)),
        (0.3, _blurred),
        (0.3, _noisy),
        (0.5, _turned),
        (0.5, _mirrored),
        (1.0, _colors),
        (1.0, _squashed),
    ),
    _shows_parts,
)
"""Source: the segmentation configs. Without the transfer of a background's colors to the person, whose strength is not
described; backgrounds themselves are `data.background`."""
SAPIENS2_NORMALS = PictureSteps(((1.0, _colors), (0.2, _down_and_up), *_GEOMETRY, *_DEGRADED), partial(_shows, NORMALS))
"""Source: the normal configs. Ours: blur and noise are as strong as for segmentation."""
SAPIENS2_POINTMAP = PictureSteps(((1.0, _colors), *_GEOMETRY), _shows_points)
"""Source: the pointmap configs. Ours: scales and parts are those of the normals."""
SAPIENS2_ALBEDO = PictureSteps(((1.0, _colors), (0.2, _down_and_up), *_GEOMETRY), partial(_shows, ALBEDO))
"""Ours: the steps of albedo are not described; these are those of the normals, without what hides colors."""
SAPIENS2_MATTING = PictureSteps(
    (
        (0.5, _jpeg),
        (0.5, _around_alpha),
        (1.0, _scaled_within),
        (0.5, _window),
        (0.5, partial(_turned, border=255)),
        (0.5, _mirrored),
        (0.5, _colors),
        (1.0, partial(_squashed, enlarging=cv2.INTER_LINEAR)),
    ),
    _anything,
)
"""Source: the description of the matting task. Ours: windows are of the input's size. Other backgrounds, by alpha in
linear light, are `data.background`."""

PICTURES: dict[LabelKind, PictureSteps] = {
    PARTS: SAPIENS2_SEGMENTATION,
    NORMALS: SAPIENS2_NORMALS,
    POINTS: SAPIENS2_POINTMAP,
    ALBEDO: SAPIENS2_ALBEDO,
    ALPHA: SAPIENS2_MATTING,
}
"""By the label that is trained on."""
