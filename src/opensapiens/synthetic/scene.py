"""Scenes: people together with things, a floor, light and a camera, drawn at random and put in one mesh."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from opensapiens.synthetic.body import TIGHTS, BodyModel, Person
from opensapiens.synthetic.clothing import FAR, Surface, Wardrobe, unit_sphere
from opensapiens.synthetic.materials import Material, draw_cloth, draw_color
from opensapiens.synthetic.poses import rotation_about
from opensapiens.synthetic.rasterizer import (
    BLOBS,
    CHECKS,
    KNIT,
    SOLID,
    STRIPES,
    Camera,
    Casters,
    Ground,
    Light,
    Materials,
    Mesh,
    vertex_normals,
)
from opensapiens.synthetic.style import Style

VIEWS = ("whole", "upper", "face", "part")
"""What the camera is framed on; Style.framing has their chances."""


@dataclass(frozen=True)
class ScenePlan:
    """All random choices about people; outfits: Outfit in version 1, Attire in version 2; positions (N, 2) metres on
    the floor."""

    people: list[Person]
    outfits: list[Any]
    positions: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A mesh with its materials, seen and lit; bodies: posed vertices (N, V, 3) of each person in the world."""

    mesh: Mesh
    materials: Materials
    camera: Camera
    light: Light
    ground: Ground | None
    bodies: np.ndarray
    casters: Casters | None = None


def plan_scene(rng: np.random.Generator, style: Style, model: BodyModel, wardrobe: Wardrobe) -> ScenePlan:
    """Draws who is there and where; the first person is the one the camera is set up for."""
    count = 1 + int(rng.choice(len(style.people), p=style.people))
    people = [model.draw(rng) for _ in range(count)]
    outfits = [wardrobe.draw(rng, p.phenotype["age"], p.phenotype["gender"]) for p in people]
    positions = np.zeros((count, 2))
    for i in range(1, count):
        side = rng.choice([-1.0, 1.0])
        positions[i] = [side * rng.uniform(0.15, 1.1), rng.uniform(-0.8, 2.2)]
        if abs(positions[i, 1]) < 0.4:
            positions[i, 0] += side * 0.4
    return ScenePlan(people, outfits, positions)


def build_scene(
    rng: np.random.Generator, style: Style, plan: ScenePlan, vertices: np.ndarray, wardrobe: Wardrobe
) -> Scene:
    """The scene of a plan, given the people's posed vertices (N, V, 3) as BodyModel.vertices returns them."""
    bodies = vertices.copy()
    bodies[:, :, :2] += plan.positions[:, None]
    surfaces: list[tuple[Surface, int]] = []
    for i, (body, outfit) in enumerate(zip(bodies, plan.outfits, strict=True)):
        surfaces += [(surface, i + 1) for surface in wardrobe.dress(body, outfit)]
    camera = _place_camera(rng, style, bodies[0], wardrobe)
    if plan.people[0].activity == "sitting" and rng.random() < 0.75:
        surfaces += [(box, 0) for box in _seat(rng, bodies[0], plan.people[0].yaw)]
    surfaces += [(thing, 0) for thing in _things_around(rng)]
    if rng.random() < style.occluders:
        surfaces += [(thing, 0) for thing in things_in_front(rng, camera, bodies[0])]
    ground = Ground(0.0, 0, float(rng.uniform(6, 30))) if rng.random() < 0.7 else None
    floor = draw_floor(rng)
    mesh, materials = merge(surfaces, floor)
    return Scene(mesh, materials, camera, draw_light(rng), ground, bodies)


def draw_floor(rng: np.random.Generator) -> Material:
    """The look of a floor."""
    return Material(
        draw_color(rng),
        draw_color(rng),
        int(rng.choice([SOLID, STRIPES, CHECKS, BLOBS, KNIT])),
        rng.uniform(0.5, 8),
        rng.uniform(0, 0.2),
    )


