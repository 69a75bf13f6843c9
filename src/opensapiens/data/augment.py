"""Random augmentation of a training sample. All randomness comes from the given Generator."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from opensapiens.data.crop import crop_sample
from opensapiens.data.photometric import distort_colors
from opensapiens.data.sample import Sample
from opensapiens.geometry.boxes import center_and_scale, image_box


@dataclass(frozen=True)
class Augmentation:
    """How strongly samples are changed. Every `..._chance` is a probability; ranges are (low, high).

    The defaults suit small sets of synthetic people, whose colors, sharpness and framing need much variation;
    PUBLISHED_POSE has the published values.
    """

    scale: tuple[float, float] = (0.7, 1.35)  # factor on the side of the crop; log-uniform
    shift: float = 0.12  # largest shift of the crop, as a fraction of its side
    shift_chance: float = 1.0
    rotation_degrees: float = 40.0
    rotation_chance: float = 0.6
    flip_chance: float = 0.5
    half_body_chance: float = 0.15  # crop around the points of the upper or the lower body only
    brightness: float = 45.0  # largest offset, of 255
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.2, 1.8)
    hue_degrees: float = 60.0
    gain: tuple[float, float] = (0.75, 1.3)  # of each color channel
    gamma: tuple[float, float] = (0.6, 1.7)
    color_chance: float = 0.85
    distortion_chance: float = 0.0  # of each of the four published color changes, see photometric.py
    distorted_share: float = 1.0  # of any of them
    gray_chance: float = 0.1
    blur_chance: float = 0.25
    blur_sigma: tuple[float, float] = (0.3, 1.8)  # pixels of the crop
    low_resolution_chance: float = 0.35
    lowest_person_height: float = 40.0  # pixels; the person is resampled from between this and their height in the crop
    noise_chance: float = 0.35
    noise_sigma: tuple[float, float] = (2.0, 16.0)  # of 255
    jpeg_chance: float = 0.35
    jpeg_quality: tuple[int, int] = (15, 90)
    patches_chance: float = 0.4  # rectangles that hide a part; the labels stay
    patches: int = 3  # at most
    patch_side: tuple[float, float] = (0.08, 0.4)  # of the crop's sides


# Differences: the published shifts, scales and angles follow a truncated normal, ours a triangular distribution (scale:
# log-uniform); box and median blur of 0.1 each are one Gaussian; the hole is not always black.
PUBLISHED_POSE = Augmentation(
    scale=(0.5, 1.5),
    shift=0.16,
    shift_chance=0.3,
    rotation_degrees=80.0,
    rotation_chance=0.6,
    half_body_chance=0.3,
    color_chance=0.0,
    distortion_chance=0.5,
    blur_chance=0.19,
    low_resolution_chance=0.0,
    noise_chance=0.0,
    jpeg_chance=0.0,
    patches_chance=1.0,
    patches=1,
    patch_side=(0.2, 0.4),
)
SAPIENS2_POSE = replace(PUBLISHED_POSE, distorted_share=0.8)
"""Of Sapiens2 (facts of its pose config): colors are left alone in a fifth of the crops, and all else is the same."""


def augmented_crop(
    sample: Sample,
    size_hw: tuple[int, int],
    generator: np.random.Generator,
    augmentation: Augmentation,
    box_padding: float = 1.25,
) -> Sample:
    """A randomly changed crop of a sample around its box, or around the whole image without one."""
    box = image_box(sample.image.shape[:2]) if sample.box is None else sample.box
    aspect = size_hw[1] / size_hw[0]
    if generator.random() < augmentation.half_body_chance:
        box = half_body_box(sample, generator, box)
    shifted = generator.random() < augmentation.shift_chance
    shift = _peaked(generator, 2) * (augmentation.shift if shifted else 0.0)
    factor = float(np.exp(generator.uniform(*np.log(augmentation.scale))))
    center, scale = moved_region(box, aspect, box_padding, shift, factor)
    turned = generator.random() < augmentation.rotation_chance
    rotation = float(_peaked(generator, 1)[0] * augmentation.rotation_degrees) if turned else 0.0
    flip = bool(generator.random() < augmentation.flip_chance)
    cropped = crop_sample(sample, size_hw, center, scale, rotation, flip)
    person_height = float(size_hw[0]) if cropped.box is None else float(cropped.box[3] - cropped.box[1])
    return replace(cropped, image=change_image(cropped.image, person_height, generator, augmentation))


def moved_region(
    box: np.ndarray, aspect: float, padding: float, shift: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Center (2,) and scale (2,) of the shifted and scaled crop of a box (4,).

    shift: (2,) x, y in sides of the padded box, before it is enlarged to the aspect, as published. factor: on the
    region's sides.
    """
    center, scale = center_and_scale(box, aspect, padding)
    return center + shift * (box[2:] - box[:2]) * padding, scale * factor


def half_body_box(sample: Sample, generator: np.random.Generator, box: np.ndarray) -> np.ndarray:
    """The box around the points of the upper (with chance 0.7) or lower body; `box` if they are too few.

    As the published RandomHalfBody, whose padding of 1.5 is 1.2 here times the crop's padding of 1.25.
    """
    if sample.keypoints is None:
        return box
    halves = np.array(sample.keypoint_set.body_halves)
    labeled = sample.keypoints[:, 2] > 0
    choices = {half: labeled & (halves == half) for half in ("upper", "lower")}
    half = "upper" if generator.random() < 0.7 else "lower"
    if labeled.sum() < 9 or choices["upper"].sum() < 2 or choices["lower"].sum() < 3:
        return box
    points = sample.keypoints[choices[half], :2]
    center, extent = points.mean(0), np.maximum(points.max(0) - points.min(0), 8.0) * 1.2
    return np.concatenate([center - extent / 2, center + extent / 2]).astype(np.float32)


