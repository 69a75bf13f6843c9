"""Things made of boxes, tubes and balls: furniture, trees, cars, things to hold.

All things are Surfaces in world coordinates (meters, z up); patterns are scaled in meters.
"""

import functools

import numpy as np

from opensapiens.synthetic.materials import BRICK, FABRIC, FACADE, IMAGE, LEAVES, PLANKS, SOLID, Material, draw_color
from opensapiens.synthetic.rotations import UP, cross, lengths_of, rotation_about, rotation_between
from opensapiens.synthetic.surfaces import Surface, grid_triangles, thing, unit_sphere

_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
BOX_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)[_QUADS.ravel()]
BOX_TRIANGLES = np.concatenate([np.arange(24).reshape(6, 4)[:, [0, 1, 2]], np.arange(24).reshape(6, 4)[:, [0, 2, 3]]])
_ALONG = np.repeat([1, 1, 0, 0, 0, 0], 4)  # the axis that a pattern's first coordinate follows at each corner
_ACROSS = np.repeat([2, 2, 2, 2, 1, 1], 4)
_CORNERS_ALONG, _CORNERS_ACROSS = (BOX_CORNERS[np.arange(24), axis] for axis in (_ALONG, _ACROSS))


def box(look: Material, center: np.ndarray, half: np.ndarray, turn: np.ndarray | float = 0.0) -> Surface:
    """A box with flat faces; turn: degrees about the vertical, or a rotation (3, 3)."""
    points = BOX_CORNERS * half
    rotation = turn if isinstance(turn, np.ndarray) else rotation_about(UP, turn)
    center, texture = np.asarray(center), np.zeros((24, 3))
    texture[:, 0] = _CORNERS_ALONG * half[_ALONG] + center[0]
    texture[:, 2] = _CORNERS_ACROSS * half[_ACROSS] + center[2]
    return thing(center + points @ rotation.T, texture, BOX_TRIANGLES, look)


def pane(look: Material, corner: np.ndarray, across: np.ndarray, up: np.ndarray, cells: int = 1) -> Surface:
    """A rectangle. A pattern is scaled in meters; an IMAGE covers it once. cells: squares per side, so that parts of
    it may be behind the camera."""
    u, v, triangles = _grid(cells)
    points = corner + u[:, None] * across + v[:, None] * up
    wide, high = (1.0, 1.0) if look.pattern == IMAGE else (np.linalg.norm(across), np.linalg.norm(up))
    texture = np.stack([u * wide, v * high if look.pattern == IMAGE else 0 * u, v * high], 1)
    return thing(points, texture, triangles, look)


