"""What a camera sees of a person beside its axis follows from what one that looks at them sees, and their place."""

import numpy as np
import pytest
import torch

from opensapiens.backbones.nano import PLACE, NanoConfig
from opensapiens.models.heads import build_head
from opensapiens.models.placed_head import SLOPE, PlacedHead, sloped, turned
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule, maps

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
    batch = torch.from_numpy(maps_hwC).permute(2, 0, 1)[None].float()
    how_much = torch.full((1, 1, SIZE, SIZE), change)
    answer = {"depth": sloped, "normals": turned}[head](batch, how_much * right, how_much * down)
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


@pytest.mark.parametrize("kind", ["sloped", "turned"])
def test_without_a_place_all_are_in_the_middle(kind: str) -> None:
    torch.manual_seed(0)
    channels = {"sloped": 1, "turned": 3}[kind]
    head = build_head(8, channels, HeadShape((), (8,), kind=kind))
    assert isinstance(head, PlacedHead) and head.output.bias is not None and head.output.bias[-1] == 1
    features = torch.randn(2, 8, 4, 4)
    plain = head(features)
    assert plain.shape == (2, channels, 4, 4) and plain.dtype == torch.float32
    torch.testing.assert_close(plain, head(features, None, {PLACE: torch.zeros(2, 2)}))
    moved = head(features, None, {PLACE: torch.tensor([[0.0, 0.0], [0.3, 0.1]])})
    torch.testing.assert_close(moved[0], plain[0])
    assert (moved[1] - plain[1]).abs().max() > 0.01


def test_the_mirrored_image_lies_on_the_other_side() -> None:
    """A network that answers for both images alike is not changed by averaging."""

    def network(images_B3HW: torch.Tensor, heads: object, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        right, down = inputs[PLACE][:, :, None, None, None].unbind(dim=1)
        return {"depth": sloped(images_B3HW[:, :1], right, down)}

    images = torch.randn(2, 3, 6, 4)
    there = {PLACE: torch.tensor([[0.2, -0.1], [-0.3, 0.2]])}
    other_side = NanoConfig((64, 48), 32, 2, 4, (8, 16, 24)).mirrored(there)
    plain = maps(network, images, inputs=there)
    both = maps(network, images, True, {"depth": FlipRule()}, inputs=there, mirrored_inputs=other_side)
    torch.testing.assert_close(both["depth"], plain["depth"])
    assert (plain["depth"] - images[:, :1]).abs().max() > 0.01
