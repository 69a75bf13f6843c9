"""What a camera sees of a person beside its axis follows from what one that looks at them sees, and their place."""

import numpy as np
import pytest
import torch

from opensapiens.tasks.forward import FlipRule, maps
from opensapiens.tasks.location import SLOPE, at_locations

SIZE = 33  # of the square crop, in pixels
DISTANCE = 20.0


def seen(right: float, down: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points in the crop of a camera that looks at them: their depth in it and in the picture's camera, whose axis is
    (right, down) diagonals away, and random normals in both; (SIZE, SIZE) and (SIZE, SIZE, 3).

    The focal length is the picture's diagonal, and the crop's diagonal is SLOPE times as long as the points are deep.
    """
    generator = np.random.default_rng(0)
    steps = (np.arange(SIZE) - (SIZE - 1) / 2) / (SIZE * np.sqrt(2)) * SLOPE
    x, y = np.meshgrid(steps, steps)  # y down; far away, so that perspective within the crop is small
    depth = DISTANCE + generator.uniform(-0.5, 0.5, (SIZE, SIZE))
    points = np.stack([x, y, depth], -1)
    axis = np.array([right, down, 1.0]) / np.sqrt(right**2 + down**2 + 1)
    level = np.cross([0.0, 1.0, 0.0], axis)
    level /= np.linalg.norm(level)
    turn = np.stack([level, np.cross(axis, level), axis], 1)  # its columns: the looking camera's axes in the other
    normals = generator.normal(size=(SIZE, SIZE, 3))  # +x right, +y up, +z to the camera
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    other_hand = np.array([1, -1, -1])
    return depth, (points @ turn.T)[..., 2], normals, (normals * other_hand) @ turn.T * other_hand


def placed(head: str, maps_hwC: np.ndarray, change: float, right: float, down: float) -> np.ndarray:
    with_change = np.concatenate([maps_hwC, np.full((SIZE, SIZE, 1), change)], -1)
    batch = torch.from_numpy(with_change).permute(2, 0, 1)[None]
    answer = at_locations({head: batch}, torch.tensor([[right, down]]), [head])[head]
    return answer[0].permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize(("right", "down"), [(0.15, 0.0), (0.0, 0.15), (-0.1, 0.12)])
def test_depth_gets_the_slope_that_the_turned_camera_sees(right: float, down: float) -> None:
    depth, truth, _, _ = seen(right, down)

    def unlike(values: np.ndarray) -> float:
        return 1 - np.corrcoef(values.ravel(), truth.ravel())[0, 1] ** 2

    answer = placed("depth", depth[..., None] - DISTANCE, 1.0, right, down)[..., 0]
    assert unlike(answer) < 0.1 * unlike(depth)
    np.testing.assert_allclose(placed("depth", depth[..., None], 1.0, 0, 0)[..., 0], depth, rtol=1e-6)


@pytest.mark.parametrize(("right", "down"), [(0.15, 0.0), (0.0, 0.15), (-0.1, 0.12)])
def test_normals_turn_as_the_camera_does(right: float, down: float) -> None:
    _, _, normals, truth = seen(right, down)
    answer = placed("normals", normals, 1.0, right, down)
    answer /= np.linalg.norm(answer, axis=-1, keepdims=True)

    def angle(values: np.ndarray) -> float:
        return float(np.degrees(np.arccos(np.clip((values * truth).sum(-1), -1, 1))).mean())

    assert angle(answer) < 0.1 * angle(normals)


def test_heads_that_are_not_located_stay_and_without_a_location_all_are_in_the_middle() -> None:
    given = {"depth": torch.randn(2, 2, 4, 4), "normals": torch.randn(2, 3, 4, 4)}
    answer = at_locations(given, None, ["depth", "pose"])
    torch.testing.assert_close(answer["normals"], given["normals"])
    torch.testing.assert_close(answer["depth"], given["depth"][:, :1])


def test_the_mirrored_image_lies_on_the_other_side() -> None:
    """A network that answers for both images alike is not changed by averaging."""

    def network(images_B3HW: torch.Tensor, heads: object) -> dict[str, torch.Tensor]:
        return {"depth": images_B3HW[:, :2]}

    images = torch.randn(2, 3, 6, 4)
    where = torch.tensor([[0.2, -0.1], [-0.3, 0.2]])
    plain = maps(network, images, locations_B2=where, located=["depth"])
    both = maps(network, images, True, {"depth": FlipRule()}, locations_B2=where, located=["depth"])
    torch.testing.assert_close(both["depth"], plain["depth"])
    assert (plain["depth"] - images[:, :1]).abs().max() > 0.01