@functools.cache
def _grid(cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (V,) along both sides of a square, 0 to 1, and triangles of a grid over it."""
    line, i = np.linspace(0, 1, cells + 1), np.arange(cells)
    a = (i[:, None] * (cells + 1) + i).ravel()
    triangles = np.concatenate([np.stack([a, a + 1, a + cells + 2], 1), np.stack([a, a + cells + 2, a + cells + 1], 1)])
    return np.tile(line, cells + 1), np.repeat(line, cells + 1), triangles


def tube(
    look: Material, path: np.ndarray, radius: np.ndarray, sectors: int = 8, flat: float = 1.0, part: int = 0
) -> Surface:
    """A tube along points (N, 3) with a radius at each (N,); flat: ratio of its two thicknesses."""
    index = np.repeat(np.arange(len(path)), sectors + 1)
    angle = np.tile(np.arange(sectors + 1) / sectors * 2 * np.pi, len(path))
    along = np.gradient(path, axis=0)
    along /= lengths_of(along)[:, None] + 1e-9
    side = cross(along, UP + [0.03, 0.02, 0])
    side /= lengths_of(side)[:, None] + 1e-9
    third = cross(side, along)
    ring = np.cos(angle)[:, None] * side[index] + flat * np.sin(angle)[:, None] * third[index]
    length = np.concatenate([[0], np.cumsum(lengths_of(np.diff(path, axis=0)))])
    texture = np.stack([radius.mean() * np.cos(angle), radius.mean() * np.sin(angle), length[index]], 1)
    triangles = grid_triangles(len(path) - 1, sectors)
    return thing(path[index] + radius[index, None] * ring, texture, triangles, look, part)


def pole(look: Material, start: np.ndarray, end: np.ndarray, radius: float, sectors: int = 8) -> Surface:
    """A closed cylinder."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    unit, triangles = _cylinder(sectors)
    length = float(np.linalg.norm(end - start))
    points = unit * [radius, radius, length]
    turn = np.eye(3) if abs(end[2] - start[2]) > 0.9999 * length else rotation_between(UP, end - start)
    if end[2] < start[2] and turn[0, 0] == 1.0:
        start = end
    return thing(start + points @ turn.T, points, triangles, look)


@functools.cache
def _cylinder(sectors: int) -> tuple[np.ndarray, np.ndarray]:
    """A closed cylinder of radius and height 1 on the origin; its lids have vertices of their own."""
    angle = np.arange(sectors) * 2 * np.pi / sectors
    rim = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    top = rim + UP
    points = np.concatenate([rim, top, rim, top, np.zeros((1, 3)), UP[None]])
    i, j = np.arange(sectors), (np.arange(sectors) + 1) % sectors
    side = np.concatenate([np.stack([i, j, i + sectors], 1), np.stack([j, j + sectors, i + sectors], 1)])
    low = np.stack([j + 2 * sectors, i + 2 * sectors, 0 * i + 4 * sectors], 1)
    high = np.stack([i + 3 * sectors, j + 3 * sectors, 0 * i + 4 * sectors + 1], 1)
    return points, np.concatenate([side, low, high])


def ball(
    look: Material,
    center: np.ndarray,
    half: np.ndarray,
    rng: np.random.Generator | None = None,
    rough: float = 0.0,
    part: int = 0,
) -> Surface:
    """An ellipsoid, with lumps if rough."""
    points, triangles = unit_sphere()
    if rng is not None and rough:
        waves = rng.normal(0, 4, (4, 3))
        lumps = np.sin(waves @ points.T + rng.uniform(0, 6, 4)[:, None]).mean(0)
        points = points * (1 + rough * lumps)[:, None]
    return thing(np.asarray(center) + points * half, points * half, triangles, look, part)


# --- looks


def paint(rng: np.random.Generator, gloss: float = 0.2) -> Material:
    """A painted or lacquered surface."""
    color = draw_color(rng)
    return Material(color, color * 0.8, FABRIC, 3.0, float(rng.uniform(0, gloss)))


def wood(rng: np.random.Generator) -> Material:
    """Boards from pale to dark."""
    ramp = np.array([[0.5, 0.33, 0.18], [0.3, 0.16, 0.07], [0.12, 0.055, 0.025], [0.6, 0.5, 0.38], [0.05, 0.03, 0.02]])
    color = ramp[rng.integers(5)] * rng.uniform(0.7, 1.3)
    return Material(color, color * rng.uniform(0.3, 0.7), PLANKS, rng.uniform(4, 12), float(rng.uniform(0, 0.2)))


def upholstery(rng: np.random.Generator) -> Material:
    """Cloth on furniture."""
    color = draw_color(rng)
    return Material(color, color * rng.uniform(0.4, 0.8), FABRIC, rng.uniform(60, 200), 0.02, relief=(0.02, 5.0, 0.0))


def any_look(rng: np.random.Generator) -> Material:
    """Paint, wood or cloth."""
    return (paint, wood, upholstery)[rng.integers(3)](rng)


# --- furniture: all of it stands on the floor at (x, y) and is turned about the vertical


def _place(at: np.ndarray, turn: float, local: list[float]) -> np.ndarray:
    return np.array([at[0], at[1], 0.0]) + rotation_about(UP, turn) @ np.array(local, float)


def table(rng: np.random.Generator, at: np.ndarray, turn: float, top: float, half: np.ndarray) -> list[Surface]:
    """A table: top (meters) is its height, half (2,) of its length and depth."""
    look = any_look(rng)
    parts = [box(look, _place(at, turn, [0, 0, top - 0.02]), np.array([half[0], half[1], 0.02]), turn)]
    if rng.random() < 0.15:
        return [*parts, box(look, _place(at, turn, [0, 0, top / 2]), np.array([*(half * 0.95), top / 2 - 0.03]), turn)]
    return parts + _legs(look, at, turn, half - 0.05, top - 0.03, 0.025)


def _legs(look: Material, at: np.ndarray, turn: float, half: np.ndarray, high: float, radius: float) -> list[Surface]:
    """Four legs of a table or chair at the corners of a rectangle of half extents (2,)."""
    feet = [_place(at, turn, [x * half[0], y * half[1], 0]) for x in (-1, 1) for y in (-1, 1)]
    return [pole(look, foot, foot + UP * high, radius, 6) for foot in feet]


def clutter_on(rng: np.random.Generator, at: np.ndarray, turn: float, top: float, half: np.ndarray) -> list[Surface]:
    """Cups, plates, books, bottles, screens on a table."""
    things = []
    for _ in range(rng.integers(0, 6)):
        place = _place(at, turn, [rng.uniform(-0.85, 0.85) * half[0], rng.uniform(-0.8, 0.8) * half[1], top])
        kind = rng.integers(5)
        if kind == 0:
            things.append(pole(paint(rng, 0.5), place, place + UP * rng.uniform(0.07, 0.12), rng.uniform(0.03, 0.045)))
        elif kind == 1:
            things.append(pole(paint(rng, 0.6), place, place + UP * rng.uniform(0.2, 0.3), rng.uniform(0.025, 0.04)))
        elif kind == 2:
            size = np.array([rng.uniform(0.07, 0.12), rng.uniform(0.1, 0.16), rng.uniform(0.005, 0.04)])
            things.append(box(paint(rng), place + UP * size[2], size, rng.uniform(0, 360)))
        elif kind == 3:
            things.append(pole(paint(rng, 0.5), place, place + UP * 0.015, rng.uniform(0.08, 0.14), 14))
        else:
            size = np.array([rng.uniform(0.13, 0.3), 0.01, rng.uniform(0.1, 0.2)])
            things.append(box(paint(rng, 0.6), place + UP * size[2], size, turn + rng.normal(0, 20)))
    return things


def chair(rng: np.random.Generator, at: np.ndarray, turn: float, top: float) -> list[Surface]:
    """A chair, stool, armchair, block or bench with its seat at a height; it faces -y before the turn."""
    look, kind = any_look(rng), rng.choice(5, p=[0.4, 0.12, 0.2, 0.13, 0.15])
    width = rng.uniform(0.19, 0.25) if kind != 4 else rng.uniform(0.6, 1.1)
    depth = rng.uniform(0.19, 0.24)
    thick = min(0.03 if kind in (0, 1, 4) else 0.09, top * 0.45)
    parts = [box(look, _place(at, turn, [0, 0, top - thick]), np.array([width, depth, thick]), turn)]
    if kind == 3:
        return [box(look, _place(at, turn, [0, 0, top / 2]), np.array([width, depth, top / 2]), turn)]
    if kind == 2:
        parts.append(box(look, _place(at, turn, [0, 0, top / 2]), np.array([width, depth, top / 2 - 0.02]), turn))
        for x in (-1, 1):
            place = _place(at, turn, [x * (width + 0.06), 0, (top + 0.18) / 2])
            parts.append(box(look, place, np.array([0.06, depth, (top + 0.18) / 2]), turn))
    else:
        parts += _legs(paint(rng), at, turn, np.array([width, depth]) - 0.03, top - thick, 0.017)
    if kind in (0, 2) or rng.random() < 0.4:
        high = rng.uniform(0.18, 0.32)
        place = _place(at, turn, [0, depth + 0.04, top + high + rng.uniform(0.0, 0.12)])
        parts.append(box(look, place, np.array([width, 0.025, high]), turn))
    return parts


def shelf(rng: np.random.Generator, at: np.ndarray, turn: float) -> list[Surface]:
    """Boards with books and boxes on them."""
    look, wide, high = wood(rng), rng.uniform(0.4, 0.9), rng.uniform(0.9, 2.2)
    parts = []
    for x in (-1, 1):
        side = _place(at, turn, [x * wide, 0, high / 2])
        parts.append(box(look, side, np.array([0.015, 0.15, high / 2]), turn))
    for z in np.arange(0.05, high, rng.uniform(0.3, 0.42)):
        parts.append(box(look, _place(at, turn, [0, 0, z]), np.array([wide, 0.15, 0.012]), turn))
        along = -wide + 0.05
        while along < wide - 0.1 and len(parts) < 60:
            size = np.array([rng.uniform(0.02, 0.09), 0.11, rng.uniform(0.08, 0.14)])
            if rng.random() < 0.75:
                parts.append(box(paint(rng), _place(at, turn, [along + size[0], 0, z + 0.012 + size[2]]), size, turn))
            along += 2 * size[0] + 0.005
    return parts


def plant(rng: np.random.Generator, at: np.ndarray, tall: float) -> list[Surface]:
    """A pot with leaves."""
    foot = np.array([at[0], at[1], 0.0])
    parts = [pole(paint(rng), foot, foot + UP * 0.25 * tall, 0.13 * tall + 0.05, 10)]
    look = leaves(rng)
    for _ in range(rng.integers(3, 7)):
        center = foot + UP * tall * rng.uniform(0.45, 0.95) + rng.normal(0, 0.1 * tall, 3) * [1, 1, 0.5]
        parts.append(ball(look, center, tall * rng.uniform(0.08, 0.25, 3), rng, 0.5))
    return parts


def leaves(rng: np.random.Generator) -> Material:
    """Foliage in its colors."""
    green = np.array([0.04, 0.1, 0.02]) * rng.uniform(0.5, 2.0) * rng.uniform(0.7, 1.3, 3)
    if rng.random() < 0.12:
        green = np.array([0.25, 0.1, 0.02]) * rng.uniform(0.5, 1.6)
    return Material(green * 0.35, green * 1.8, LEAVES, rng.uniform(6, 14), 0.02)


def tree(rng: np.random.Generator, at: np.ndarray) -> list[Surface]:
    """A trunk and a crown, or a conifer."""
    foot, tall = np.array([at[0], at[1], 0.0]), rng.uniform(3.0, 9.0)
    bark = np.array([0.1, 0.07, 0.05]) * rng.uniform(0.5, 1.6)
    trunk = Material(bark, bark * 0.4, LEAVES, 12.0, 0.0)
    parts = [pole(trunk, foot, foot + UP * tall * 0.6, 0.03 * tall, 7)]
    look = leaves(rng)
    if rng.random() < 0.25:
        for z in np.linspace(0.3, 0.9, 4):
            reach = tall * 0.28 * (1.1 - z)
            parts.append(ball(look, foot + UP * tall * z, np.array([reach, reach, 0.15 * tall]), rng, 0.4))
        return parts
    for _ in range(rng.integers(4, 9)):
        center = foot + UP * tall * rng.uniform(0.55, 0.95) + rng.normal(0, 0.13 * tall, 3) * [1, 1, 0.4]
        parts.append(ball(look, center, tall * rng.uniform(0.1, 0.24, 3), rng, 0.5))
    return parts


def car(rng: np.random.Generator, at: np.ndarray, turn: float) -> list[Surface]:
    """A car: body, cabin with dark windows, wheels."""
    body = Material(draw_color(rng), np.zeros(3), SOLID, 1.0, 0.5)
    dark = Material(np.full(3, 0.015), np.full(3, 0.02), SOLID, 1.0, 0.6)
    parts = [
        box(body, _place(at, turn, [0, 0, 0.55]), np.array([2.1, 0.85, 0.28]), turn),
        box(dark, _place(at, turn, [0.2, 0, 1.02]), np.array([1.15, 0.74, 0.2]), turn),
        box(body, _place(at, turn, [0.2, 0, 1.24]), np.array([1.0, 0.7, 0.03]), turn),
    ]
    for axle in (-1.3, 1.3):
        parts.append(pole(dark, _place(at, turn, [axle, -0.87, 0.32]), _place(at, turn, [axle, 0.87, 0.32]), 0.32, 12))
    return parts


def building(rng: np.random.Generator, at: np.ndarray, turn: float, half: np.ndarray) -> Surface:
    """A block with windows, of half extents (3,)."""
    wall = draw_color(rng) * 0.5 + np.array([0.2, 0.18, 0.15]) * rng.uniform(0.3, 1.5)
    glass = np.array([0.03, 0.04, 0.05]) * rng.uniform(0.5, 4)
    look = Material(wall, glass, FACADE, 1 / rng.uniform(1.6, 3.5), 0.1)
    if rng.random() < 0.2:
        look = Material(wall, wall * 1.4, BRICK, 8.0, 0.0)
    return box(look, np.array([at[0], at[1], half[2]]), half, turn)


def held(rng: np.random.Generator, palm: np.ndarray, along: np.ndarray, facing: np.ndarray) -> list[Surface]:
    """A thing in a hand: palm is its center, along the direction of the fingers, which it lies across, facing the
    direction out of the palm."""
    across = cross(along, facing)
    across /= np.linalg.norm(across) + 1e-9
    at = palm + 0.03 * facing
    kind, look = rng.integers(7), paint(rng, 0.5)
    axes = np.stack([along, facing, across], 1)
    if kind == 0:  # a phone
        dark = Material(np.full(3, rng.choice([0.01, 0.02, 0.4])), np.full(3, 0.01), SOLID, 1.0, 0.7)
        return [box(dark, at, np.array([0.075, 0.005, 0.037]), axes)]
    if kind == 1:  # a cup or a bottle, upright in the fist
        return [pole(look, at - 0.06 * across, at + rng.uniform(0.06, 0.16) * across, rng.uniform(0.027, 0.04), 10)]
    if kind == 2:  # a stick, racket, broom, pole
        ends = at - rng.uniform(0.1, 0.5) * across, at + rng.uniform(0.4, 0.9) * across
        stick = [pole(look, *ends, rng.uniform(0.008, 0.02), 6)]
        if rng.random() < 0.4:
            turn = rotation_between(UP, facing)
            middle = ends[1] + 0.13 * across
            rim = np.array([[np.cos(a) * 0.13, np.sin(a) * 0.13, 0] for a in np.linspace(0, 2 * np.pi, 13)])
            stick.append(tube(look, middle + rim @ turn.T, np.full(13, 0.012), 6))
        return stick
    if kind == 3:  # a book or a tablet
        return [box(look, at + 0.05 * along, np.array([0.1, rng.uniform(0.005, 0.015), 0.075]), axes)]
    if kind == 4:  # a ball
        radius = rng.uniform(0.03, 0.11)
        return [ball(look, palm + (radius + 0.012) * facing, np.full(3, radius))]
    if kind == 5:  # a bag that hangs
        size = np.array([rng.uniform(0.1, 0.2), rng.uniform(0.04, 0.08), rng.uniform(0.1, 0.2)])
        return [box(upholstery(rng), at - UP * (size[2] + 0.08), size, rng.uniform(0, 360))]
    return [box(look, at, rng.uniform(0.02, 0.07, 3), axes)]
