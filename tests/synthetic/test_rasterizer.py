"""The renderer against what can be computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
import warp as wp

from opensapiens.synthetic import patterns, rasterizer
from opensapiens.synthetic.materials import IMAGE, Material
from opensapiens.synthetic.rasterizer import Camera, Casters, Light, Materials, Mesh, render, vertex_normals
from opensapiens.synthetic.surfaces import unit_sphere

SIZE = (64, 96)
CAMERA = Camera(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), np.array([0.0, -4.0, 0.0]), 120.0, (47.5, 31.5), SIZE)
LIGHT = Light(np.array([0.3, -1.0, 0.5]), np.full(3, 0.8), np.full(3, 0.3), np.full(3, 0.2), 1.0)
PLAIN = Materials([Material(np.full(3, 0.5), np.full(3, 0.5), gloss=0.0)])


def sphere(center: tuple[float, float, float], radius: float, instance: int = 1, cut: float = -9.0) -> Mesh:
    """A ball; what lies below the height `cut` is cut away."""
    points, triangles = unit_sphere(60, 120)
    vertices = (points * radius + center).astype(np.float32)
    count = len(triangles)
    return Mesh(
        vertices,
        vertex_normals(vertices, triangles),
        vertices,
        np.zeros((len(vertices), 4), np.float32),
        vertices[:, 2] - np.float32(cut),
        triangles,
        np.zeros(count, int),
        np.full(count, instance),
        np.full(count, instance),
    )


def together(first: Mesh, second: Mesh) -> Mesh:
    """Two meshes as one."""
    names = list(first.__dataclass_fields__)
    arrays = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names}
    arrays["triangles"] = np.concatenate([first.triangles, second.triangles + len(first.vertices)])
    return Mesh(**arrays)


def rays() -> np.ndarray:
    """Directions (H, W, 3) through pixel centers in the camera frame, with depth 1."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([(x - 47.5) / 120, (31.5 - y) / 120, -np.ones(SIZE)], -1)


def test_a_ball_has_the_depth_and_normals_of_a_ball() -> None:
    rendering = render(sphere((0.3, 0.0, 0.2), 0.5), PLAIN, CAMERA, LIGHT, None)
    seen = rendering.triangle >= 0
    direction, center = rays(), np.array([0.3, 0.2, -4.0])
    a, b, c = (direction**2).sum(-1), direction @ center, center @ center - 0.25
    root = b**2 - a * c
    inside = root > 0.004
    assert (seen[inside]).all() and not seen[root < -0.004].any()
    depth = (b[inside] - np.sqrt(root[inside])) / a[inside]
    np.testing.assert_allclose(rendering.depth[inside], depth, atol=2e-3)
    normals = (direction[inside] * depth[:, None] - center) / 0.5
    cosine = (rendering.normals[inside] * normals).sum(-1)
    assert np.rad2deg(np.arccos(cosine.clip(-1, 1))).max() < 4.0


def test_the_nearer_of_two_balls_is_seen_and_the_other_keeps_its_silhouette() -> None:
    near, far = sphere((0, -1.0, 0), 0.3, instance=1), sphere((0.2, 0.5, 0), 0.5, instance=2)
    mesh = together(far, near)
    rendering = render(mesh, PLAIN, CAMERA, LIGHT, None)
    instance = np.where(rendering.triangle >= 0, mesh.instance[rendering.triangle], 0)
    alone_near, alone_far = rendering.people & 1 > 0, rendering.people & 2 > 0
    assert (alone_near & alone_far).sum() > 100
    np.testing.assert_array_equal(instance == 1, alone_near)
    np.testing.assert_array_equal(instance == 2, alone_far & ~alone_near)


def test_too_many_people_are_refused() -> None:
    with pytest.raises(ValueError, match=r"33 people; .* at most 32"):
        render(sphere((0, 0, 0), 0.3, instance=33), PLAIN, CAMERA, LIGHT, None)


@pytest.mark.parametrize("run", [1, 7])
def test_how_much_a_thread_takes_changes_nothing(run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = together(sphere((0, -1.0, 0), 0.3, instance=1), sphere((0.2, 0.5, 0), 0.5, instance=2))
    camera = replace(CAMERA, position=np.array([0.0, -4.0, 0.6]))
    scene = (mesh, PLAIN, camera, LIGHT, 20.0, Casters(len(mesh.triangles), -np.ones(3), np.ones(3)))
    expected = render(*scene)
    monkeypatch.setattr(rasterizer, "_run", lambda count: run)
    actual = render(*scene)
    assert expected.covered.min() == 0 and expected.covered.max() == 1
    for name in expected.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name), err_msg=name)


