"""From linear light to a photograph: background, depth of field, exposure, tone, and the flaws of lens, sensor and
JPEG."""

import functools

import cv2
import numpy as np

from opensapiens.synthetic.environment import Backdrop
from opensapiens.synthetic.materials import GAMMA
from opensapiens.synthetic.places import Place
from opensapiens.synthetic.rasterizer import Camera, Rendering

TILE = 512
"""Side in pixels of the noise tile that is drawn once per process."""


@functools.lru_cache(maxsize=2)
def _grain(size: tuple[int, int]) -> np.ndarray:
    """Sensor noise, tiled so that a picture of `size` can be cropped from any position in the first tile."""
    rows, columns = (np.arange(TILE + length) % TILE for length in size)
    return np.take(_noise_tiles()[0][rows], columns, axis=1)


@functools.cache
def _noise_tiles() -> tuple[np.ndarray, np.ndarray]:
    """Sensor noise (TILE, TILE, 3), unit variance, and clouds (TILE, TILE) 0..1; both repeat seamlessly."""
    rng = np.random.default_rng(7)
    grain = rng.standard_normal((TILE, TILE, 3), np.float32)
    clouds = np.zeros((TILE, TILE), np.float32)
    for octave in range(2, 8):
        cells = 2**octave
        coarse = rng.random((cells, cells), np.float32)
        wrapped = cv2.copyMakeBorder(coarse, 2, 2, 2, 2, cv2.BORDER_WRAP)
        scale = TILE // cells
        fine = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        clouds += fine[2 * scale : -2 * scale, 2 * scale : -2 * scale] * 0.55**octave
    clouds -= clouds.min()
    return grain, clouds / clouds.max()


