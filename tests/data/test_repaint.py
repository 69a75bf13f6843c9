import numpy as np

from opensapiens.data.repaint import GARMENTS, repaint_clothes

SIZE = (40, 30)
SHIRT, SKIN = GARMENTS[0][0], 0
BLUE = (20, 20, 200)


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A person in gray before black: the upper half is a shirt, darker on its left; the lower half is none."""
    image, owners, parts = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8), np.full(SIZE, SKIN, np.uint8)
    owners[5:35, 5:25] = 7
    image[5:35, 5:15], image[5:35, 15:25] = 80, 160
    parts[5:20, 5:25] = SHIRT
    return image, owners, parts


def blue(size: tuple[int, int]) -> np.ndarray:
    return np.full((*size, 3), BLUE, np.uint8)


def test_a_garment_takes_the_color_of_the_photo_and_keeps_its_shading() -> None:
    image, owners, parts = scene()
    painted = repaint_clothes(np.random.default_rng(0), image, owners, parts, blue, 1.0)
    shirt = (parts == SHIRT) & (owners > 0)
    assert (painted[shirt][:, 2] > 2 * painted[shirt][:, 0]).all(), "it is blue"
    dark, bright = painted[10, 8].astype(float), painted[10, 20].astype(float)
    assert 0.4 < dark[2] / bright[2] < 0.6, "the left stays half as bright"
    np.testing.assert_array_equal(painted[~shirt], image[~shirt])
    np.testing.assert_array_equal(image, scene()[0])


def test_chance_and_seed_decide() -> None:
    image, owners, parts = scene()
    np.testing.assert_array_equal(repaint_clothes(np.random.default_rng(0), image, owners, parts, blue, 0.0), image)
    first, second = (repaint_clothes(np.random.default_rng(4), image, owners, parts, blue, 0.5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    nobody = np.zeros_like(owners)
    np.testing.assert_array_equal(repaint_clothes(np.random.default_rng(0), image, nobody, parts, blue, 1.0), image)