def merge(
    surfaces: list[tuple[Surface, int]], floor: Material, atlas: np.ndarray | None = None
) -> tuple[Mesh, Materials]:
    """One mesh of all surfaces; material 0 is the floor's; atlas: that of pages the materials name."""
    looks = [floor] + [surface.material for surface, _ in surfaces]
    offsets = np.cumsum([0] + [len(surface.vertices) for surface, _ in surfaces])
    counts = [len(surface.triangles) for surface, _ in surfaces]
    vertices = np.concatenate([s.vertices for s, _ in surfaces], dtype=np.float32)
    corners = [surface.triangles + offset for (surface, _), offset in zip(surfaces, offsets, strict=False)]
    triangles = np.concatenate(corners, dtype=np.int32)
    normals = vertex_normals(vertices, triangles)
    for (surface, _), offset in zip(surfaces, offsets, strict=False):
        if surface.normals is not None:
            normals[offset : offset + len(surface.vertices)] = surface.normals
    mesh = Mesh(
        vertices,
        normals,
        np.concatenate([s.texture for s, _ in surfaces], dtype=np.float32),
        np.concatenate([s.paint for s, _ in surfaces], dtype=np.float32),
        np.concatenate([s.keep for s, _ in surfaces], dtype=np.float32),
        triangles,
        np.repeat(np.arange(1, len(surfaces) + 1, dtype=np.int32), counts),
        np.concatenate([s.parts for s, _ in surfaces]),
        np.repeat(np.array([instance for _, instance in surfaces], np.int32), counts),
    )
    materials = Materials(
        np.array([look.first for look in looks]),
        np.array([look.second for look in looks]),
        np.array([look.pattern for look in looks]),
        np.array([look.frequency for look in looks]),
        np.array([look.gloss for look in looks]),
        np.array([look.page for look in looks]),
        atlas,
        np.array([look.relief for look in looks]),
        np.array([look.scatter for look in looks]),
        np.array([look.glow for look in looks]),
    )
    return mesh, materials


def _place_camera(rng: np.random.Generator, style: Style, body: np.ndarray, wardrobe: Wardrobe) -> Camera:
    """A camera south of the person, at any height, framed on the whole body, its upper half, the face or any part."""
    skin = body[: len(wardrobe.anatomy.scalp)]
    low, high = skin.min(0), skin.max(0)
    view = str(rng.choice(VIEWS, p=style.framing))
    head = skin[wardrobe.anatomy.scalp > 0].mean(0)
    if view == "whole":
        target, fraction = (low + high) / 2, np.exp(rng.uniform(*np.log(style.height)))
    elif view == "upper":
        chest = skin[wardrobe.torso_vertices].mean(0)
        target, fraction = 0.5 * (head + chest), rng.uniform(1.3, 2.6)
    elif view == "face":
        target, fraction = head - [0, 0, 0.05], rng.uniform(2.6, 5.5)
    else:
        target, fraction = body[rng.integers(*TIGHTS)], rng.uniform(1.0, 2.0)
    return aim(rng, style, view, target, float(fraction), extent_of(low, high))


def extent_of(low: np.ndarray, high: np.ndarray) -> float:
    """How long a body in a box (metres) looks, more or less, from anywhere around it."""
    return float(np.linalg.norm((high - low) * [0.7, 0.7, 1.0]))


def aim(
    rng: np.random.Generator, style: Style, view: str, target: np.ndarray, fraction: float, extent: float
) -> Camera:
    """A camera with a random lens, height and roll on a target, for which `extent` metres fill that fraction of the
    frame's height."""
    height, width = style.size
    focal = height * np.exp(rng.uniform(np.log(0.8), np.log(3.2)))
    distance = max(focal * extent / (fraction * height), 0.45 + 0.25 * extent)
    focal = distance * fraction * height / extent
    elevation = rng.choice([rng.normal(4, 7), rng.uniform(-20, 50)], p=[0.65, 0.35])
    roll = rng.normal(0, 4)
    flat = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    rotation = rotation_about(np.array([0, 0, 1.0]), roll) @ rotation_about(np.array([1.0, 0, 0]), elevation) @ flat
    jitter = rng.uniform(-0.06, 0.06, 2)
    if rng.random() < style.off_center:
        jitter = rng.uniform(-0.45, 0.45, 2)
    elif view == "whole":
        jitter = rng.uniform(-0.5, 0.5, 2) * max(1 - fraction, 0.05)
    center = ((width - 1) / 2 + jitter[0] * width, (height - 1) / 2 + jitter[1] * height)
    position = target + rotation[2] * distance
    shift = np.array([(center[0] - (width - 1) / 2), -(center[1] - (height - 1) / 2), 0]) * distance / focal
    return Camera(rotation, position - shift @ rotation, float(focal), ((width - 1) / 2, (height - 1) / 2), style.size)


def draw_light(rng: np.random.Generator) -> Light:
    """A sun, a lamp or a window anywhere above, and a procedural sky."""
    elevation, azimuth = np.deg2rad(rng.uniform(12, 85)), rng.normal(0, 1.3) - np.pi / 2
    direction = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    warm = rng.normal(0, 0.12)
    key = rng.uniform(0.15, 1.4) * np.array([1 + warm, 1, 1 - warm])
    sky = rng.uniform(0.15, 0.8) * np.clip(1 + rng.normal(0, 0.1, 3), 0.6, 1.4)
    return Light(direction, key, sky, sky * rng.uniform(0.25, 0.9), float(rng.uniform(0.6, 2.5)))


