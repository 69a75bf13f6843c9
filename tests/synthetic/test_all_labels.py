"""Points, alpha and albedo of synthetic frames: what they agree with, and what changes them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from opensapiens.data.label_kinds import ALBEDO, ALPHA, POINTS
from opensapiens.data.shards import ShardDataset, encode_frame, write_shard
from opensapiens.geometry.cameras import PinholeCamera
from opensapiens.synthetic.develop import _focus, _lens
from opensapiens.synthetic.frame import Frame, photograph
from opensapiens.synthetic.materials import Material
from opensapiens.synthetic.people_renderer import PeopleRenderer
from opensapiens.synthetic.rasterizer import Camera, Light, Materials, Mesh, Rendering, render
from opensapiens.synthetic.scene import build_scene, plan_scene
from opensapiens.synthetic.style import Style

SMALL = Style(size=(128, 96), people=(0.0, 1.0))


def test_points_lie_on_the_rays_of_their_pixels_at_the_depth(frames: list[Frame]) -> None:
    for frame in frames:
        points, somebody = frame.points(), frame.instances > 0
        camera = PinholeCamera(**{name: frame.record["camera"][name] for name in ("fx", "fy", "cx", "cy")})
        np.testing.assert_array_equal(points[..., 2], frame.depth)
        rows, columns = np.nonzero(somebody)
        pixels = camera.project(points[somebody].astype(np.float64))
        np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=-1), atol=2e-3)


def test_points_are_where_the_bodies_are(frames: list[Frame]) -> None:
    """By the world that the records describe: axes, signs and meters."""
    distances = []
    for frame in frames:
        camera, points = frame.record["camera"], frame.points()
        for person in frame.record["persons"]:
            world = np.array(person["keypoints_3d"]) - camera["position"]
            local = world @ np.array(camera["rotation"]).T * [1, -1, -1]  # its y points up, its z to the camera
            for (x, y, visibility), place in zip(person["keypoints"], local, strict=True):
                if visibility == 2:
                    distances.append(np.linalg.norm(points[round(y), round(x)] - place))
    assert len(distances) > 500 and np.median(distances) < 0.01 and np.percentile(distances, 90) < 0.05


def test_alpha_is_the_mask_except_near_its_edge(frames: list[Frame]) -> None:
    for frame in frames:
        somebody = (frame.instances > 0).astype(np.uint8)
        assert frame.alpha.dtype == np.float32 and 0 <= frame.alpha.min() <= frame.alpha.max() <= 1
        wide = np.ones((23, 23), np.uint8)  # of the strongest motion blur
        for value, of in ((1, somebody), (0, 1 - somebody)):
            inside = cv2.erode(of, wide, borderType=cv2.BORDER_REFLECT_101) > 0
            np.testing.assert_allclose(frame.alpha[inside], value, atol=1e-4)
        assert abs(frame.alpha.sum() - somebody.sum()) < 0.05 * somebody.sum()
    soft = np.concatenate([frame.alpha[(frame.alpha > 0.05) & (frame.alpha < 0.95)] for frame in frames])
    assert len(soft) > 1000


def test_alpha_is_the_share_of_people_in_what_the_lens_makes(frames: list[Frame]) -> None:
    """White people before black, through depth of field and lens, are alpha times what white everywhere becomes."""
    somebody = frames[0].instances > 0
    depth = np.where(somebody, 2.0, 9.0).astype(np.float32)
    empty = np.zeros((0, 0))
    rendering = Rendering(empty, empty, empty, depth, empty, empty, empty)

    def shown(seed: int, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        return _lens(rng, *_focus(rng, cv2.merge([light] * 3), rendering, somebody))

    for seed in range(30):
        white, _ = shown(seed, np.ones_like(depth))
        people, alpha = shown(seed, somebody.astype(np.float32))
        np.testing.assert_allclose(people[..., 0], alpha * white[..., 0], atol=0.02)


def test_light_changes_the_picture_and_not_the_albedo(renderer: PeopleRenderer) -> None:
    rng = np.random.default_rng(3)
    plan = plan_scene(rng, SMALL, renderer.model)
    scene = build_scene(rng, SMALL, plan, renderer.model.vertices(plan.people), renderer.wardrobe)
    dim = replace(scene.light, color=scene.light.color[::-1] * 0.3, direction=np.array([0.9, 0.1, 0.3]))
    lit = [photograph(np.random.default_rng(0), each, None)[0] for each in (scene, replace(scene, light=dim))]
    somebody = lit[0].instances > 0
    assert np.abs(lit[0].image[somebody].astype(float) - lit[1].image[somebody]).mean() > 5
    np.testing.assert_array_equal(lit[0].albedo(), lit[1].albedo())
    np.testing.assert_array_equal(np.isfinite(lit[0].albedo()).all(-1), somebody)
    assert np.nanmin(lit[0].albedo()) >= 0 and np.nanmax(lit[0].albedo()) <= 1


def test_albedo_is_the_color_of_the_material() -> None:
    corners = np.array([[-5, 4, -5], [5, 4, -5], [5, 4, 5], [-5, 4, 5]], np.float32)
    camera = Camera(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), np.zeros(3), 40.0, (7.5, 7.5), (16, 16))
    none, whole, one = np.zeros((4, 3), np.float32), np.ones(4, np.float32), np.ones(2, np.int32)
    wall = Mesh(
        corners, none + [0, -1, 0], none, np.zeros((4, 4), np.float32), whole,
        np.array([[0, 1, 2], [0, 2, 3]]), one, one.astype(np.uint8), one,
    )  # fmt: skip
    color = np.array([0.05, 0.4, 1.7])  # more than all light is all
    light = Light(np.array([0, -1.0, 1]), np.full(3, 2.0), np.full(3, 0.1), np.full(3, 0.1), 1.0)
    rendering = render(wall, Materials([Material(color, color), Material(color, color)]), camera, light, None)
    somebody = np.ones((16, 16), np.uint8)
    frame = Frame(somebody, somebody, None, rendering.depth, rendering.normals, somebody, rendering.albedo, {})
    expected = np.broadcast_to(color.clip(0, 1) ** (1 / 2.2), (16, 16, 3))
    np.testing.assert_allclose(frame.albedo(), expected, atol=1e-5)


def test_a_shard_holds_them_to_the_stated_rounding(frames: list[Frame], tmp_path: Path) -> None:
    few = frames[:3]
    written = [(str(i), encode_frame(f.image, f.instances, f.all_labels, f.record)) for i, f in enumerate(few)]
    write_shard(tmp_path / "0.tar", written)
    dataset = ShardDataset(tmp_path, kinds=(POINTS, ALPHA, ALBEDO))
    number = 0
    for frame in few:
        total = np.zeros_like(frame.alpha)
        for person in frame.record["persons"]:
            sample, mask = dataset[number], frame.instances == person["id"]
            number += 1
            np.testing.assert_array_equal(sample.labels[POINTS], np.where(mask[..., None], frame.points(), np.nan))
            albedo = np.where(mask[..., None], frame.albedo(), np.nan)
            np.testing.assert_allclose(sample.labels[ALBEDO], albedo, atol=0.501 / 255)
            total += sample.labels[ALPHA]
        if len(frame.record["persons"]) == frame.instances.max():
            np.testing.assert_allclose(total, frame.alpha, atol=0.501 / 255)
    assert number == len(dataset)
