"""Scenes: clothes over bodies, people beside each other, the same with and without a place."""

import numpy as np
import pytest

from opensapiens.data.images import ImageCollection
from opensapiens.synthetic.anatomy import FACE, HAIR
from opensapiens.synthetic.body import TIGHTS
from opensapiens.synthetic.develop import develop, sky
from opensapiens.synthetic.environment import Surroundings
from opensapiens.synthetic.materials import Material
from opensapiens.synthetic.outfits import draw_outfit
from opensapiens.synthetic.people_renderer import PeopleRenderer
from opensapiens.synthetic.places import Place, draw_place
from opensapiens.synthetic.rasterizer import Camera, Casters, Light, Materials, Mesh, render, vertex_normals
from opensapiens.synthetic.scene import _spread_out, build_scene, plan_scene
from opensapiens.synthetic.style import Style

CROWD = Style(size=(96, 72), people=(0.0, 0.0, 0.0, 1.0))


def test_clothes_are_over_the_body_and_jackets_over_shirts(renderer: PeopleRenderer) -> None:
    rng, wardrobe = np.random.default_rng(0), renderer.wardrobe
    person = renderer.model.draw(rng)
    body = renderer.model.vertices([person])[0]
    normals = vertex_normals(body, wardrobe._helpers[TIGHTS])
    wardrobe._smoothed = wardrobe._smooth(body[slice(*TIGHTS)], 8)
    layers = []
    while len(layers) < 4:
        outfit = draw_outfit(rng, wardrobe.measures, 0.7, 0.1)
        tops = [g for g in outfit.garments if g.slack is not None][:2]
        used = np.arange(TIGHTS[1] - TIGHTS[0])
        base, normal = body[slice(*TIGHTS)], normals[slice(*TIGHTS)]
        heights = []
        for garment in tops:
            points = wardrobe._off_body(base, normal, used, np.full(len(used), garment.ease[0]), garment)
            heights.append(((points - base) * normal).sum(1))
            assert (heights[-1] > 0.8 * garment.ease[0]).all()
        layers.append(heights)
    assert any(np.median(heights[0]) > 0.006 for heights in layers)


def test_loose_cloth_widens_what_counts_as_in_sight_on_the_body_alone(renderer: PeopleRenderer) -> None:
    rng, wardrobe = np.random.default_rng(1), renderer.wardrobe
    outfits = [draw_outfit(rng, wardrobe.measures, 0.7, 0.1) for _ in range(40)]
    names = list(wardrobe.anatomy.keypoint_names)
    hips = [wardrobe.cover(outfit)[names.index("left_hip")] for outfit in outfits]
    noses = {float(wardrobe.cover(outfit)[names.index("nose")]) for outfit in outfits}
    assert max(hips) > min(hips) + 0.02 and len(noses) == 1 and noses.pop() < min(hips)


def test_people_do_not_stand_in_each_other(renderer: PeopleRenderer) -> None:
    rng = np.random.default_rng(2)
    people = [renderer.model.draw(rng) for _ in range(6)]
    bodies = renderer.model.vertices(people)
    places = _spread_out(rng, bodies)
    reach = 0.5 * np.ptp(bodies[:, : TIGHTS[0] : 5, :2], axis=1).mean(1)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) / (reach[:, None] + reach[None])
    assert gaps[np.triu_indices(6, 1)].min() > 0.7


def test_people_and_camera_are_the_same_with_and_without_a_place(renderer: PeopleRenderer) -> None:
    scenes = []
    for surrounded in (False, True):
        rng = np.random.default_rng(3)
        plan = plan_scene(rng, CROWD, renderer.model)
        vertices = renderer.model.vertices(plan.people)
        scene = build_scene(rng, CROWD, plan, vertices, renderer.wardrobe, surrounded)
        scenes.append(scene)
        assert surrounded == (scene.place.kind == "surroundings")
    assert (scenes[0].bodies == scenes[1].bodies).all()
    assert (scenes[0].camera.rotation == scenes[1].camera.rotation).all()
    assert scenes[0].mesh.instance.max() == 4 and scenes[0].camera.position[2] > 0


def test_photos_stand_behind_people(renderer: PeopleRenderer, tmp_path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "photo.png"), np.full((50, 40, 3), (0, 0, 255), np.uint8))
    photos = Surroundings((), ImageCollection(tmp_path / "photo.png"))
    frames = list(PeopleRenderer.frames(_with(renderer, photos), 4, 0, 3, Style(size=(96, 72), occluders=0.0)))
    red = [f.image[(f.instances == 0)].astype(float).mean(0) for f in frames]
    assert all(color[0] > 100 for color in red) and any(color[0] > 3 * color[1] for color in red)


def _with(renderer: PeopleRenderer, surroundings: Surroundings) -> PeopleRenderer:
    other = object.__new__(PeopleRenderer)
    other.__dict__ = {**renderer.__dict__, "surroundings": surroundings}
    return other


def test_hair_is_hair_and_faces_are_faces(renderer: PeopleRenderer) -> None:
    """Of most people some hair is seen; nobody's eyes are in the hair."""
    style = Style(size=(160, 120), people=(1.0,), framing=(0.0, 0.0, 1.0, 0.0), occluders=0.0, off_center=0.0)
    frames = list(renderer.frames(6, 0, 10, style))
    assert np.mean([(frame.parts == HAIR).mean() > 0.01 for frame in frames]) > 0.5
    assert np.mean([(frame.parts == FACE).mean() > 0.02 for frame in frames]) > 0.6


