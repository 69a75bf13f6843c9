"""The terms that the published training lacks, for networks that start from random weights."""

from dataclasses import replace

import torch

from opensapiens.labels.keypoints import COCO_17
from opensapiens.tasks.depth import silog
from opensapiens.tasks.pose import PoseTask, gaussian_factors, heatmap_points, location_cross_entropy, outer_product

CROP, MAP, SIGMA = torch.tensor([[128.0, 96.0]]), (32, 24), 2.0


def heatmaps(points_BK2: torch.Tensor) -> torch.Tensor:
    centers = heatmap_points(points_BK2, CROP, MAP)
    return outer_product(*gaussian_factors(centers, torch.ones(centers.shape[:2]), MAP, SIGMA))


TARGET = heatmaps(torch.tensor([[[40.0, 50.0], [60.0, 80.0]]]))


def test_location_cross_entropy_pulls_up_the_right_pixel_of_an_empty_map() -> None:
    maps = torch.zeros_like(TARGET, requires_grad=True)
    location_cross_entropy(maps, TARGET, torch.ones(1, 2)).sum().backward()
    assert maps.grad is not None
    assert torch.equal(maps.grad.flatten(2).argmin(2), TARGET.flatten(2).argmax(2))


def test_location_cross_entropy_is_least_for_the_right_place_and_nothing_without_weight() -> None:
    weights = torch.ones(1, 2)
    right, empty, wrong = (
        float(location_cross_entropy(maps, TARGET, weights)) for maps in (TARGET, 0 * TARGET, TARGET.flip(-1))
    )
    assert 0 < right < empty < wrong
    assert float(location_cross_entropy(TARGET.flip(-1), TARGET, torch.zeros(1, 2))) == 0
    assert float(location_cross_entropy(TARGET, torch.zeros_like(TARGET), weights)) == 0


def test_points_count_by_their_weight() -> None:
    count = len(COCO_17)
    targets = {
        "points": torch.full((1, count, 2), 30.0),
        "weights": torch.ones(1, count),
        "size": CROP,
        "labeled": torch.ones(1, dtype=torch.bool),
    }
    maps = torch.zeros(1, count, 32, 24)
    maps[0, 3] = 1.0  # wrong in one point only
    base = heatmaps(targets["points"])
    maps = torch.where(torch.arange(count)[None, :, None, None] == 3, maps, base)
    task = PoseTask(COCO_17, sigma=16.0)  # of maps 256 high, so 2 pixels of these
    plain = task.losses(maps, targets)["heatmap_mse"]
    heavy = replace(task, point_weights=tuple(4.0 if i == 3 else 1.0 for i in range(count)))
    torch.testing.assert_close(heavy.losses(maps, targets)["heatmap_mse"], 4 * plain)


def test_a_floor_bounds_the_gradient_of_silog() -> None:
    target = torch.full((1, 4, 4), 0.5)
    target[0, 0, 0] = 0.9
    steepest = []
    for floor in (1e-6, 0.05):
        prediction = torch.full((1, 4, 4), 0.4)
        prediction[0, 1, 1] = 1e-3
        prediction.requires_grad_()
        silog(prediction, target, floor).sum().backward()
        assert prediction.grad is not None
        steepest.append(float(prediction.grad.abs().max()))
    assert steepest[1] < 1 < 10 < steepest[0]
