"""Procedural pictures for walls, screens and shirts, in one texture atlas that is the same in every process."""

import functools

import cv2
import numpy as np

from opensapiens.synthetic.backdrop import draw_backdrop

PAGE = 128
PICTURES, PRINTS, WINDOWS = range(0, 16), range(16, 40), range(40, 48)
"""Page numbers: pictures for walls, prints for clothes (magenta shows the cloth), views out of windows."""
_WORDS = (
    "NEW YORK", "SURF", "1984", "ROCK", "LOVE", "TEAM", "23", "7", "10", "VINTAGE", "HELLO", "SPORT", "OK", "PARIS",
)  # fmt: skip


def page_of(number: int) -> tuple[float, float, float, float]:
    """Position of a page in the atlas: left, top, width, height."""
    return (0.0, float(number * PAGE), float(PAGE), float(PAGE))


@functools.cache
def atlas() -> np.ndarray:
    """All pages, stacked vertically (N * PAGE, PAGE, 3) uint8 sRGB."""
    rng = np.random.default_rng(20)
    pages = [_picture(rng) for _ in PICTURES] + [_print(rng) for _ in PRINTS] + [_view(rng) for _ in WINDOWS]
    return np.ascontiguousarray(np.concatenate(pages))


def _picture(rng: np.random.Generator) -> np.ndarray:
    return np.rint(draw_backdrop(rng, (PAGE, PAGE)) * 255).astype(np.uint8)


def _view(rng: np.random.Generator) -> np.ndarray:
    """Sky above, something below, out of focus."""
    y = np.linspace(0, 1, PAGE, dtype=np.float32)[:, None, None]
    sky = (1 - y) * np.array([0.55, 0.72, 0.95]) + y * np.array([0.9, 0.93, 0.97])
    land = np.array([0.35, 0.42, 0.28]) * rng.uniform(0.6, 1.2) + rng.normal(0, 0.05, 3)
    line = rng.uniform(0.3, 0.8) + 0.1 * np.sin(np.linspace(0, rng.uniform(3, 20), PAGE))[None, :, None]
    picture = np.where(y > line, land, sky).astype(np.float32)
    for _ in range(12):
        start = rng.integers(0, PAGE, 2)
        end = start + rng.integers(5, 40, 2)
        cv2.rectangle(picture, start.tolist(), end.tolist(), (land * rng.uniform(0.5, 1.6)).tolist(), -1)
    return np.rint(np.clip(cv2.GaussianBlur(picture, (0, 0), 3.0), 0, 1) * 255).astype(np.uint8)


def _print(rng: np.random.Generator) -> np.ndarray:
    """Letters, a shape, or a small picture on magenta."""
    page = np.full((PAGE, PAGE, 3), (255, 0, 255), np.uint8)
    color = tuple(rng.choice([0, 30, 200, 250], 3).tolist())
    color = (0, 0, 0) if color[0] > 150 and color[2] > 150 and color[1] < 100 else color
    kind = rng.integers(4)
    if kind in (0, 1):
        word = str(rng.choice(_WORDS))
        scale = 3.4 / max(len(word), 2) + 0.35
        thick = max(2, int(scale * 3))
        (wide, high), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, scale, thick)
        cv2.putText(page, word, ((PAGE - wide) // 2, (PAGE + high) // 2), cv2.FONT_HERSHEY_DUPLEX, scale, color, thick)
    elif kind == 2:
        count = int(rng.integers(3, 9))
        angles = np.arange(2 * count) * np.pi / count
        reach = np.where(np.arange(2 * count) % 2, rng.uniform(0.15, 0.45), 0.45) * PAGE
        star = np.stack([np.cos(angles) * reach, np.sin(angles) * reach], 1) + PAGE / 2
        cv2.fillPoly(page, [star.astype(np.int32)], color)
    else:
        edge = int(rng.integers(8, 30))
        small = _picture(rng)
        page[edge : PAGE - edge, edge // 2 : PAGE - edge // 2] = small[edge : PAGE - edge, edge // 2 : PAGE - edge // 2]
    return page
