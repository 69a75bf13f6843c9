import numpy as np
import pytest

from opensapiens.geometry.boxes import center_and_scale
from opensapiens.geometry.person_crop import (
    crop_points_to_image,
    invert,
    transform_points,
    udp_warp_matrix,
    warp,
)

SIZE = (64, 48)


def matrix_of(box: list[float], rotation: float = 0.0) -> np.ndarray:
    return udp_warp_matrix(*center_and_scale(np.array(box)), SIZE, rotation)


def ramp(height: int, width: int) -> np.ndarray:
    """A plane: bilinear interpolation reproduces it exactly."""
    return (np.arange(width) * 0.5 + np.arange(height)[:, None] * 2 + 3).astype(np.float32)


def test_the_region_s_corners_are_the_outer_pixel_centers() -> None:
    center, scale = np.array([100.0, 50.0]), np.array([60.0, 80.0])
    corners = np.array([[70, 10], [130, 90], [100, 50]])
    points = transform_points(corners, udp_warp_matrix(center, scale, SIZE))
    np.testing.assert_allclose(points, [[0, 0], [47, 63], [23.5, 31.5]], atol=1e-4)


def test_rotation_turns_clockwise_about_the_center() -> None:
    matrix = udp_warp_matrix(np.array([10.0, 20.0]), np.array([47.0, 63.0]), SIZE, rotation_degrees=90)
    points = transform_points(np.array([[10, 20], [15, 20]]), matrix)
    np.testing.assert_allclose(points, [[23.5, 31.5], [23.5, 36.5]], atol=1e-4)  # right of it becomes below it


def test_invert_undoes() -> None:
    matrix = matrix_of([13, 7, 90, 120], rotation=33)
    points = np.random.default_rng(0).uniform(0, 100, (5, 7, 2))
    np.testing.assert_allclose(transform_points(transform_points(points, matrix), invert(matrix)), points, atol=1e-3)
    assert invert(matrix).dtype == np.float32
    with pytest.raises(np.linalg.LinAlgError):
        invert(np.zeros((2, 3)))


def test_warp_of_a_plane() -> None:
    image, matrix = ramp(100, 80), matrix_of([20, 20, 60, 70])
    crop = warp(image, matrix, SIZE)
    x, y = transform_points(np.array([[30, 40]]), invert(matrix))[0]
    assert crop.shape == SIZE and crop.dtype == np.float32
    assert crop[40, 30] == pytest.approx(0.5 * x + 2 * y + 3, abs=2 * 2.5 / 32)  # cv2 rounds to 1/32 pixel


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 28])
def test_warp_treats_channels_alike(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 40, channels)).astype(np.uint8)
    matrix = matrix_of([-10, 5, 30, 45], rotation=20)
    crop = warp(image, matrix, SIZE, border=7)
    assert crop.shape == (*SIZE, channels) and crop.dtype == np.uint8 and (crop[0, 0] == 7).all()
    for channel in range(channels):
        np.testing.assert_array_equal(crop[..., channel], warp(image[..., channel], matrix, SIZE, border=7))


def test_warp_nearest_invents_no_value() -> None:
    labels = np.random.default_rng(0).choice([0, 3, 27, 255], (50, 40)).astype(np.uint8)
    crop = warp(labels, matrix_of([5, 5, 30, 45]), SIZE, "nearest", border=255)
    assert set(np.unique(crop)) == {0, 3, 27, 255}
    mask = warp(labels == 3, matrix_of([5, 5, 30, 45]), SIZE, "nearest")
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, (crop == 3))


def test_decoded_points_go_where_the_warp_came_from() -> None:
    """Decoding multiplies by W / (W - 1) what the warp mapped; crop_points_to_image undoes both."""
    center, scale = center_and_scale(np.array([13, 7, 90, 120]))
    points = np.array([[20.0, 30.0], [95.0, 4.0]])
    in_crop = transform_points(points, udp_warp_matrix(center, scale, SIZE))
    decoded = in_crop * np.array([48 / 47, 64 / 63])
    np.testing.assert_allclose(crop_points_to_image(decoded, center, scale, SIZE), points, atol=1e-4)


def test_unknown_interpolation() -> None:
    with pytest.raises(ValueError, match="'area': expected one of linear, cubic, nearest"):
        warp(ramp(9, 9), matrix_of([0, 0, 5, 5]), (9, 9), interpolation="area")  # type: ignore[arg-type]


@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_of_a_picture_longer_than_cv2_takes(turned: bool) -> None:
    rows = np.arange(40_000, dtype=np.float32)
    image = np.repeat(rows[:, None], 8, axis=1)
    matrix = np.array([[1, 0, 0], [0, 0.5, -19_000]], np.float32)  # rows 38,000 to 38,020
    whole = np.array([[1, 0, 0], [0, 0.001, 0]], np.float32)
    for place, expected, near in ((matrix, 38_000 + 2 * np.arange(10), 1e-2), (whole, 1000.0 * np.arange(10), 1.5)):
        if turned:
            crop = warp(np.ascontiguousarray(image.T), place[::-1][:, [1, 0, 2]], (8, 10)).T
        else:
            crop = warp(image, place, (10, 8))
        np.testing.assert_allclose(crop[1:, 2:6], np.repeat(expected[1:, None], 4, axis=1), atol=near * 40)
    assert not warp(image, np.array([[1, 0, 0], [0, 1, 100]], np.float32), (10, 8), border=0).any()
