from dataclasses import replace

import cv2
import numpy as np
import pytest

from opensapiens.geometry.cameras import CalibratedCamera, look_at
from opensapiens.geometry.triangulation import refine, robust_triangulation, triangulate

LENS = np.array([-0.25, 0.08, 0.001, -0.002, 0.01])


def ring(count: int) -> list[CalibratedCamera]:
    """Cameras around the z axis, 3 m away from it, that look at (0, 0, 1)."""
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * i / count + 0.3
        position = np.array([3 * np.cos(angle), 3 * np.sin(angle), 1 + 0.5 * (i % 2)])
        rotation = look_at(position, np.array([0, 0, 1.0]))
        matrix = np.array([[900.0, 0, 640], [0, 910, 360], [0, 0, 1]])
        cameras.append(CalibratedCamera(str(i), matrix, rotation, -rotation @ position, LENS, (720, 1280)))
    return cameras


def cloud(count: int = 60) -> np.ndarray:
    return np.random.default_rng(0).uniform([-0.5, -0.5, 0.4], [0.5, 0.5, 1.6], (count, 3))


def seen(cameras: list[CalibratedCamera], points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (V, N, 2), rays (V, N, 2) and extrinsics (V, 3, 4)."""
    pixels = np.stack([camera.project(points) for camera in cameras])
    rays = np.stack([camera.rays(one) for camera, one in zip(cameras, pixels, strict=True)])
    return pixels, rays, np.stack([camera.extrinsics for camera in cameras])


def test_a_camera_projects_as_opencv_does() -> None:
    camera, points = ring(1)[0], cloud()
    turn = cv2.Rodrigues(camera.rotation)[0]
    expected = cv2.projectPoints(points, turn, camera.translation, camera.matrix, LENS)[0][:, 0]
    np.testing.assert_allclose(camera.project(points), expected, atol=1e-9)


def test_rays_undo_the_lens() -> None:
    camera, points = ring(1)[0], cloud()
    local = camera.to_camera(points)
    np.testing.assert_allclose(camera.rays(camera.project(points)), local[:, :2] / local[:, 2:], atol=1e-7)


def test_what_is_behind_or_folded_back_by_the_lens_is_nowhere() -> None:
    camera = replace(ring(1)[0], distortion=np.array([-0.3, 0, 0, 0]))
    behind = camera.position - camera.rotation[2]
    far_left = camera.position + camera.rotation[2] - 1.8 * camera.rotation[0]
    turn = cv2.Rodrigues(camera.rotation)[0]
    unguarded = cv2.projectPoints(far_left[None], turn, camera.translation, camera.matrix, camera.distortion)[0][0, 0]
    assert camera.in_picture(unguarded), "the lens folds it back into the picture, else this tests nothing"
    assert np.isnan(camera.project(np.stack([behind, far_left]))).all()


def test_the_picture_ends_half_a_pixel_after_its_last_pixel() -> None:
    camera = ring(1)[0]
    pixels = np.array([[-0.5, 0], [-0.6, 0], [1279.4, 719.4], [1279.5, 0], [0, 719.5], [np.nan, 3]])
    assert camera.in_picture(pixels).tolist() == [True, False, True, False, False, False]


def test_exact_rays_give_the_exact_points() -> None:
    points = cloud()
    _, rays, extrinsics = seen(ring(4), points)
    np.testing.assert_allclose(triangulate(rays, extrinsics, np.ones(rays.shape[:2])), points, atol=1e-7)


def test_a_weight_of_zero_and_a_missing_ray_count_for_nothing() -> None:
    points = cloud(2)
    _, rays, extrinsics = seen(ring(4), points)
    weights = np.ones(rays.shape[:2])
    rays[0, 0] += 0.3
    weights[0, 0] = 0
    rays[1:, 1] = np.nan
    found = triangulate(rays, extrinsics, weights)
    np.testing.assert_allclose(found[0], points[0], atol=1e-7)
    assert np.isnan(found[1]).all(), "one ray is no point"


def test_a_ray_counts_by_its_weight() -> None:
    points = cloud(1)
    _, rays, extrinsics = seen(ring(4), points)
    rays[0] += 0.05
    weights = np.ones(rays.shape[:2])
    even = np.linalg.norm(triangulate(rays, extrinsics, weights) - points)
    weights[0] = 0.1
    assert np.linalg.norm(triangulate(rays, extrinsics, weights) - points) < 0.4 * even


def test_outliers_in_a_third_of_the_views_do_not_move_a_point() -> None:
    points, cameras = cloud(), ring(9)
    pixels, _, extrinsics = seen(cameras, points)
    rng = np.random.default_rng(1)
    pixels += rng.normal(0, 1, pixels.shape)
    wild = rng.random(pixels.shape[:2]) < 1 / 3
    pixels[wild] += rng.choice([-1, 1], (wild.sum(), 2)) * rng.uniform(60, 200, (wild.sum(), 2))
    rays = np.stack([camera.rays(one) for camera, one in zip(cameras, pixels, strict=True)])
    expected = np.full(rays.shape[:2], 1 / 900)
    found = robust_triangulation(rays, extrinsics, expected, np.ones_like(expected), 3.5)
    plain = triangulate(rays, extrinsics, np.ones_like(expected))
    enough = (~wild).sum(0) >= 4
    assert enough.mean() > 0.8
    far = np.linalg.norm(found.points - points, axis=1)[enough]
    assert np.median(far) < 0.004 and far.max() < 0.02
    assert np.median(np.linalg.norm(plain - points, axis=1)) > 0.05
    assert (found.agreeing[:, enough] & wild[:, enough]).mean() < 0.01
    assert found.agreeing[~wild].mean() > 0.95


def test_the_covariance_is_what_noise_does() -> None:
    point, cameras = np.array([[0.1, -0.2, 1.2]]), ring(3)
    many = np.repeat(point, 2000, 0)
    pixels, _, extrinsics = seen(cameras, many)
    pixels += np.random.default_rng(2).normal(0, 2, pixels.shape)
    rays = np.stack([camera.rays(one) for camera, one in zip(cameras, pixels, strict=True)])
    expected = np.full(rays.shape[:2], 2 / 905)
    found = refine(many, rays, extrinsics, expected, np.ones_like(expected), 1e3)
    real = np.cov((found.points - point).T)
    np.testing.assert_allclose(found.covariance[0], real, atol=0.12 * real.trace())


def test_the_same_seed_gives_the_same_bits_and_order_does_not_matter_of_points() -> None:
    points, cameras = cloud(150), ring(14)  # 91 pairs: a draw
    pixels, _, extrinsics = seen(cameras, points)
    pixels += np.random.default_rng(3).normal(0, 8, pixels.shape)
    rays = np.stack([camera.rays(one) for camera, one in zip(cameras, pixels, strict=True)])
    expected, sure = np.full(rays.shape[:2], 2 / 900), np.ones(rays.shape[:2])
    first = robust_triangulation(rays, extrinsics, expected, sure, 3.5, seed=5)
    again = robust_triangulation(rays, extrinsics, expected, sure, 3.5, seed=5)
    assert first.points.tobytes() == again.points.tobytes()
    alone = robust_triangulation(rays[:, 70:80], extrinsics, expected[:, 70:80], sure[:, 70:80], 3.5, seed=5)
    np.testing.assert_allclose(alone.points, first.points[70:80], atol=1e-9)


@pytest.mark.parametrize("views", [0, 1])
def test_too_few_views_are_no_point_and_no_error(views: int) -> None:
    _, rays, extrinsics = seen(ring(4), cloud(3))
    sure = np.zeros(rays.shape[:2])
    sure[:views] = 1
    found = robust_triangulation(rays, extrinsics, np.full(sure.shape, 1e-3), sure, 3.5)
    assert np.isnan(found.points).all() and not found.agreeing.any() and np.isnan(found.covariance).all()