def _thing_look(rng: np.random.Generator) -> Material:
    look = draw_cloth(rng)
    return Material(look.first, look.second, look.pattern, look.frequency * 0.5, float(rng.uniform(0, 0.6)))


def _box(rng: np.random.Generator, center: np.ndarray, half: np.ndarray, rotation: np.ndarray) -> Surface:
    """A box with flat faces."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    points = corners[quads.ravel()]
    triangles = np.concatenate([np.arange(24).reshape(6, 4)[:, [0, 1, 2]], np.arange(24).reshape(6, 4)[:, [0, 2, 3]]])
    return _thing(center + points @ rotation.T, points, triangles, _thing_look(rng))


def _blob(rng: np.random.Generator, center: np.ndarray, half: np.ndarray, rotation: np.ndarray) -> Surface:
    """An ellipsoid."""
    points, triangles = unit_sphere()
    return _thing(center + (points * half) @ rotation.T, points * half, triangles, _thing_look(rng))


def _thing(vertices: np.ndarray, texture: np.ndarray, triangles: np.ndarray, look: Material) -> Surface:
    count = len(vertices)
    parts = np.zeros(len(triangles), np.uint8)
    return Surface(vertices, texture, np.zeros((count, 4)), np.full(count, FAR), triangles, parts, look)


def _seat(rng: np.random.Generator, body: np.ndarray, yaw: float) -> list[Surface]:
    """A block under the seat of a sitting person, at times with a back."""
    turn = rotation_about(np.array([0, 0, 1.0]), yaw)
    local = (body[:13380] - body[:13380].mean(0)) @ turn
    seat = body[:13380][(local[:, 1] > np.quantile(local[:, 1], 0.6)) & (np.abs(local[:, 0]) < 0.2)]
    top = max(float(np.quantile(seat[:, 2], 0.02)) - 0.01, 0.05)
    middle = np.array([seat[:, 0].mean(), seat[:, 1].mean(), top / 2])
    half = np.array([rng.uniform(0.18, 0.5), rng.uniform(0.15, 0.3), top / 2])
    boxes = [_box(rng, middle, half, turn)]
    if rng.random() < 0.4:
        back = middle + turn @ np.array([0, half[1] + 0.09, 0.0])
        back[2] = top + rng.uniform(0.1, 0.3)
        boxes.append(_box(rng, back, np.array([half[0], 0.04, back[2] - top * 0.8]), turn))
    return boxes


def _things_around(rng: np.random.Generator) -> list[Surface]:
    """Furniture and the like beside and behind the people."""
    things = []
    for _ in range(int(rng.choice([0, int(rng.integers(1, 4)), int(rng.integers(3, 9))], p=[0.3, 0.45, 0.25]))):
        place = np.array([rng.normal(0, 1.6), rng.uniform(0.3, 4.0), 0.0])
        half = np.exp(rng.normal(-1.2, 0.6, 3)).clip(0.03, 1.2)
        place[2] = half[2] if rng.random() < 0.7 else rng.uniform(0, 2.2)
        turn = rotation_about(np.array([0, 0, 1.0]), rng.uniform(0, 360))
        things.append((_box if rng.random() < 0.65 else _blob)(rng, place, half, turn))
    return things


def things_in_front(rng: np.random.Generator, camera: Camera, body: np.ndarray) -> list[Surface]:
    """One to three things between the camera and the person, each over some part of the body."""
    height, width = camera.size
    seen = camera.project(body[::37])
    inside = (seen[:, 0] > 0) & (seen[:, 0] < width) & (seen[:, 1] > 0) & (seen[:, 1] < height) & (seen[:, 2] > 0.1)
    if not inside.any():
        return []
    seen = seen[inside]
    tall = float(np.ptp(seen[:, 1])) + 1
    things = []
    for _ in range(rng.integers(1, 4)):
        spot = seen[rng.integers(len(seen))]
        depth = spot[2] * rng.uniform(0.45, 0.85)
        ray = np.array([(spot[0] - camera.center[0]) / camera.focal, (camera.center[1] - spot[1]) / camera.focal, -1.0])
        center = camera.position + depth * (ray @ camera.rotation)
        half = tall * depth / camera.focal * rng.uniform(0.05, 0.2, 3) * np.where(rng.random(3) < 0.12, 3.0, 1.0)
        turn = camera.rotation.T @ rotation_about(rng.normal(size=3), rng.uniform(0, 180 if rng.random() < 0.5 else 15))
        things.append((_box if rng.random() < 0.6 else _blob)(rng, center, half, turn))
    return things
