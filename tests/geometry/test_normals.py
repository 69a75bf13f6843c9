import numpy as np

from opensapiens.geometry.normals import normalize


def test_normalize_along_an_axis() -> None:
    normals = np.array([[3.0, 0, 4], [0, 0, 0]])
    np.testing.assert_allclose(normalize(normals), [[0.6, 0, 0.8], [0, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(normalize(normals.T, axis=0), normalize(normals).T)
