"""The pose task: which points are taught and how, and what is measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from opensapiens.data.label_kinds import MASK
from opensapiens.data.sample import Sample
from opensapiens.geometry.heatmaps import encode_heatmaps
from opensapiens.geometry.view import crop_view, person_view
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308
from opensapiens.tasks.pose import (
    PosePrediction,
    PoseTask,
    gaussian_factors,
    gaussian_losses,
    hardest_keypoints_mse,
    heatmap_mse,
    heatmap_points,
    location_cross_entropy,
    oks,
    outer_product,
    window_inside,
)
from opensapiens.tasks.task import Targets

SIZE, MAP = (64, 48), (32, 24)
FACTOR = 256 / MAP[0]  # the task's sigma is of maps 256 high


def person(points: list[tuple[float, float, float]] | np.ndarray, **labels: object) -> Sample:
    """A crop with the points given for the first channels of COCO_17; the others are unlabeled."""
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[: len(points)] = points
    return Sample(np.zeros((*SIZE, 3), np.uint8), keypoints=keypoints, keypoint_set=COCO_17, **labels)  # type: ignore[arg-type]


def heatmaps_of(targets: Targets, map_size: tuple[int, int], sigma: float) -> Tensor:
    centers = heatmap_points(targets["points"], targets["size"], map_size)
    return outer_product(*gaussian_factors(centers, targets["weights"], map_size, sigma))


@pytest.fixture
def task() -> PoseTask:
    return PoseTask(COCO_17, sigma=2 * FACTOR)


@pytest.mark.parametrize("sigma", [1.5, 2.0, 6.0])
def test_heatmaps_and_weights_equal_the_codec(sigma: float) -> None:
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(-40, 140, (2, 308, 2)), rng.integers(0, 3, (2, 308, 1))], axis=2)
    keypoints[:, ::7, :2] = keypoints[:, ::7, :2].round()  # on pixel centers and half-way between heatmap pixels too
    keypoints = keypoints.astype(np.float32)
    samples = [Sample(np.zeros((96, 72, 3), np.uint8), keypoints=points) for points in keypoints]
    targets = PoseTask(SAPIENS_308).prepare_targets(samples)
    centers = heatmap_points(targets["points"], targets["size"], (48, 36))
    in_reach = targets["weights"] * window_inside(centers, (48, 36), sigma)
    heatmaps = outer_product(*gaussian_factors(centers, in_reach, (48, 36), sigma))
    for i, points in enumerate(keypoints):
        expected, weights = encode_heatmaps(points[:, :2], np.minimum(points[:, 2], 1), (96, 72), (48, 36), sigma)
        np.testing.assert_array_equal(in_reach[i].numpy(), weights)
        np.testing.assert_allclose(heatmaps[i].numpy(), expected, atol=1e-6)
    assert 0 < in_reach.sum() < (keypoints[..., 2] > 0).sum()  # some labeled points are out of reach


def test_sigma_follows_the_heatmap_as_published_for_256_rows() -> None:
    task = PoseTask(COCO_17)
    assert [task.sigma_at(height) for height in (512, 256, 64, 16)] == [12.0, 6.0, 1.5, 1.0]
    assert PoseTask(COCO_17, sigma=4.0, least_sigma=0.5).sigma_at(16) == 0.5
    sample = person([(20, 30, 2)])
    for rows, columns in ((256, 192), (64, 48), (16, 12)):
        targets = task.prepare_targets([sample])
        right = heatmaps_of(targets, (rows, columns), max(6 * rows / 256, 1))
        assert task.losses(right, targets)["heatmap_mse"] == 0
        assert task.losses(heatmaps_of(targets, (rows, columns), 20.0), targets)["heatmap_mse"] > 0


def test_weights_tell_unlabeled_hidden_and_outside_apart(task: PoseTask) -> None:
    points = [(20, 30, 2), (20, 30, 1), (20, 30, 0), (-8, 30, 2), (-30, 30, 2), (np.nan, 30, 2)]
    targets = task.prepare_targets([person(points)])
    assert targets["weights"][0, :6].tolist() == [1, 1, 0, 1, 1, 0]
    assert targets["weights"][0, 6:].sum() == 0
    maps = torch.full((1, 17, *MAP), 0.5, requires_grad=True)
    loss = task.losses(maps, targets)["heatmap_mse"]
    loss.backward()
    assert loss.isfinite() and maps.grad is not None
    # The fifth is so far outside that its Gaussian does not reach into the map.
    assert maps.grad[0].abs().sum(dim=(1, 2)).nonzero().flatten().tolist() == [0, 1, 3]


def test_an_unlabeled_point_is_not_taught_as_absent(task: PoseTask) -> None:
    targets = task.prepare_targets([person([(20, 30, 2), (25, 30, 1), (30, 30, 0)])])
    maps = torch.full((1, 17, *MAP), 0.5, requires_grad=True)
    task.losses(maps, targets)["heatmap_mse"].backward()
    gradient = maps.grad.abs().sum(dim=(2, 3))[0]
    assert gradient[0] > 0 and gradient[1] > 0
    assert (gradient[2:] == 0).all()


def test_the_loss_is_zero_for_the_right_heatmaps_and_decode_returns_the_points(task: PoseTask) -> None:
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform((8, 8), (40, 56), (17, 2)), np.full((17, 1), 2)], axis=1)
    sample = person(points, labels={MASK: np.ones(SIZE, bool)})
    targets = task.prepare_targets([sample])
    heatmaps = heatmaps_of(targets, MAP, 2.0)
    assert task.losses(heatmaps, targets)["heatmap_mse"] == 0
    prediction = task.decode(heatmaps[0], crop_view(SIZE))
    assert prediction.points.shape == (17, 2) and prediction.points.dtype == prediction.scores.dtype == np.float32
    assert np.abs(prediction.points - points[:, :2]).max() < 0.2
    # The centers of the corner pixels stay: a crop of twice the size reaches from 0 to 95, not to 94.
    larger = prediction.points * np.array([95 / 47, 127 / 63])
    np.testing.assert_allclose(task.decode(heatmaps[0], crop_view((128, 96))).points, larger, rtol=1e-5)
    metric = task.new_metric()
    assert metric.update(prediction, sample)["oks"] > 0.99
    assert metric.compute()["oks"] > 0.99
    metric.update(PosePrediction(prediction.points + 100, prediction.scores), sample)
    assert metric.compute()["oks"] == pytest.approx(0.5, abs=0.01) == metric.report()["oks"]


def test_decode_returns_points_of_the_image_that_the_view_shows(task: PoseTask) -> None:
    view = person_view(np.array([100.0, 40, 160, 120]), (300, 400), SIZE, 1.25)
    in_image = np.random.default_rng(1).uniform((105, 45), (155, 115), (17, 2)).astype(np.float32)
    in_crop = in_image @ view.matrix[:, :2].T + view.matrix[:, 2]
    targets = task.prepare_targets([person(np.column_stack([in_crop, np.full(17, 2)]))])
    points = task.decode(heatmaps_of(targets, MAP, 2.0)[0], view).points
    np.testing.assert_allclose(points, in_image, atol=0.3)


def test_wrong_input_is_an_error(task: PoseTask) -> None:
    sample = person([(1, 1, 2)])
    other = replace(sample, keypoint_set=SAPIENS_308)
    with pytest.raises(ValueError, match="sapiens_308"):
        task.prepare_targets([other])
    with pytest.raises(ValueError, match="sapiens_308"):
        task.new_metric().update(PosePrediction(np.zeros((17, 2)), np.zeros(17)), other)
    with pytest.raises(ValueError, match="16 heatmaps for the 17 points"):
        task.losses(torch.zeros(1, 16, *MAP), task.prepare_targets([sample]))


def test_the_hardest_keypoints_alone_are_trained(task: PoseTask) -> None:
    prediction, target, weights = torch.zeros(2, 17, 4, 3), torch.zeros(2, 17, 4, 3), torch.ones(2, 17)
    prediction[:, 3], prediction[:, 5] = 2.0, 1.0
    assert hardest_keypoints_mse(prediction, target, weights, 1).tolist() == [4, 4]
    assert hardest_keypoints_mse(prediction, target, weights, 2).tolist() == [2.5, 2.5]
    assert heatmap_mse(prediction, target, weights).tolist() == pytest.approx([5 / 17, 5 / 17])
    hard = replace(task, hardest=1)
    targets = hard.prepare_targets([person([(20, 30, 2), (20, 40, 2)])])
    maps = torch.zeros(1, 17, *MAP)
    maps[:, 1] = 1.0
    maps.requires_grad_()
    hard.losses(maps, targets)["heatmap_mse"].backward()
    assert maps.grad.abs().sum(dim=(0, 2, 3)).nonzero().flatten().tolist() == [1]


def test_oks_is_cocos_formula() -> None:
    sigmas = torch.tensor([0.1, 0.05])
    truth = torch.tensor([[[10.0, 10.0], [50.0, 50.0]]])
    shifted = truth + torch.tensor([[[3.0, 4.0], [0.0, 0.0]]])
    area = torch.tensor([1000.0])
    first = np.exp(-25 / (2 * 1000 * 0.2**2))
    assert oks(shifted, truth, torch.tensor([[2, 1]]), area, sigmas).item() == pytest.approx((first + 1) / 2)
    assert oks(shifted, truth, torch.tensor([[2, 0]]), area, sigmas).item() == pytest.approx(first)
    assert oks(shifted, truth, torch.tensor([[0, 0]]), area, sigmas).isnan().all()


def test_the_area_is_the_masks_or_from_the_box(task: PoseTask) -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:20, 10:20] = True
    box = np.array([0, 0, 20, 40], np.float32)
    points = [(20, 30, 2)]
    samples = [person(points, labels={MASK: mask}, box=box), person(points, box=box), person(points)]
    off = PosePrediction(np.full((17, 2), (23.0, 34.0), np.float32), np.ones(17, np.float32))  # by 5 pixels

    def area(sample: Sample) -> float:
        return -25 / (2 * (2 * COCO_17.sigmas[0]) ** 2 * np.log(task.new_metric().update(off, sample)["oks"]))

    assert [area(sample) for sample in samples[:2]] == pytest.approx([100, 424], rel=1e-5)
    assert np.isnan(area(samples[2]))


def test_the_metric_has_a_figure_per_group_and_leaves_out_who_cannot_be_measured() -> None:
    keypoints = np.full((308, 3), 20, np.float32)
    keypoints[SAPIENS_308.group("face"), 2] = 0
    keypoints[SAPIENS_308.group("body")[0], 0] = -5  # labeled, and not in the picture
    image, mask = np.zeros((*SIZE, 3), np.uint8), np.ones(SIZE, bool)
    samples = [
        Sample(image, keypoints=keypoints, labels={MASK: mask}),
        Sample(image, keypoints=keypoints),  # has no area
        Sample(image, labels={MASK: mask}),  # has no points
    ]
    metric = PoseTask(SAPIENS_308).new_metric()
    prediction = PosePrediction(np.full((308, 2), 20, np.float32), np.ones(308, np.float32))
    of_samples = [metric.update(prediction, sample) for sample in samples]
    assert of_samples[0]["oks"] == 1 and all(np.isnan(figures["oks"]) for figures in of_samples[1:])
    figures = metric.compute()
    assert figures["oks"] == 1 and figures["oks_body"] == 1
    assert np.isnan(figures["oks_face"])
    assert metric.totals[0].tolist() == [1, 1]


def test_losses_without_heatmaps_are_those_with_them() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 5, 12, 9, generator=generator, requires_grad=True)
    points = torch.rand(2, 5, 2, generator=generator) * 40
    known, weights = torch.ones(2, 5), torch.rand(2, 5, generator=generator)
    known[0, 0] = 0
    centers = heatmap_points(points, torch.tensor([[48.0, 36.0]]).expand(2, 2), (12, 9))
    factors = gaussian_factors(centers, known, (12, 9), 1.5)
    heatmaps = outer_product(*factors)
    plain = heatmap_mse(maps, heatmaps, weights), location_cross_entropy(maps, heatmaps, weights)
    quick = gaussian_losses(maps, *factors, weights)
    of_samples = torch.tensor([1.0, 3.0])
    for name, expected, result in zip(("squared error", "location"), plain, quick, strict=True):
        torch.testing.assert_close(result, expected, msg=name)
        (expected_gradient,) = torch.autograd.grad(expected @ of_samples, maps, retain_graph=True)
        (gradient,) = torch.autograd.grad(result @ of_samples, maps, retain_graph=True)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-7, msg=name)
