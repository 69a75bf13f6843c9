"""Light from HDR panoramas, and photos as backdrops."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.data.background import fitted
from opensapiens.data.images import ImageCollection
from opensapiens.storage.files import read_regular_file
from opensapiens.storage.pictures import MAX_FILE_BYTES, ImageError
from opensapiens.synthetic.rasterizer import Camera, Light

MAX_PIXELS = 64_000_000
"""Limit for a stored panorama; 8192x4096 is 34 million."""
LIGHT_WIDTH = 128
"""Width in pixels of the panorama that the light is computed from."""
SUN_RADIUS = 12.0
"""Degrees around the brightest spot that count as one distant light."""


@dataclass(frozen=True)
class Backdrop:
    """A picture (H, W, 3) float32 of the frame's size that fills pixels where nothing was rendered.

    linear: it is light and exposed together with the scene; otherwise it is display-referred, 0 to 1.
    """

    picture: np.ndarray
    linear: bool


@dataclass(frozen=True)
class Surroundings:
    """Pictures that replace procedural light and backdrops; at least one kind is given.

    environments: panoramas, which light the scene and are its backdrop; photos: the backdrop instead, if given.
    """

    environments: tuple[Path, ...] = ()
    photos: ImageCollection | None = None

    def names(self) -> dict[str, Any]:
        """What identifies these surroundings in the manifest."""
        photos = 0 if self.photos is None else len(self.photos)
        return {"environments": [path.name for path in self.environments], "photos": photos}

    def draw(self, rng: np.random.Generator, camera: Camera) -> tuple[Light | None, Backdrop | None]:
        """A light, if there are panoramas, and a backdrop for a camera. Raises ImageError for a damaged file."""
        light, backdrop = None, None
        if self.environments:
            panorama = read_panorama(self.environments[rng.integers(len(self.environments))])
            turn, strength = rng.uniform(0, 360), rng.uniform(0.5, 1.2)
            light, scale = light_of(panorama, turn, strength)
            backdrop = Backdrop(view_of(panorama, turn, camera) * np.float32(scale), linear=True)
        if self.photos is not None:
            photo = self.photos[int(rng.integers(len(self.photos)))].image
            backdrop = Backdrop(_random_view(rng, photo, camera.size).astype(np.float32) / 255, linear=False)
        return light, backdrop


def find_panoramas(folder: Path) -> tuple[Path, ...]:
    """The .hdr files of a folder and its subfolders. Raises ImageError when there are none."""
    paths = tuple(sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() == ".hdr"))
    if not paths:
        raise ImageError(f"{folder}: no panorama here (.hdr files, twice as wide as high)")
    return paths


@functools.lru_cache(maxsize=4)
def read_panorama(path: Path) -> np.ndarray:
    """Reads a Radiance file as linear RGB light (H, W, 3) float32, top row up, at most 4096 wide.

    Raises ImageError for a file of another kind, a damaged one, or one with more than MAX_PIXELS.
    """
    try:
        data = read_regular_file(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error
    size = re.search(rb"\n-Y (\d{1,9}) \+X (\d{1,9})\n", data[:4096])
    if not data.startswith(b"#?") or size is None:
        raise ImageError(f"{path}: not a Radiance panorama (.hdr) whose rows run from top to bottom")
    height, width = int(size[1]), int(size[2])
    if not 0 < height * width <= MAX_PIXELS:
        raise ImageError(f"{path}: {width}x{height} pixels are more than the limit of {MAX_PIXELS}")
    light = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if light is None or light.dtype != np.float32 or light.ndim != 3 or not np.isfinite(light).all():
        raise ImageError(f"{path}: truncated or damaged")
    if width > 4096:
        light = cv2.resize(light, (4096, round(height * 4096 / width)), interpolation=cv2.INTER_AREA)
    return np.maximum(light[..., ::-1], 0)


def light_of(panorama: np.ndarray, turn: float, strength: float) -> tuple[Light, float]:
    """The light of a panorama turned about the vertical (degrees) and scaled to a strength, and the factor of that
    scale.

    The brightest spot, if it stands out, becomes the key light, which casts a shadow; the rest is ambient light.
    Strength is the mean over all directions of the light arriving at a surface that faces it.
    """
    small = cv2.resize(panorama, (LIGHT_WIDTH, LIGHT_WIDTH // 2), interpolation=cv2.INTER_AREA)
    direction, solid = _directions(LIGHT_WIDTH // 2, LIGHT_WIDTH)
    direction = direction @ _about_vertical(turn).T
    brightness = small.mean(2)
    peak = direction[np.unravel_index(np.argmax(cv2.GaussianBlur(brightness, (0, 0), 1.5)), brightness.shape)]
    mean = float((brightness * solid).sum() / solid.sum())
    sun = (direction @ peak > np.cos(np.deg2rad(SUN_RADIUS))) & (brightness > 4 * mean)
    key = (small * (solid * sun)[..., None]).sum((0, 1)) / np.pi
    soft = harmonics(np.where(sun[..., None], 0, small), direction, solid)
    scale = strength / max(float(soft[0].mean() + 0.25 * key.mean()), 1e-6)
    spread = float(np.sqrt((solid * sun).sum() / np.pi))  # radians: blur of the shadow's edge
    nothing = np.zeros(3)
    return Light(peak, key * scale, nothing, nothing, 0.6 + 8 * spread, soft * scale), scale


def harmonics(radiance: np.ndarray, direction: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """Nine coefficients (9, 3) that give the light arriving at any normal, over pi, to about 1 %.

    radiance (H, W, 3) arrives from direction (H, W, 3) over a solid angle (H, W). Source: Ramamoorthi and Hanrahan, "An
    efficient representation for irradiance environment maps" (2001); the factors of both steps are multiplied here.
    """
    x, y, z = np.moveaxis(direction, -1, 0)
    shapes = np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y])
    factors = np.array([1, 2, 2, 2, 15 / 4, 15 / 4, 5 / 16, 15 / 4, 15 / 16]) / (4 * np.pi)
    return factors[:, None] * np.einsum("khw,hw,hwc->kc", shapes, solid, radiance)


def view_of(panorama: np.ndarray, turn: float, camera: Camera) -> np.ndarray:
    """What a camera sees of a turned panorama (H, W, 3)."""
    y, x = np.mgrid[: camera.size[0], : camera.size[1]].astype(np.float32)
    ray = camera.rays(x, y) @ (camera.rotation @ _about_vertical(turn))
    height, width = panorama.shape[:2]
    around = np.arctan2(ray[..., 0], ray[..., 1]) / (2 * np.pi) + 0.5
    down = np.arccos(ray[..., 2] / np.linalg.norm(ray, axis=-1)) / np.pi
    column, row = (around * width - 0.5).astype(np.float32), (down * height - 0.5).astype(np.float32)
    padded = cv2.copyMakeBorder(panorama, 1, 1, 1, 1, cv2.BORDER_WRAP)
    padded[0], padded[-1] = padded[1], padded[-2]  # wraps around horizontally, not vertically
    return cv2.remap(padded, column + 1, row + 1, cv2.INTER_LINEAR)


def _directions(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Direction (H, W, 3) and solid angle (H, W) of a panorama's pixels; the middle column looks along +y, z is up."""
    polar = (np.arange(height) + 0.5) / height * np.pi
    around = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    polar, around = np.meshgrid(polar, around, indexing="ij")
    direction = np.stack([np.sin(polar) * np.sin(around), np.sin(polar) * np.cos(around), np.cos(polar)], -1)
    return direction, np.sin(polar) * (np.pi / height) * (2 * np.pi / width)


def _about_vertical(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def _random_view(rng: np.random.Generator, photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A random crop of a photo, mirrored half of the time, resized to `size`."""
    height, width = photo.shape[:2]
    share = rng.uniform(0.5, 1.0)
    h, w = max(int(height * share), 1), max(int(width * share), 1)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    piece = fitted(photo[top : top + h, left : left + w], *size)
    return piece[:, ::-1] if rng.random() < 0.5 else piece