CAMERA = Camera(
    np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), np.array([0.0, -4.0, 0.5]), 120.0, (47.5, 31.5), (64, 96)
)
LIGHT = Light(np.array([0.3, -1.0, 0.5]), np.full(3, 0.8), np.full(3, 0.3), np.full(3, 0.2), 1.0)


def _square(corners: list[list[float]]) -> Mesh:
    """Two triangles through four corners."""
    vertices, triangles = np.array(corners, np.float32), np.array([[0, 1, 2], [0, 2, 3]])
    one, texture = np.ones(2, int), vertices
    paint, keep = np.zeros((4, 4), np.float32), np.ones(4, np.float32)
    return Mesh(vertices, vertex_normals(vertices, triangles), texture, paint, keep, triangles, 0 * one, one, one)


def _plain(gray: float, relief: tuple[float, float, float] = (0, 0, 0)) -> Materials:
    return Materials([Material(np.full(3, gray), np.full(3, gray), gloss=0.0, relief=relief)])


def test_relief_shows_in_normals_and_depth_alike() -> None:
    wall = _square([[-2, 0, -1], [2, 0, -1], [2, 0, 2], [-2, 0, 2]])
    rendering = render(wall, _plain(0.5, relief=(0.2, 1.2, 0.0)), CAMERA, LIGHT, None)
    y, x = np.mgrid[:64, :96]
    d = rendering.depth
    points = np.stack([(x - 47.5) / 120 * d, (31.5 - y) / 120 * d, -d], -1)
    normals = np.cross(points[1:-1, 2:] - points[1:-1, :-2], points[:-2, 1:-1] - points[2:, 1:-1])
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    flat = np.rad2deg(np.arccos(normals[..., 2].clip(-1, 1)))
    cosine = (normals * rendering.normals[1:-1, 1:-1]).sum(-1)
    angle = np.rad2deg(np.arccos(cosine.clip(-1, 1)))
    assert np.median(flat) > 3 and np.median(angle) < 0.5 * np.median(flat)


def test_what_is_overhead_takes_sky_light_away() -> None:
    floor = _square([[-2, -1, 0], [2, -1, 0], [2, 2, 0], [-2, 2, 0]])
    roof = _square([[-2, 0.0, 0.7], [2, 0.0, 0.7], [2, 2, 0.7], [-2, 2, 0.7]])
    names = list(floor.__dataclass_fields__)
    both = {name: np.concatenate([getattr(floor, name), getattr(roof, name)]) for name in names}
    both["triangles"] = np.concatenate([floor.triangles, roof.triangles + 4])
    plain = _plain(0.5)
    dim = Light(np.array([0.0, -1.0, 0.0]), np.zeros(3), np.ones(3), np.ones(3), 1.0)
    casters = Casters(4, np.array([-2.0, -2, 0]), np.array([2.0, 2, 1]))
    color = render(Mesh(**both), plain, CAMERA, dim, None, casters).color[..., 0]
    open_air, under = color[45:, 40:56], color[38:43, 40:56]
    assert under[under > 0].mean() < 0.75 * open_air[open_air > 0].mean()


def test_the_horizon_is_where_the_camera_sees_it() -> None:
    rng = np.random.default_rng(5)
    place = draw_place(rng, CAMERA, 0.5, 0.5, 4.0, True)
    clear = Place("nature", [], [], None, place.floor, LIGHT, np.array([0.1, 0.3, 0.9]), np.array([0.9, 0.9, 0.9]))
    picture = sky(np.random.default_rng(1), clear, CAMERA)
    assert picture.shape == (64, 96, 3) and np.isfinite(picture).all()
    assert np.abs(picture[36:] - picture[-1, -1]).max() < 1e-4  # a level camera: below the middle is haze
    assert picture[:20, :, 2].mean() > picture[:20, :, 0].mean()


def test_developing_is_a_function_of_the_seed() -> None:
    wall = _square([[-0.5, 0, 0], [0.5, 0, 0], [0.5, 0, 1], [-0.5, 0, 1]])
    plain = _plain(0.4)
    rendering = render(wall, plain, CAMERA, LIGHT, None)
    rng = np.random.default_rng(5)
    place = draw_place(rng, CAMERA, 0.5, 0.5, 4.0, False)
    people = rendering.triangle >= 0
    pictures = [develop(np.random.default_rng(seed), place, CAMERA, rendering, people, None)[0] for seed in (1, 1, 2)]
    assert pictures[0].dtype == np.uint8 and pictures[0].shape == (64, 96, 3)
    assert (pictures[0] == pictures[1]).all() and (pictures[0] != pictures[2]).mean() > 0.5


@pytest.mark.parametrize("level", [0.02, 0.5, 5.0])
def test_dark_and_bright_scenes_are_exposed(level: float) -> None:
    wall = _square([[-3, 0, -2], [3, 0, -2], [3, 0, 3], [-3, 0, 3]])
    plain = _plain(0.4)
    lit = Light(np.array([0.0, -1.0, 0.2]), np.full(3, level), np.full(3, level), np.full(3, level), 1.0)
    rendering = render(wall, plain, CAMERA, lit, None)
    place = Place("studio", [], [], None, None, lit, np.ones(3), np.ones(3))  # type: ignore[arg-type]
    people = rendering.triangle >= 0
    means = [develop(np.random.default_rng(i), place, CAMERA, rendering, people, None)[0].mean() for i in range(12)]
    assert 60 < np.median(means) < 200
