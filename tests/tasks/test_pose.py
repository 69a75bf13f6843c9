"""The pose task: which points are taught and how, and what is measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from opensapiens.data.sample import Sample
from opensapiens.geometry.heatmaps import encode_heatmaps
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308
from opensapiens.tasks.pose.loss import (
    gaussian_losses,
    hardest_keypoints_mse,
    heatmap_mse,
    location_cross_entropy,
)
from opensapiens.tasks.pose.metrics import PosePrediction, oks, peak_accuracy
from opensapiens.tasks.pose.targets import gaussian_factors, gaussian_heatmaps
from opensapiens.tasks.pose.task import PoseTask

SIZE = (64, 48)


def person(points: list[tuple[float, float, float]] | np.ndarray, **labels: object) -> Sample:
    """A crop with the points given for the first channels of COCO_17; the others are unlabelled."""
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[: len(points)] = points
    return Sample(np.zeros((*SIZE, 3), np.uint8), keypoints=keypoints, keypoint_set=COCO_17, **labels)  # type: ignore[arg-type]


@pytest.fixture
def task() -> PoseTask:
    return PoseTask(COCO_17, SIZE, heatmap_stride=2, sigma=2.0)


@pytest.mark.parametrize("sigma", [1.5, 2.0, 6.0])
def test_heatmaps_and_weights_equal_the_codec(sigma: float) -> None:
    rng = np.random.default_rng(0)
    task = PoseTask(SAPIENS_308, (96, 72), heatmap_stride=2, sigma=sigma)
    keypoints = np.concatenate([rng.uniform(-40, 140, (2, 308, 2)), rng.integers(0, 3, (2, 308, 1))], axis=2)
    keypoints[:, ::7, :2] = keypoints[:, ::7, :2].round()  # on pixel centres and half-way between heatmap pixels too
    keypoints = keypoints.astype(np.float32)
    targets = task.prepare_targets([Sample(np.zeros((96, 72, 3), np.uint8), keypoints=points) for points in keypoints])
    heatmaps = gaussian_heatmaps(targets["points"], targets["weights"], task.input_size, task.heatmap_size, sigma)
    for i, points in enumerate(keypoints):
        expected, weights = encode_heatmaps(points[:, :2], np.minimum(points[:, 2], 1), (96, 72), (48, 36), sigma)
        np.testing.assert_array_equal(targets["weights"][i].numpy(), weights)
        np.testing.assert_allclose(heatmaps[i].numpy(), expected, atol=1e-6)
    assert 0 < targets["weights"].sum() < (keypoints[..., 2] > 0).sum()  # some labelled points are out of reach


def test_weights_tell_unlabelled_hidden_and_outside_apart(task: PoseTask) -> None:
    points = [(20, 30, 2), (20, 30, 1), (20, 30, 0), (-8, 30, 2), (-30, 30, 2), (np.nan, 30, 2)]
    targets = task.prepare_targets([person(points)])
    assert targets["weights"][0, :6].tolist() == [1, 1, 0, 1, 0, 0]
    assert targets["weights"][0, 6:].sum() == 0
    assert task.losses(torch.zeros(1, 17, 32, 24), targets)["heatmap_mse"].isfinite()


def test_an_unlabelled_point_is_not_taught_as_absent(task: PoseTask) -> None:
    targets = task.prepare_targets([person([(20, 30, 2), (25, 30, 1), (30, 30, 0)])])
    maps = torch.full((1, 17, 32, 24), 0.5, requires_grad=True)
    task.losses(maps, targets)["heatmap_mse"].backward()
    gradient = maps.grad.abs().sum(dim=(2, 3))[0]
    assert gradient[0] > 0 and gradient[1] > 0
    assert (gradient[2:] == 0).all()


def test_the_loss_is_zero_for_the_right_heatmaps_and_decode_returns_the_points(task: PoseTask) -> None:
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform((8, 8), (40, 56), (17, 2)), np.full((17, 1), 2)], axis=1)
    targets = task.prepare_targets([person(points, mask=np.ones(SIZE, bool))])
    heatmaps = gaussian_heatmaps(targets["points"], targets["weights"], task.input_size, task.heatmap_size, task.sigma)
    assert task.losses(heatmaps, targets)["heatmap_mse"] == 0
    prediction = task.decode(heatmaps)
    assert (prediction.points - targets["points"]).abs().max() < 0.2
    # The centres of the corner pixels stay: a crop of twice the size reaches from 0 to 95, not to 94.
    larger = prediction.points * torch.tensor([95 / 47, 127 / 63])
    torch.testing.assert_close(task.decode(heatmaps, (128, 96)).points, larger)
    metric = task.new_metric()
    metric.update(prediction, targets)
    assert metric.compute()["oks"] > 0.99
    metric.update(PosePrediction(prediction.points + 100, prediction.scores), targets)
    assert metric.compute()["oks"] == pytest.approx(0.5, abs=0.01)


def test_wrong_input_is_an_error(task: PoseTask) -> None:
    sample = person([(1, 1, 2)])
    with pytest.raises(ValueError, match="crop of"):
        task.prepare_targets([replace(sample, image=np.zeros((32, 32, 3), np.uint8))])
    with pytest.raises(ValueError, match="sapiens_308"):
        task.prepare_targets([replace(sample, keypoint_set=SAPIENS_308)])
    with pytest.raises(ValueError, match="task needs"):
        task.losses(torch.zeros(1, 17, 16, 12), task.prepare_targets([sample]))


def test_the_hardest_keypoints_alone_are_trained(task: PoseTask) -> None:
    prediction, target, weights = torch.zeros(2, 17, 4, 3), torch.zeros(2, 17, 4, 3), torch.ones(2, 17)
    prediction[:, 3], prediction[:, 5] = 2.0, 1.0
    assert hardest_keypoints_mse(prediction, target, weights, 1).tolist() == [4, 4]
    assert hardest_keypoints_mse(prediction, target, weights, 2).tolist() == [2.5, 2.5]
    assert heatmap_mse(prediction, target, weights).tolist() == pytest.approx([5 / 17, 5 / 17])
    hard = PoseTask(COCO_17, SIZE, heatmap_stride=2, sigma=2.0, hardest=1)
    targets = hard.prepare_targets([person([(20, 30, 2), (20, 40, 2)])])
    maps = torch.zeros(1, 17, 32, 24)
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


def test_peak_accuracy_counts_points_with_weight_and_knows_empty_maps() -> None:
    target, prediction = torch.zeros(1, 4, 40, 40), torch.zeros(1, 4, 40, 40)
    target[0, :, 0, 0] = 1
    prediction[0, 0, 1, 0] = prediction[0, 1, 9, 0] = 1  # near; far; the others have no peak
    assert peak_accuracy(prediction, target, torch.tensor([[1, 1, 0, 0]])) == 0.5
    assert peak_accuracy(prediction, target, torch.tensor([[1, 1, 1, 1]]), threshold=0.03) == 0.25
    assert peak_accuracy(prediction, target, torch.zeros(1, 4)) == 0


def test_the_area_is_the_masks_or_from_the_box(task: PoseTask) -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:20, 10:20] = True
    box = np.array([0, 0, 20, 40], np.float32)
    points = [(20, 30, 2)]
    samples = [person(points, mask=mask, box=box), person(points, box=box), person(points)]
    area = task.prepare_targets(samples)["area"]
    assert area[:2].tolist() == pytest.approx([100, 424])
    assert area[2].isnan()


def test_the_metric_has_a_figure_per_group_and_leaves_out_who_cannot_be_measured() -> None:
    task = PoseTask(SAPIENS_308, SIZE, heatmap_stride=2, sigma=2.0)
    keypoints = np.full((308, 3), 20, np.float32)
    keypoints[SAPIENS_308.group("face"), 2] = 0
    image, mask = np.zeros((*SIZE, 3), np.uint8), np.ones(SIZE, bool)
    samples = [Sample(image, keypoints=keypoints, mask=mask), Sample(image, keypoints=keypoints), Sample(image)]
    targets = task.prepare_targets(samples)  # the second has no area, the third no points
    metric = task.new_metric()
    metric.update(PosePrediction(torch.full((3, 308, 2), 20.0), torch.ones(3, 308)), targets)
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
    sizes = ((48, 36), (12, 9), 1.5)
    heatmaps = gaussian_heatmaps(points, known, *sizes)
    plain = heatmap_mse(maps, heatmaps, weights), location_cross_entropy(maps, heatmaps, weights)
    quick = gaussian_losses(maps, *gaussian_factors(points, known, *sizes), weights)
    of_samples = torch.tensor([1.0, 3.0])
    for name, expected, result in zip(("squared error", "location"), plain, quick, strict=True):
        torch.testing.assert_close(result, expected, msg=name)
        (expected_gradient,) = torch.autograd.grad(expected @ of_samples, maps, retain_graph=True)
        (gradient,) = torch.autograd.grad(result @ of_samples, maps, retain_graph=True)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-7, msg=name)
