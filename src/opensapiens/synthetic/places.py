"""Places: rooms, streets, fields and studios."""

from dataclasses import dataclass

import numpy as np

from opensapiens.synthetic import props
from opensapiens.synthetic.atlas import PICTURES, WINDOWS, page_of
from opensapiens.synthetic.materials import (
    BRICK,
    FABRIC,
    GROUND,
    IMAGE,
    PLANKS,
    SOLID,
    STRIPES,
    TILES,
    Material,
    draw_color,
)
from opensapiens.synthetic.rasterizer import Camera, Light
from opensapiens.synthetic.rotations import UP, rotation_about
from opensapiens.synthetic.surfaces import Surface

KINDS = {"room": 0.46, "street": 0.2, "nature": 0.2, "studio": 0.14}


@dataclass(frozen=True)
class Place:
    """A place: its kind; things nearby, which cast shadows; a distant shell, which does not; the radius of the floor in
    meters and its material; the light; and linear colors of sky and horizon for the background."""

    kind: str
    things: list[Surface]
    shell: list[Surface]
    ground: float | None
    floor: Material
    light: Light
    zenith: np.ndarray
    horizon: np.ndarray


def draw_place(
    rng: np.random.Generator, camera: Camera, deep: float, wide: float, distance: float, surrounded: bool
) -> Place:
    """Draws a place for people who extend `deep` into it (+y) and `wide` to the sides, at a distance from the camera
    (meters)."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == "room" and distance > 7 and rng.random() < 0.7:
        kind = "street" if rng.random() < 0.5 else "nature"
    light = _draw_light(rng)
    zenith, horizon = _sky_colors(rng)
    if surrounded:
        ground = float(rng.uniform(6, 20)) if rng.random() < 0.4 else None
        return Place("surroundings", [], [], ground, _floor(rng, "street"), light, zenith, horizon)
    floor = _floor(rng, kind)
    if kind == "room":
        things, shell, wall = _room(rng, camera, deep, wide)
        soft = Light(light.direction, light.color * rng.uniform(0.2, 0.9), light.sky, light.ground, light.softness * 2)
        return Place(kind, things, shell, 80.0, floor, soft, wall, wall)
    if kind == "studio":
        plain = draw_color(rng) * 0.8 + 0.1
        seam = Material(plain, plain, SOLID, 1.0, 0.0)
        return Place(kind, [], [], float(rng.uniform(5, 12)), seam, light, plain * 0.8, plain)
    things, shell = _street(rng, deep, wide) if kind == "street" else ([], _nature(rng, deep))
    return Place(kind, things, shell, float(rng.uniform(40, 90)), floor, light, zenith, horizon)


def _draw_light(rng: np.random.Generator) -> Light:
    """A sun, a lamp or a window somewhere above, and a procedural sky."""
    elevation, azimuth = np.deg2rad(rng.uniform(12, 85)), rng.normal(0, 1.3) - np.pi / 2
    direction = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    warm = rng.normal(0, 0.12)
    key = rng.uniform(0.15, 1.4) * np.array([1 + warm, 1, 1 - warm])
    sky = rng.uniform(0.15, 0.8) * np.clip(1 + rng.normal(0, 0.1, 3), 0.6, 1.4)
    return Light(direction, key, sky, sky * rng.uniform(0.25, 0.9), float(rng.uniform(0.6, 2.5)))


def _sky_colors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    kinds = (
        ([0.16, 0.35, 0.75], [0.7, 0.82, 0.95]), ([0.65, 0.68, 0.72], [0.85, 0.86, 0.87]),
        ([0.25, 0.32, 0.55], [0.95, 0.6, 0.35]), ([0.4, 0.55, 0.8], [0.9, 0.92, 0.93]),
        ([0.02, 0.025, 0.05], [0.06, 0.06, 0.09]),
    )  # fmt: skip
    zenith, horizon = kinds[rng.choice(5, p=[0.32, 0.28, 0.1, 0.24, 0.06])]
    level = rng.uniform(0.6, 1.3)
    return np.array(zenith) * level * rng.normal(1, 0.05, 3), np.array(horizon) * level * rng.normal(1, 0.05, 3)


def _floor(rng: np.random.Generator, kind: str) -> Material:
    if kind == "room":
        if rng.random() < 0.4:
            board = props.wood(rng)
            return Material(board.first, board.second, PLANKS, float(rng.uniform(5, 11)), board.gloss)
        color = draw_color(rng) * 0.7 + 0.03
        pattern = int(rng.choice([TILES, FABRIC, GROUND]))
        frequency = {TILES: rng.uniform(1.5, 5), FABRIC: rng.uniform(20, 90), GROUND: rng.uniform(5, 30)}[pattern]
        return Material(color, color * rng.uniform(0.3, 0.8), pattern, float(frequency), float(rng.uniform(0, 0.3)))
    natural = (
        ([0.05, 0.1, 0.02], [0.16, 0.22, 0.06]), ([0.12, 0.1, 0.08], [0.3, 0.25, 0.18]),
        ([0.5, 0.42, 0.3], [0.75, 0.66, 0.5]), ([0.75, 0.78, 0.84], [0.9, 0.92, 0.95]),
    )  # fmt: skip
    paved = (
        ([0.06, 0.06, 0.065], [0.16, 0.16, 0.16]), ([0.25, 0.24, 0.22], [0.4, 0.38, 0.35]),
        ([0.3, 0.14, 0.09], [0.4, 0.25, 0.18]),
    )  # fmt: skip
    first, second = natural[rng.choice(4, p=[0.5, 0.2, 0.17, 0.13])] if kind == "nature" else paved[rng.integers(3)]
    low, high = np.array(first) * rng.uniform(0.6, 1.4), np.array(second) * rng.uniform(0.6, 1.3)
    if kind == "street" and rng.random() < 0.45:
        return Material(high, low, int(rng.choice([TILES, BRICK])), float(rng.uniform(1.5, 8)), 0.03)
    return Material(low, high, GROUND, float(rng.uniform(15, 60)), 0.0)


def _room(
    rng: np.random.Generator, camera: Camera, deep: float, wide: float
) -> tuple[list[Surface], list[Surface], np.ndarray]:
    """Furniture of a room, its walls with what is on them, and the color of the walls."""
    turn = rng.normal(0, 18)
    axes = rotation_about(UP, turn)
    back, side = deep + rng.uniform(0.3, 3.0), wide + rng.uniform(0.8, 3.5)
    high = max(rng.uniform(2.3, 3.4), camera.position[2] + 0.4)
    color = draw_color(rng) * 0.6 + np.array([0.3, 0.29, 0.27]) * rng.uniform(0.2, 1.3)
    pattern = int(rng.choice([SOLID, FABRIC, STRIPES, BRICK, TILES, PLANKS], p=[0.5, 0.22, 0.06, 0.08, 0.07, 0.07]))
    frequency = {STRIPES: rng.uniform(2, 9), BRICK: 7.0, TILES: rng.uniform(3, 9), PLANKS: 6.0}.get(pattern, 3.0)
    second = np.clip(color * rng.uniform(0.7, 0.95), 0, 1)
    look = Material(np.clip(color, 0, 0.9), second, pattern, float(frequency), 0.02)
    near = camera.position[1] - 1.0
    corner = np.array([-side, back, 0.0])
    walls = [(corner, np.array([2 * side, 0, 0]))]
    eye = np.linalg.inv(axes) @ camera.position
    for x in (-side, side):
        start = np.array([x, near, 0.0])
        if eye[0] * np.sign(x) < side - 0.2:
            walls.append((start, np.array([0, back - near, 0])))
    shell = []
    for start, along in walls:
        shell.append(props.pane(look, axes @ start, axes @ along, UP * high, cells=10))
        shell += _on_wall(rng, axes, start, along, high, look.first)
    white = np.full(3, rng.uniform(0.6, 0.9))
    ceiling = Material(white, white, SOLID, 1.0, 0.0, glow=0.25)
    corner, across = np.array([-side, near, high]), np.array([2 * side, 0, 0])
    shell.append(props.pane(ceiling, axes @ corner, axes @ across, axes @ [0, back - near, 0], cells=10))
    things: list[Surface] = []
    for _ in range(rng.integers(0, 5)):
        at = (axes @ np.array([rng.uniform(-side, side), rng.uniform(deep + 0.2, back), 0]))[:2]
        things += _furniture(rng, at, turn + float(rng.choice([0, 0, 90, 180])))
    return things, shell, look.first * 0.6


def _furniture(rng: np.random.Generator, at: np.ndarray, turn: float) -> list[Surface]:
    kind = rng.integers(6)
    if kind == 0:
        top, half = rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.8, 2)
        return props.table(rng, at, turn, top, half) + props.clutter_on(rng, at, turn, top, half)
    if kind == 1:
        return props.chair(rng, at, turn, rng.uniform(0.38, 0.5))
    if kind == 2:
        return props.shelf(rng, at, turn)
    if kind == 3:
        return props.plant(rng, at, rng.uniform(0.5, 1.8))
    if kind == 4:  # a cupboard
        half = np.array([rng.uniform(0.3, 0.9), 0.25, rng.uniform(0.35, 1.1)])
        return [props.box(props.any_look(rng), np.array([*at, half[2]]), half, turn)]
    foot = np.array([*at, 0.0])  # a lamp
    glow = Material(np.array([1.0, 0.85, 0.6]), np.ones(3), SOLID, 1.0, 0.0, glow=1.2)
    return [
        props.pole(props.paint(rng), foot, foot + UP * 1.4, 0.015),
        props.pole(glow, foot + UP * 1.35, foot + UP * 1.65, 0.16, 12),
    ]


def _on_wall(
    rng: np.random.Generator, axes: np.ndarray, start: np.ndarray, along: np.ndarray, high: float, wall: np.ndarray
) -> list[Surface]:
    """Windows, doors, pictures and a baseboard on a wall."""
    length = float(np.linalg.norm(along))
    direction = along / length
    inward = np.array([-np.sign(start[0]) if direction[1] else 0.0, 0.0 if direction[1] else -1.0, 0.0])
    turn, ahead = axes @ np.stack([direction, -inward, UP], 1), axes @ direction
    parts: list[Surface] = []
    x = rng.uniform(0.1, 0.8)
    frame = props.paint(rng)
    frame = Material(np.clip(wall * 0.4 + 0.5, 0, 1), wall, SOLID, 1.0, 0.05) if rng.random() < 0.6 else frame
    while x < min(length, 14.0) - 0.3 and len(parts) < 40:
        kind = rng.choice(4, p=[0.34, 0.14, 0.3, 0.22])
        wide = rng.uniform(0.5, 1.6)
        if kind == 0:  # a window
            low, tall = rng.uniform(0.2, 1.0), rng.uniform(0.8, 1.5)
            page = int(rng.integers(WINDOWS.start, WINDOWS.stop))
            light = np.ones(3) * rng.uniform(0.5, 1.3)
            look = Material(light, light, IMAGE, 1.0, 0.0, page_of(page), glow=1.0)
        elif kind == 1:  # a door
            low, tall, wide = 0.0, 2.05, 0.9
            look = props.any_look(rng)
        elif kind == 2:  # a picture, poster, screen
            low, tall, wide = rng.uniform(1.0, 1.5), rng.uniform(0.3, 0.9), rng.uniform(0.3, 1.1)
            page = int(rng.integers(PICTURES.start, PICTURES.stop))
            look = Material(np.full(3, 0.85), np.ones(3), IMAGE, 1.0, 0.1, page_of(page))
        else:
            x += wide
            continue
        tall = min(tall, high - low - 0.05)
        at = axes @ (start + direction * x + inward * 0.03 + UP * low)
        parts.append(props.pane(look, at, ahead * wide, UP * tall))
        middle = axes @ (start + direction * (x + wide / 2) + inward * 0.02)
        for up in (low, low + tall):
            parts.append(props.box(frame, middle + UP * up, np.array([wide / 2 + 0.05, 0.03, 0.025]), turn))
        for out in (-wide / 2, wide / 2) + ((0.0,) if kind == 0 else ()):
            place = middle + ahead * out + UP * (low + tall / 2)
            parts.append(props.box(frame, place, np.array([0.025, 0.03, tall / 2]), turn))
        x += wide + rng.uniform(0.2, 1.6)
    middle = axes @ (start + along / 2 + inward * 0.01) + UP * 0.05
    parts.append(props.box(frame, middle, np.array([length / 2, 0.012, 0.05]), turn))
    return parts


def _street(rng: np.random.Generator, deep: float, wide: float) -> tuple[list[Surface], list[Surface]]:
    far, shell = deep + rng.uniform(3, 25), []
    turn = rng.normal(0, 12)
    x = -30.0
    while x < 30:
        half = np.array([rng.uniform(2.5, 7), rng.uniform(3, 6), rng.uniform(2.5, 9)])
        x += half[0]
        if rng.random() < 0.85:
            at = rotation_about(UP, turn) @ np.array([x, far + half[1] + rng.uniform(0, 2), 0])
            shell.append(props.building(rng, at[:2], turn, half))
        x += half[0] + rng.choice([0.0, rng.uniform(0, 4)])
    for side in (-1, 1):
        if rng.random() < 0.4:
            half = np.array([rng.uniform(3, 5), rng.uniform(6, 12), rng.uniform(3, 8)])
            at = np.array([side * (wide + half[0] + rng.uniform(2, 6)), deep + half[1], 0])
            shell.append(props.building(rng, at[:2], 0.0, half))
    things: list[Surface] = []
    for _ in range(rng.integers(0, 6)):
        at = np.array([rng.choice([-1, 1]) * (wide + rng.uniform(0.6, 6)), deep + rng.uniform(0.3, 8)])
        kind = rng.integers(5)
        if kind == 0:
            things += props.car(
                rng, np.array([at[0], deep + rng.uniform(2, 9)]), rng.choice([0, 180]) + rng.normal(0, 8)
            )
        elif kind == 1:
            things += props.tree(rng, at)
        elif kind == 2:
            foot = np.array([*at, 0.0])
            things.append(props.pole(props.paint(rng), foot, foot + UP * rng.uniform(0.8, 5), rng.uniform(0.03, 0.08)))
        elif kind == 3:
            things += props.chair(rng, at, rng.uniform(0, 360), 0.45)
        else:
            half = np.array([rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.6)])
            things.append(props.box(props.any_look(rng), np.array([*at, half[2]]), half, rng.uniform(0, 90)))
    return things, shell


def _nature(rng: np.random.Generator, deep: float) -> list[Surface]:
    shell: list[Surface] = []
    for _ in range(rng.integers(0, 14)):
        place = np.array([rng.normal(0, 6), deep + rng.uniform(1.5, 25)])
        shell += props.tree(rng, place)
    for _ in range(rng.integers(0, 8)):  # bushes
        size = rng.uniform(0.3, 1.3)
        at = np.array([rng.normal(0, 4), deep + rng.uniform(0.8, 12), size * 0.4])
        shell.append(props.ball(props.leaves(rng), at, size * rng.uniform(0.5, 1.3, 3), rng, 0.5))
    if rng.random() < 0.3:  # a fence
        y, look = deep + rng.uniform(1, 6), props.wood(rng)
        for x in np.arange(-8, 8, 1.6):
            shell.append(props.box(look, np.array([x, y, 0.55]), np.array([0.05, 0.05, 0.55])))
        for z in (0.4, 0.9):
            shell.append(props.box(look, np.array([0, y, z]), np.array([8.0, 0.02, 0.06])))
    return shell
