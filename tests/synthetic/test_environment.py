"""Light from panoramas: amounts, directions, and that what lights a scene is what stands behind it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from opensapiens.data.images import ImageCollection
from opensapiens.storage.pictures import ImageError
from opensapiens.synthetic.environment import (
    Surroundings,
    _directions,
    find_panoramas,
    harmonics,
    light_of,
    read_panorama,
    view_of,
)
from opensapiens.synthetic.rasterizer import Camera

SHAPE = (64, 128)
CAMERA = Camera(
    np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), np.array([0.0, -4.0, 1.0]), 40.0, (47.5, 31.5), (64, 96)
)


def arriving(coefficients: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """What the kernel computes of the nine coefficients."""
    x, y, z = normal
    return np.array([1, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y]) @ coefficients


def sky() -> np.ndarray:
    """Blue above, brown below, a sun to the right of north and half way up."""
    direction, _ = _directions(*SHAPE)
    picture = np.where(direction[..., 2:] > 0, [0.2, 0.4, 0.9], [0.3, 0.2, 0.1]).astype(np.float32)
    picture[direction @ (np.array([0.35, 0.85, 0.4]) / np.linalg.norm([0.35, 0.85, 0.4])) > 0.995] = 80.0
    return picture


def test_light_of_any_surroundings_arrives_as_an_integral_says() -> None:
    direction, solid = _directions(*SHAPE)
    assert solid.sum() == pytest.approx(4 * np.pi, rel=1e-3)
    first, second = direction @ [0.6, 0.64, 0.48], direction @ [0.48, -0.8, -0.36]
    radiance = 0.1 + np.maximum(first, 0)[..., None] ** 2 * [3, 1, 0.2] + np.maximum(second, 0)[..., None] * [0.2, 1, 2]
    coefficients = harmonics(radiance, direction, solid)
    for normal in ([0, 0, 1.0], [0, 0, -1.0], [1.0, 0, 0], [0, -1.0, 0], [0.6, 0.0, 0.8], [0.48, -0.64, 0.6]):
        cosine = np.maximum(direction @ np.array(normal), 0)
        expected = np.einsum("hwc,hw->c", radiance, cosine * solid) / np.pi
        np.testing.assert_allclose(arriving(coefficients, np.array(normal)), expected, atol=0.03)


def test_the_sun_becomes_the_key_light_and_nothing_is_lost() -> None:
    light, scale = light_of(sky(), turn=0.0, strength=1.0)
    sun = np.array([0.35, 0.85, 0.4]) / np.linalg.norm([0.35, 0.85, 0.4])
    assert light.direction @ sun > np.cos(np.deg2rad(4))
    assert light.harmonics is not None
    _, solid = _directions(*SHAPE)
    total = (sky() * solid[..., None]).sum((0, 1)) / (4 * np.pi) * scale
    np.testing.assert_allclose(light.harmonics[0] + light.color / 4, total, rtol=0.02)
    assert total.mean() == pytest.approx(1.0, rel=0.02)
    assert light.harmonics[2, 2] > 0 > light.harmonics[2, 0] - 0.2  # more blue from above


def test_the_sun_is_seen_where_the_light_comes_from() -> None:
    for turn in (0.0, 25.0, 55.0):
        light, _ = light_of(sky(), turn, 1.0)
        row, column = np.unravel_index(view_of(sky(), turn, CAMERA).mean(2).argmax(), CAMERA.size)
        seen = CAMERA.project((CAMERA.position + 100 * light.direction)[None].astype(np.float32))[0]
        assert np.hypot(seen[0] - column, seen[1] - row) < 5, turn


def test_surroundings_are_drawn_from_folders(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.hdr"), sky()[..., ::-1])
    panorama = read_panorama(tmp_path / "a.hdr")
    np.testing.assert_allclose(panorama, sky(), rtol=0.02, atol=0.01)
    light, backdrop = Surroundings(find_panoramas(tmp_path)).draw(np.random.default_rng(0), CAMERA)
    assert light is not None and backdrop is not None and backdrop.linear and backdrop.picture.shape == (64, 96, 3)
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((50, 40, 3), (0, 0, 255), np.uint8))
    light, backdrop = Surroundings((), ImageCollection(tmp_path / "photo.png")).draw(np.random.default_rng(0), CAMERA)
    assert light is None and backdrop is not None and not backdrop.linear
    np.testing.assert_array_equal(backdrop.picture, np.broadcast_to([1.0, 0, 0], (64, 96, 3)))


def test_panoramas_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.hdr"), sky()[..., ::-1])
    data = (tmp_path / "a.hdr").read_bytes()
    for content in (data[: len(data) // 2], b"", b"nonsense", data.replace(b"-Y 64 +X 128", b"-Y 64000 +X 128000")):
        (tmp_path / "b.hdr").write_bytes(content)
        with pytest.raises(ImageError, match=r"b\.hdr"):
            read_panorama.__wrapped__(tmp_path / "b.hdr")
    with pytest.raises(ImageError, match="no panorama here"):
        find_panoramas(tmp_path / "nothing")