@wp.kernel
def _noises(points: wp.array(dtype=wp.vec3), step: float, found: wp.array2d(dtype=float)):
    i = wp.tid()
    p = points[i]
    around = patterns._noise_around(p, step)
    for k in range(4):
        found[i, k] = around[k]
    found[i, 4] = patterns.value_noise(p)
    found[i, 5] = patterns.value_noise(p + wp.vec3(step, 0.0, 0.0))
    found[i, 6] = patterns.value_noise(p + wp.vec3(0.0, step, 0.0))
    found[i, 7] = patterns.value_noise(p + wp.vec3(0.0, 0.0, step))


def test_noise_around_a_point_is_the_noise_there() -> None:
    points = np.random.default_rng(0).uniform(-5, 5, (500, 3)).astype(np.float32)
    found = wp.zeros((500, 8), dtype=float)
    wp.launch(_noises, dim=500, inputs=[wp.array(points, dtype=wp.vec3), 0.2, found])
    np.testing.assert_array_equal(found.numpy()[:, :4], found.numpy()[:, 4:])
    assert len(np.unique(np.floor(points), axis=0)) > 300  # steps within a cell and into the next


def test_a_cut_is_straight_whatever_the_triangles() -> None:
    rendering = render(sphere((0, 0, 0), 0.8, cut=0.1), PLAIN, CAMERA, LIGHT, None)
    points = rays() * rendering.depth[..., None]
    assert points[rendering.triangle >= 0][:, 1].min() == pytest.approx(0.1, abs=0.04)
    whole = render(sphere((0, 0, 0), 0.8), PLAIN, CAMERA, LIGHT, None)
    above = (whole.triangle >= 0) & ((rays() * whole.depth[..., None])[..., 1] > 0.13)
    assert (rendering.triangle[above] >= 0).all()


def test_the_side_towards_the_light_is_brighter_and_a_shadow_falls() -> None:
    light = Light(np.array([1.0, -0.2, 0.0]), np.full(3, 1.0), np.full(3, 0.1), np.full(3, 0.1), 1.0)
    lone = render(sphere((-0.4, 0, 0), 0.3), PLAIN, CAMERA, light, None).color[..., 0]
    lit, dark = lone[28:36, 40:44].mean(), lone[28:36, 28:31].mean()
    assert lit > 2 * dark
    shaded = render(together(sphere((-0.4, 0, 0), 0.3), sphere((0.5, -0.15, 0), 0.3, 2)), PLAIN, CAMERA, light, None)
    assert shaded.color[28:36, 40:44, 0].mean() < 0.5 * lit


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    assert (render(sphere((0, -8.0, 0), 0.5), PLAIN, CAMERA, LIGHT, None).triangle == -1).all()


def test_light_of_surroundings_takes_the_place_of_the_sky() -> None:
    """Less light from above: what looks up is darker, by as much as the coefficients say."""
    harmonics = np.zeros((9, 3))
    harmonics[0] = 0.5
    harmonics[2] = -0.4  # less from above
    light = Light(np.array([0.0, -1.0, 0.0]), np.zeros(3), np.full(3, 9.0), np.full(3, 9.0), 1.0, harmonics)
    rendering = render(sphere((0, 0, 0), 0.5), PLAIN, CAMERA, light, None)
    seen = rendering.triangle >= 0
    up, albedo = rendering.normals[..., 1][seen], 0.5  # the camera is level
    np.testing.assert_allclose(rendering.color[..., 0][seen], albedo * (0.5 - 0.4 * up), rtol=1e-4)


def test_an_image_is_laid_on_by_u_and_v() -> None:
    """A square of two triangles: red above left, black elsewhere; v runs upwards."""
    corners = np.array([[-1, 0, -0.5], [1, 0, -0.5], [1, 0, 0.5], [-1, 0, 0.5]], np.float32)
    uv = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    one = np.ones(2, int)
    mesh = Mesh(
        corners,
        np.tile(np.float32([0, -1, 0]), (4, 1)),
        uv,
        np.zeros((4, 4), np.float32),
        np.ones(4, np.float32),
        triangles,
        np.zeros(2, int),
        one,
        one,
    )
    atlas = np.zeros((40, 16, 3), np.uint8)
    atlas[20:24, :8] = (255, 0, 0)  # the page begins at row 20
    look = Materials([Material(np.ones(3), np.ones(3), IMAGE, gloss=0.0, page=(0, 20, 16, 8))], atlas)
    flat = Light(np.array([0.0, -1.0, 0.0]), np.zeros(3), np.ones(3), np.ones(3), 1.0)
    color = render(mesh, look, CAMERA, flat, None).color
    assert color[20, 25].tolist() == pytest.approx([1, 0, 0], abs=1e-3)
    for row, column in ((20, 70), (42, 25), (42, 70)):
        assert color[row, column].tolist() == [0, 0, 0]
