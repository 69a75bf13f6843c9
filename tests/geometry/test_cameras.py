import numpy as np

from opensapiens.geometry.cameras import PinholeCamera

CAMERA = PinholeCamera(fx=500, fy=400, cx=320, cy=240)


def test_project() -> None:
    points = np.array([[0, 0, 2], [1, 0.5, 2], [0, 0, 0], [1, 1, -1]])
    expected = [[320, 240], [570, 340], [np.nan, np.nan], [np.nan, np.nan]]
    np.testing.assert_allclose(CAMERA.project(points), expected)


def test_unproject_undoes_project() -> None:
    points = np.random.default_rng(0).uniform([-1, -1, 0.5], [1, 1, 4], (3, 5, 3))
    np.testing.assert_allclose(CAMERA.unproject(CAMERA.project(points), points[..., 2]), points)
