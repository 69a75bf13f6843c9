"""Materials: patterns and colors, and random cloth, skin and hair colors."""

from dataclasses import dataclass

import numpy as np

SOLID, STRIPES, CHECKS, BLOBS, KNIT, DOTS, IMAGE = range(7)
FABRIC, DENIM, PLAID, BANDS, SKIN, STRANDS, BRICK, TILES, PLANKS, GROUND, LEAVES, FACADE, PLACKET = range(8, 21)
PRINT, GAZE = 30, 31
GAMMA = 2.2
"""Patterns; patterns.py and kernels.py say what they look like. GAMMA: of textures and of pictures."""


@dataclass(frozen=True)
class Material:
    """Two linear colors (3,) and a pattern of the second on the first, repeated `frequency` times per meter.

    The color of an IMAGE is `first` times a page (left, top, width, height) of the atlas. A PRINT puts a page on the
    front or back of cloth of the color `first`, at the position in `second` (patterns.decal), except where the page is
    magenta. relief: height of folds (meters), folds per meter, height of the fine grain; scatter: how far light wraps
    around (skin); glow: emission in units of the color.
    """

    first: np.ndarray
    second: np.ndarray
    pattern: int = SOLID
    frequency: float = 20.0
    gloss: float = 0.05
    page: tuple[float, float, float, float] = (0, 0, 0, 0)
    relief: tuple[float, float, float] = (0, 0, 0)
    scatter: float = 0.0
    glow: float = 0.0


def draw_color(rng: np.random.Generator) -> np.ndarray:
    """A linear color of clothes: grays, muted and bright colors."""
    value = rng.uniform(0.01, 0.85) ** 1.4
    bright = rng.choice([rng.uniform(0, 0.15), rng.uniform(0.1, 0.6), rng.uniform(0.6, 0.98)], p=[0.4, 0.35, 0.25])
    hue = rng.uniform(0, 6)
    saturation = float(bright)
    wheel = (min(max(abs((hue + start) % 6 - 3) - 1, 0.0), 1.0) for start in (0, 4, 2))
    return np.array([value * (1 - saturation + saturation * share) for share in wheel])


def draw_cloth(rng: np.random.Generator) -> Material:
    """A cloth of one or two colors with a pattern."""
    pattern = int(rng.choice([SOLID, STRIPES, CHECKS, BLOBS, KNIT, DOTS], p=[0.35, 0.13, 0.1, 0.14, 0.2, 0.08]))
    frequency = {
        SOLID: rng.uniform(5, 40),
        STRIPES: rng.uniform(5, 40),
        CHECKS: rng.uniform(5, 25),
        BLOBS: rng.uniform(3, 20),
        KNIT: rng.uniform(50, 300),
        DOTS: rng.uniform(4, 25),
    }
    first = draw_color(rng)
    second = draw_color(rng) if pattern not in (SOLID, KNIT) else first * rng.uniform(0.3, 1.2)
    return Material(first, second, pattern, float(frequency[pattern]), float(rng.choice([0.0, rng.uniform(0, 0.25)])))


def draw_skin_tone(rng: np.random.Generator) -> np.ndarray:
    """A linear skin color, from dark to light."""
    ramp = np.array(
        [[0.035, 0.018, 0.012], [0.12, 0.055, 0.032], [0.3, 0.15, 0.088], [0.5, 0.29, 0.19], [0.72, 0.47, 0.36]]
    )
    position = rng.uniform(0, len(ramp) - 1.001)
    low = int(position)
    return (ramp[low] + (position - low) * (ramp[low + 1] - ramp[low])) * rng.normal(1, 0.06, 3).clip(0.8, 1.2)


def draw_hair_color(rng: np.random.Generator, age: float) -> np.ndarray:
    """A linear hair color for an age (Anny's scale): gray for most old people, dyed for a few."""
    if age > 0.85 and rng.random() < 0.7:
        return np.full(3, rng.uniform(0.25, 0.8))
    ramp = np.array(
        [[0.006, 0.005, 0.005], [0.02, 0.012, 0.008], [0.07, 0.035, 0.017], [0.2, 0.09, 0.03], [0.5, 0.33, 0.14]]
    )
    color = ramp[rng.choice(5, p=[0.32, 0.28, 0.2, 0.1, 0.1])] * rng.uniform(0.6, 1.5)
    return np.clip(color if rng.random() > 0.03 else draw_color(rng), 0, 1)
