"""Scenes: people who do not overlap, their things, a place, light and a camera."""

from dataclasses import dataclass

import numpy as np

from opensapiens.synthetic.atlas import atlas
from opensapiens.synthetic.body import TIGHTS, BodyModel, BodyParameters
from opensapiens.synthetic.camera import Subject, bounds, draw_camera
from opensapiens.synthetic.materials import Material
from opensapiens.synthetic.outfits import Outfit, draw_outfit
from opensapiens.synthetic.places import Place, draw_place
from opensapiens.synthetic.rasterizer import Camera, Casters, Light, Materials, Mesh, vertex_normals
from opensapiens.synthetic.style import Style
from opensapiens.synthetic.surfaces import Surface
from opensapiens.synthetic.things import things_in_front, things_of
from opensapiens.synthetic.wardrobe import Wardrobe

SKIN_VERTICES = TIGHTS[0]


@dataclass(frozen=True)
class ScenePlan:
    """The people of a scene and their outfits."""

    people: list[BodyParameters]
    outfits: list[Outfit]


@dataclass(frozen=True)
class Scene:
    """A mesh with its materials in a place, with camera and light; bodies: posed vertices (N, V, 3) of each person
    in the world."""

    mesh: Mesh
    materials: Materials
    camera: Camera
    light: Light
    place: Place
    bodies: np.ndarray
    casters: Casters | None = None


def plan_scene(rng: np.random.Generator, style: Style, model: BodyModel) -> ScenePlan:
    """Draws the people and their outfits; the camera is set up for the first person."""
    count = 1 + int(rng.choice(len(style.people), p=style.people))
    people = [model.draw(rng) for _ in range(count)]
    outfits = [draw_outfit(rng, model.measures, p.phenotype["age"], p.phenotype["gender"]) for p in people]
    return ScenePlan(people, outfits)


def build_scene(
    rng: np.random.Generator,
    style: Style,
    plan: ScenePlan,
    vertices: np.ndarray,
    wardrobe: Wardrobe,
    surrounded: bool = False,
) -> Scene:
    """Builds the scene of a plan from the people's posed vertices (N, V, 3), as BodyModel.vertices returns them.

    surrounded: a photo or a panorama will be the backdrop, so there is no room or street; people and camera are the
    same.
    """
    bodies = vertices.copy()
    for body, position in zip(bodies[1:], _spread_out(rng, bodies)[1:], strict=True):
        body[:, :2] += position
    surfaces: list[tuple[Surface, int]] = []
    anatomy = wardrobe.anatomy
    named = [dict(zip(anatomy.keypoint_names, anatomy.keypoints(body), strict=True)) for body in bodies]
    for number, (body, outfit, points) in enumerate(zip(bodies, plan.outfits, named, strict=True), start=1):
        surfaces += [(surface, number) for surface in wardrobe.dress(body, outfit, points)]
    camera = draw_camera(rng, style, _subject(style, bodies, wardrobe))
    things_rng = np.random.default_rng(rng.integers(2**62))  # things do not change the developing
    things: list[Surface] = []
    for body, points, person in zip(bodies, named, plan.people, strict=True):
        seat = body[wardrobe.seat_vertices] if person.attitude == "seat" else None
        things += things_of(things_rng, points, seat, person.yaw)
    skin = bodies[:, :SKIN_VERTICES:5]
    low, high = bounds(skin.reshape(-1, 3))
    distance = float(np.linalg.norm(camera.position[:2] - skin[0, :, :2].mean(0)))
    deep, wide = float(high[1]), float(max(-low[0], high[0]))
    place = draw_place(things_rng, camera, deep, wide, distance, surrounded)
    things += things_in_front(things_rng, style, camera, bodies[0], bodies[0, :SKIN_VERTICES].mean(0))
    surfaces += [(thing, 0) for thing in things + place.things]
    count = sum(len(surface.triangles) for surface, _ in surfaces)
    surfaces += [(surface, 0) for surface in place.shell]
    mesh, materials = merge(surfaces, place.floor, atlas())
    casters = Casters(count, low - [0.7, 0.7, 0.1], high + [0.7, 0.7, 0.2], 256 if style.size[0] < 700 else 512)
    return Scene(mesh, materials, camera, place.light, place, bodies, casters)


def _subject(style: Style, bodies: np.ndarray, wardrobe: Wardrobe) -> Subject:
    """The first person, and everybody if the frame may show them all."""
    skin, scalp = bodies[0, :SKIN_VERTICES], wardrobe.anatomy.scalp
    few = 1 < len(bodies) < (5 if style.size[0] > style.size[1] else 4)
    return Subject(
        skin,
        skin[: len(scalp)][scalp > 0].mean(0),
        skin[wardrobe.torso_vertices].mean(0),
        skin[:-2000],
        bodies[:, :SKIN_VERTICES:5].reshape(-1, 3) if few else None,
    )


def _spread_out(rng: np.random.Generator, bodies: np.ndarray) -> np.ndarray:
    """Positions on the floor (N, 2) where people do not overlap; the first is the origin."""
    reach = 0.5 * np.ptp(bodies[:, :SKIN_VERTICES:5, :2].transpose(0, 2, 1).copy(), axis=2).mean(1)
    places = np.zeros((len(bodies), 2))
    close = rng.uniform(0.75, 1.05)
    for i in range(1, len(bodies)):
        for attempt in range(40):
            wide = 0.35 + 0.18 * len(bodies) + 0.06 * attempt
            place = np.array([rng.normal(0, wide), rng.uniform(-0.6 - 0.02 * attempt, 1.2 + 0.5 * wide)])
            distance = np.linalg.norm(places[:i] - place, axis=1)
            if (distance > close * (reach[:i] + reach[i])).all():
                break
        places[i] = place
    return places


def merge(
    surfaces: list[tuple[Surface, int]], floor: Material, atlas: np.ndarray | None = None
) -> tuple[Mesh, Materials]:
    """One mesh of all surfaces, each with an instance number, and its materials, of which the first is the floor's."""
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
    return mesh, Materials([floor, *(surface.material for surface, _ in surfaces)], atlas)
