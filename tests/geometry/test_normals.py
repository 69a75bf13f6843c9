import numpy as np

from opensapiens.geometry.normals import angular_error_degrees, flip_normals, normalize


def test_normalize_along_an_axis() -> None:
    normals = np.array([[3.0, 0, 4], [0, 0, 0]])
    np.testing.assert_allclose(normalize(normals), [[0.6, 0, 0.8], [0, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(normalize(normals.T, axis=0), normalize(normals).T)


def test_angles() -> None:
    a = np.array([[1.0, 0, 0], [2, 0, 0], [1, 0, 0], [0, 0, 5], [0, 0, 0]])
    b = np.array([[0.0, 3, 0], [1, 1, 0], [-1, 0, 0], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_allclose(angular_error_degrees(a, b), [90, 45, 180, 0, np.nan], atol=1e-9)
    np.testing.assert_allclose(angular_error_degrees(a.T, b.T, axis=0), [90, 45, 180, 0, np.nan], atol=1e-9)


def test_small_angles_are_not_rounded_away() -> None:
    angle = 1e-6
    tilted = np.array([np.sin(angle), 0, np.cos(angle)])
    np.testing.assert_allclose(angular_error_degrees(tilted, np.array([0.0, 0, 1])), np.degrees(angle), rtol=1e-6)


def test_flip_mirrors_and_negates_x() -> None:
    normals = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    flipped = flip_normals(normals)
    assert flipped.dtype == np.float32
    assert flipped[0].tolist() == [[-3, 4, 5], [0, 1, 2]]
    np.testing.assert_array_equal(flip_normals(flipped), normals)
