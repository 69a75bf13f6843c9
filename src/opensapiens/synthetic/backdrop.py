"""Procedural pictures to put behind people: skies, rooms, clutter and noise, nothing human."""

import cv2
import numpy as np


def draw_backdrop(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) float32 in 0..1, display-referred."""
    height, width = size
    kind = rng.choice(["gradient", "noise", "room", "outdoors", "flat"], p=[0.15, 0.3, 0.25, 0.22, 0.08])
    if kind == "gradient":
        picture = _gradient(rng, size)
    elif kind == "noise":
        picture = _noise(rng, size, rng.uniform(0.8, 2.2), 3) * rng.uniform(0.3, 1.0)
        picture = picture + _color(rng) * rng.uniform(0, 0.7)
    elif kind == "room":
        picture = _room(rng, size)
    elif kind == "outdoors":
        picture = _outdoors(rng, size)
    else:
        picture = np.broadcast_to(_color(rng), (height, width, 3)).copy()
    for _ in range(int(rng.choice([0, int(rng.integers(1, 12)), int(rng.integers(10, 50))], p=[0.3, 0.45, 0.25]))):
        _clutter(rng, picture)
    if rng.random() < 0.6:
        picture += (_noise(rng, size, rng.uniform(0.3, 1.2), 1) - 0.5) * rng.uniform(0.02, 0.25)
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 5.0) * height / 320)
    return np.clip(picture, 0, 1).astype(np.float32)


def _color(rng: np.random.Generator) -> np.ndarray:
    color = rng.uniform(0, 1, 3)
    gray, saturation = color.mean(), rng.choice([0.12, 0.4, 1.0], p=[0.45, 0.35, 0.2])
    return (gray + (color - gray) * saturation).clip(0, 1).astype(np.float32)


def _gradient(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    corners = np.stack([_color(rng) for _ in range(4)]).reshape(2, 2, 3)
    return cv2.resize(corners, size[::-1], interpolation=cv2.INTER_LINEAR)


def _noise(rng: np.random.Generator, size: tuple[int, int], roughness: float, channels: int) -> np.ndarray:
    """Sum of octaves with amplitude falling as the roughness-th power of frequency, scaled to 0..1."""
    total = np.zeros((*size, channels), np.float32)
    cells = 2
    while cells < max(size):
        coarse = rng.random((cells, max(2, round(cells * size[1] / size[0])), channels), np.float32)
        octave: np.ndarray = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, channels)
        octave *= np.float32(cells ** (-roughness))
        total += octave
        cells *= 2
    low, high = total.min(), total.max()
    total -= low
    total /= high - low
    return total


def _room(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Wall, floor, and upright rectangles: doors, windows, shelves, pictures."""
    height, width = size
    picture = np.broadcast_to(_color(rng), (height, width, 3)).copy()
    if rng.random() < 0.4:
        period = rng.integers(4, 40)
        stripes = (np.arange(width) // period % 2).astype(bool)
        picture[:, stripes] = _color(rng)
    horizon = int(height * rng.uniform(0.45, 0.95))
    picture[horizon:] = _color(rng)
    for _ in range(rng.integers(1, 9)):
        x, y = int(rng.integers(-width // 4, width)), int(rng.integers(-height // 4, height))
        w, h = int(width * rng.uniform(0.05, 0.6)), int(height * rng.uniform(0.05, 0.8))
        color = _color(rng)
        cv2.rectangle(picture, (x, y), (x + w, y + h), color.tolist(), -1)
        if rng.random() < 0.6:
            cv2.rectangle(picture, (x, y), (x + w, y + h), _color(rng).tolist(), int(rng.integers(1, 5)))
        if rng.random() < 0.3:
            for line in range(y, y + h, int(rng.integers(6, 40))):
                cv2.line(picture, (x, line), (x + w, line), _color(rng).tolist(), int(rng.integers(1, 4)))
    shade = _gradient(rng, size).mean(2, keepdims=True)
    return picture * (0.6 + 0.6 * shade)


def _outdoors(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Sky, a ragged skyline, foliage and a field."""
    height, width = size
    sky = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    colors = ((1 - sky) * np.array([0.35, 0.55, 0.9]) + sky * _color(rng)).astype(np.float32)
    picture = colors + np.clip(_noise(rng, size, 1.5, 1) - 0.5, 0, 1) * rng.uniform(0, 1.5)
    for _ in range(rng.integers(1, 4)):
        line = _noise(rng, (2, width), rng.uniform(0.7, 1.6), 1)[0, :, 0]
        edge = height * (rng.uniform(0.1, 0.6) + rng.uniform(0.05, 0.4) * line)
        below = np.arange(height)[:, None] > edge
        leaves = np.array([0.1, 0.35, 0.08], np.float32) if rng.random() < 0.6 else _color(rng)
        texture = 0.3 + 1.4 * _noise(rng, size, rng.uniform(0.2, 0.9), 1)
        picture = np.where(below[..., None], leaves * texture, picture)
    horizon = int(height * rng.uniform(0.5, 0.95))
    field = _color(rng) * (0.5 + _noise(rng, size, rng.uniform(0.3, 1.0), 1))
    picture[horizon:] = field[horizon:]
    return picture.astype(np.float32)


def _clutter(rng: np.random.Generator, picture: np.ndarray) -> None:
    """One random flat shape, skin-colored at times so that color alone does not make a person."""
    height, width = picture.shape[:2]
    color = _color(rng)
    if rng.random() < 0.15:
        color = np.array([0.85, 0.62, 0.5], np.float32) * rng.uniform(0.3, 1.1)
    center = (int(rng.integers(0, width)), int(rng.integers(0, height)))
    scale = height * rng.choice([0.05, 0.12, 0.3])
    if (shape := rng.integers(4)) == 0:
        axes = (int(scale * rng.uniform(0.2, 1)), int(scale * rng.uniform(0.2, 1)))
        cv2.ellipse(picture, center, axes, rng.uniform(0, 360), 0, 360, color.tolist(), -1, cv2.LINE_AA)
    elif shape == 1:
        points = np.array(center) + rng.normal(0, scale, (rng.integers(3, 7), 2))
        cv2.fillPoly(picture, [points.astype(np.int32)], color.tolist(), cv2.LINE_AA)
    elif shape == 2:
        points = np.array(center) + np.cumsum(rng.normal(0, scale * 0.6, (rng.integers(2, 5), 2)), 0)
        cv2.polylines(picture, [points.astype(np.int32)], False, color.tolist(), int(rng.integers(1, 12)), cv2.LINE_AA)
    else:
        other = (int(center[0] + rng.normal(0, scale)), int(center[1] + rng.normal(0, scale)))
        cv2.rectangle(picture, center, other, color.tolist(), -1 if rng.random() < 0.7 else int(rng.integers(1, 6)))