def change_image(
    image: np.ndarray, person_height: float, generator: np.random.Generator, augmentation: Augmentation
) -> np.ndarray:
    """Random effects of light, lens, sensor and compression on an (H, W, 3) uint8 image. person_height: in pixels."""
    size = image.shape[1], image.shape[0]
    if generator.random() < augmentation.patches_chance:
        image = add_patches(image, generator, augmentation)
    if generator.random() < augmentation.color_chance:
        image = change_colors(image, generator, augmentation)
    sure = augmentation.distorted_share >= 1
    if augmentation.distortion_chance and (sure or generator.random() < augmentation.distorted_share):
        image = distort_colors(image, generator, augmentation.distortion_chance)
    if generator.random() < augmentation.blur_chance:
        image = cv2.GaussianBlur(image, (0, 0), float(generator.uniform(*augmentation.blur_sigma)))
    if generator.random() < augmentation.low_resolution_chance and person_height > augmentation.lowest_person_height:
        factor = np.exp(generator.uniform(np.log(augmentation.lowest_person_height / person_height), 0.0))
        small = max(round(size[0] * factor), 8), max(round(size[1] * factor), 8)
        image = cv2.resize(image, small, interpolation=_one_of(generator, cv2.INTER_AREA, cv2.INTER_LINEAR))
    if generator.random() < augmentation.noise_chance:
        image = add_noise(image, float(generator.uniform(*augmentation.noise_sigma)), generator)
    if generator.random() < augmentation.jpeg_chance:
        image = compress(image, int(generator.integers(*augmentation.jpeg_quality)))
    if (image.shape[1], image.shape[0]) != size:
        image = cv2.resize(image, size, interpolation=_one_of(generator, cv2.INTER_LINEAR, cv2.INTER_CUBIC))
    return image


def change_colors(image: np.ndarray, generator: np.random.Generator, augmentation: Augmentation) -> np.ndarray:
    """Gamma by a table, then saturation, hue, contrast, brightness and channel gains as one affine map."""
    gamma = np.exp(generator.uniform(*np.log(augmentation.gamma)))
    image = cv2.LUT(image, (np.linspace(0, 1, 256) ** gamma * 255).round().astype(np.uint8))
    gray = np.full((3, 3), 1.0) * np.array([0.299, 0.587, 0.114])  # every channel becomes the luminance
    saturation = 0.0 if generator.random() < augmentation.gray_chance else generator.uniform(*augmentation.saturation)
    matrix = saturation * np.eye(3) + (1 - saturation) * gray
    matrix = _turn_hue(generator.uniform(-1, 1) * augmentation.hue_degrees) @ matrix
    low, high = np.log(augmentation.gain)
    gain = np.exp(generator.uniform(low, high, 3)) if saturation else np.ones(3)
    contrast = generator.uniform(*augmentation.contrast)
    offset = 128 * (1 - contrast) + generator.uniform(-1, 1) * augmentation.brightness
    affine = np.hstack([matrix * (contrast * gain)[:, None], np.full((3, 1), offset)])
    return cv2.transform(image, affine)  # saturates at 0 and 255


def _turn_hue(degrees: float) -> np.ndarray:
    """Rotation of RGB about the gray axis (Rodrigues' formula)."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return cos * np.eye(3) + sin * cross + (1 - cos) / 3 * np.ones((3, 3))


def add_patches(image: np.ndarray, generator: np.random.Generator, augmentation: Augmentation) -> np.ndarray:
    """Covers rectangles with a plain color, with noise, or with another part of the image."""
    image = image.copy()
    height, width = image.shape[:2]
    for _ in range(generator.integers(1, augmentation.patches + 1)):
        fractions = generator.uniform(*augmentation.patch_side, 2)
        h, w = max(int(height * fractions[0]), 1), max(int(width * fractions[1]), 1)
        y, x = generator.integers(0, height - h + 1), generator.integers(0, width - w + 1)
        kind = generator.integers(3)
        if kind == 0:
            image[y : y + h, x : x + w] = generator.integers(0, 256, 3)
        elif kind == 1:
            coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            image[y : y + h, x : x + w] = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR)
        else:
            v, u = generator.integers(0, height - h + 1), generator.integers(0, width - w + 1)
            image[y : y + h, x : x + w] = image[v : v + h, u : u + w].copy()
    return image


def add_noise(image: np.ndarray, sigma: float, generator: np.random.Generator) -> np.ndarray:
    """Adds noise of standard deviation `sigma` (of 255), the sum of two random bytes, which is fast."""
    dice = np.frombuffer(generator.bytes(2 * image.size), np.uint8).reshape(2, *image.shape)
    noise = cv2.add(dice[0], dice[1], dtype=cv2.CV_16S)  # triangular, mean 255, standard deviation 104.5
    factor = sigma / 104.5
    return cv2.addWeighted(image, 1.0, noise, factor, -255 * factor, dtype=cv2.CV_8U)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """The image after JPEG compression (OpenCV's scale of quality, 0-100)."""
    # OpenCV assumes BGR both ways, so the order of the channels is kept.
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded


def _peaked(generator: np.random.Generator, count: int) -> np.ndarray:
    """Numbers in [-1, 1] from a triangular distribution, in place of the published truncated normal."""
    return generator.random(count) - generator.random(count)


def _one_of(generator: np.random.Generator, *choices: int) -> int:
    return choices[generator.integers(len(choices))]