def develop(
    rng: np.random.Generator,
    place: Place,
    camera: Camera,
    rendering: Rendering,
    people: np.ndarray,
    backdrop: Backdrop | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Develops a rendering into an 8-bit picture (H, W, 3), and how much of each pixel is people, (H, W) float32 from 0
    to 1: their mask `people` (H, W) after the depth of field and the blur of the lens that the picture has."""
    light, cover = rendering.color, rendering.covered
    if backdrop is None or backdrop.linear:
        far = sky(rng, place, camera) if backdrop is None else backdrop.picture
        light = _over(light, far, cover)
    light = _expose(rng, light, people)
    picture = _tone(rng, light)
    if backdrop is not None and not backdrop.linear:
        picture = _over(picture, _tint(rng, backdrop.picture), cover)
    picture, alpha = _focus(rng, picture, rendering, people)
    picture, alpha = _lens(rng, picture, alpha)
    return _sensor(rng, picture), alpha.clip(0, 1)


def _over(near: np.ndarray, far: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Composites near (H, W, 3) over far with the alpha `cover` (H, W)."""
    if cover.min() == 1:
        return near
    share = cv2.merge([cover] * 3)  # numpy is slow along an axis of three
    picture = near * share
    np.subtract(1, share, out=share)
    picture += np.multiply(far, share, out=share)
    return picture


def _mean_of_channels(colors: np.ndarray) -> np.ndarray:
    return (colors[:, 0] + colors[:, 1] + colors[:, 2]) / 3


def sky(rng: np.random.Generator, place: Place, camera: Camera) -> np.ndarray:
    """Linear light (H, W, 3) of the distant background: sky with clouds, hills on the horizon, haze below it."""
    if place.kind in ("room", "studio"):
        return np.broadcast_to(place.horizon.astype(np.float32), (*camera.size, 3))
    y, x = np.mgrid[: camera.size[0] : 4, : camera.size[1] : 4].astype(np.float32)
    ray = camera.rays(x, y) @ camera.rotation.astype(np.float32)
    rise = ray[..., 2] / np.sqrt((ray**2).sum(-1))
    around = np.arctan2(ray[..., 0], ray[..., 1])
    zenith, horizon = place.zenith.astype(np.float32), place.horizon.astype(np.float32)
    level = np.clip(rise * 1.6, 0, 1)[..., None] ** np.float32(0.6)
    picture = horizon + (zenith - horizon) * level
    clouds = _noise_tiles()[1]
    spread = TILE / (0.25 + np.clip(rise, 0, 1))
    shift = rng.uniform(0, TILE, 2).astype(np.float32)
    u = (around * spread * 0.25 + shift[0]) % (TILE - 1)
    v = (spread * 0.6 + shift[1]) % (TILE - 1)
    amount = cv2.remap(clouds, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
    amount = np.clip((amount - rng.uniform(0.35, 0.75)) * 4, 0, 1)[..., None] * np.clip(rise * 6, 0, 1)[..., None]
    picture = picture + (np.float32(1.05) * horizon.max() - picture) * amount * np.float32(rng.uniform(0.3, 0.9))
    for ridge in range(int(rng.integers(0, 4))):
        waves = rng.uniform(2, 30, 5) * (1 + ridge)
        line = sum(np.sin(around * w + rng.uniform(0, 6)) / (1 + 0.2 * w) for w in waves)
        edge = (rng.uniform(0.0, 0.09) / (1 + ridge)) * (1 + 0.5 * line)
        color = np.array([0.1, 0.13, 0.07]) * rng.uniform(0.5, 2, 3) * (0.4 + 0.2 * ridge)
        color = color + horizon * (0.5 - 0.15 * ridge)
        picture = np.where((rise < edge)[..., None], color.astype(np.float32), picture)
    picture = np.where((rise < 0)[..., None], horizon * np.float32(0.6), picture)
    return cv2.resize(picture.astype(np.float32), camera.size[::-1], interpolation=cv2.INTER_LINEAR)


def _expose(rng: np.random.Generator, light: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Exposes for the people and the whole picture, with random white balance and haze."""
    whole = light[::4, ::4].reshape(-1, 3)
    level = float(np.exp(np.log(_mean_of_channels(whole) + 1e-2).mean()))
    if people.any():
        subject = np.take(light.reshape(-1, 3), np.flatnonzero(people), axis=0)
        level_of_subject = float(np.exp(np.log(_mean_of_channels(subject) + 3e-3).mean()))
        share = rng.uniform(0.2, 0.8)
        level = level ** (1 - share) * level_of_subject**share
    exposure = np.clip(rng.lognormal(np.log(0.17), 0.45) / max(level, 0.01), 0.02, 8.0)
    balance = (exposure * rng.normal(1, 0.06, 3)).astype(np.float32)
    haze = rng.uniform(0, 0.04) if rng.random() < 0.3 else 0.0
    matrix = np.concatenate([np.diag(balance), np.full((3, 1), haze)], 1)
    return cv2.transform(np.ascontiguousarray(light, np.float32), matrix)


def _tone(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """A camera's tone curve: shoulder, gamma, contrast and saturation; 0 to 1."""
    shoulder, contrast = rng.uniform(0.1, 0.5), rng.uniform(-0.1, 0.35)
    x = np.linspace(0, 1, 4096) ** 2 * 4  # the table is denser in the dark
    curve = np.minimum(x * (1 + shoulder) / (1 + shoulder * x), 1) ** (1 / GAMMA)
    curve = (curve + 2 * contrast * curve * (1 - curve) * (2 * curve - 1)).astype(np.float32)
    index = np.clip(light, 0, 4)
    cv2.sqrt(index, dst=index)
    index *= np.float32(4095 / 2)
    return _tint(rng, np.take(curve, index.astype(np.uint16), mode="clip"))  # clip is twice as fast as raise


def _tint(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Changes saturation; a few pictures become gray."""
    color = 0.0 if rng.random() < 0.02 else rng.normal(1.0, 0.15)
    return cv2.transform(picture, color * np.eye(3) + (1 - color) * np.array([0.3, 0.59, 0.11]))


def _focus(
    rng: np.random.Generator, picture: np.ndarray, rendering: Rendering, people: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depth of field: at times, what is well behind the people is blurred. The picture, and the share of people."""
    alpha = people.astype(np.float32)
    if rng.random() > 0.45 or not people.any():
        return picture, alpha
    strength = rng.uniform(0.003, 0.025) * picture.shape[0]
    depth = rendering.depth
    limit = float(depth[people].max()) + 0.3
    sharp = ((depth > 0) & (depth < limit)).astype(np.float32)
    coarse = max(1, int(strength / 2))
    size = (max(picture.shape[1] // coarse, 8), max(picture.shape[0] // coarse, 8))
    far = cv2.resize(picture * cv2.merge([1 - sharp] * 3), size, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(1 - sharp, size, interpolation=cv2.INTER_AREA)
    sigma = strength / coarse
    far, weight = cv2.GaussianBlur(far, (0, 0), sigma), cv2.GaussianBlur(weight, (0, 0), sigma)
    far = far / np.maximum(weight, 1e-3)[..., None]
    far = cv2.resize(far, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    near = cv2.GaussianBlur(sharp, (0, 0), 0.7)
    edge = cv2.merge([near] * 3)
    return picture * edge + far * (1 - edge), alpha * near


def _lens(rng: np.random.Generator, picture: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lens blur and occasional motion blur, also of alpha, and vignetting."""
    height, width = picture.shape[:2]
    blur = rng.uniform(0.35, 0.75) * (1 + (rng.random() < 0.15) * rng.uniform(0.3, 2.0)) * max(1.0, height / 500)
    picture, alpha = (cv2.GaussianBlur(values, (0, 0), blur) for values in (picture, alpha))
    if rng.random() < 0.08:
        length = int(rng.uniform(3, 9) * height / 384) | 1
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, np.pi)
        reach = length / 2 * np.array([np.cos(angle), np.sin(angle)])
        start, end = np.rint([length // 2 - reach, length // 2 + reach]).astype(int).tolist()
        cv2.line(kernel, start, end, 1.0)
        picture, alpha = (cv2.filter2D(values, -1, kernel / kernel.sum()) for values in (picture, alpha))
    if rng.random() < 0.4:
        y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
        shade = 1 - np.float32(rng.uniform(0, 0.22)) * (x**2 + y[:, None] ** 2)
        picture = picture * cv2.merge([shade] * 3)
    return picture, alpha


def _sensor(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Sensor noise, stronger in the dark, and at times strong JPEG compression."""
    if rng.random() < 0.75:
        top, left = rng.integers(0, TILE, 2)
        height, width = picture.shape[:2]
        noise = _grain((height, width))[top : top + height, left : left + width]
        if rng.random() < 0.4:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * np.float32(2.2)
        strength = np.float32(rng.exponential(0.011))
        noise = noise * strength
        noise *= np.float32(1.3) - picture
        picture = np.add(picture, noise, out=noise)
    shown = np.clip(picture, 0, 1)
    shown *= 255
    shown = np.rint(shown, out=shown).astype(np.uint8)
    if rng.random() < 0.35:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        _, data = cv2.imencode(".jpg", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), quality)
        shown = cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    return shown
