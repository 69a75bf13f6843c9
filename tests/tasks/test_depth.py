"""The depth task."""

import numpy as np
import pytest
import torch

from opensapiens.data.label_kinds import DEPTH, MASK
from opensapiens.data.sample import Sample
from opensapiens.geometry.view import crop_view
from opensapiens.tasks.depth import DepthTask, decorrelation, depth_errors, depth_l1, normalized_depth, silog

IMAGE = np.zeros((6, 4, 3), np.uint8)


def person(near: float = 2.0, far: float = 3.0) -> Sample:
    """Depth grows from near to far over the upper four rows; below is background."""
    depth = np.full((6, 4), np.nan, np.float32)
    depth[:4] = np.linspace(near, far, 16).reshape(4, 4)
    return Sample(IMAGE, labels={DEPTH: depth})


def test_the_target_is_min_max_over_the_person_and_near_is_small() -> None:
    targets = DepthTask().prepare_targets([person(), Sample(IMAGE)])
    assert targets["depth"][0, 0, 0] == 0 and targets["depth"][0, 3, 3] == 1
    np.testing.assert_allclose(targets["depth"][0, :4].flatten().numpy(), np.linspace(0, 1, 16), atol=1e-6)
    assert (targets["depth"][0, 4:] == -1).all() and (targets["depth"][1] == -1).all()
    assert targets["labeled"].tolist() == [True, False]


def test_only_the_mask_counts_for_the_range() -> None:
    sample = person()
    mask = sample.labels[MASK] = np.zeros((6, 4), bool)
    mask[1:3] = True
    depth = DepthTask().prepare_targets([sample])["depth"][0]
    assert depth[1, 0] == 0 and depth[2, 3] == 1
    assert (depth[[0, 3, 4, 5]] == -1).all()
    assert normalized_depth(sample.labels[DEPTH], mask)[1:] == pytest.approx((2 + 4 / 15, 7 / 15))


@pytest.mark.parametrize("sample", [person(2, 2), Sample(IMAGE, labels={DEPTH: np.full((6, 4), np.nan, np.float32)})])
def test_flat_and_empty_persons_give_finite_losses_and_gradients(sample: Sample) -> None:
    task = DepthTask(l1_weight=1.0, correlation_weight=1.0)
    targets = task.prepare_targets([sample])
    assert set(targets["depth"].unique().tolist()) <= {0, -1}
    maps = torch.zeros(1, 1, 3, 2, requires_grad=True)
    losses = task.losses(maps, targets)
    sum(losses.values()).backward()
    assert losses["silog"] == 0 and maps.grad.isfinite().all()
    metric = task.new_metric()
    figures = metric.update(task.decode(maps.detach()[0], crop_view((6, 4))), sample)
    assert all(map(np.isnan, figures.values())) and np.isnan(metric.compute()["rmse"])


def test_the_background_is_never_supervised() -> None:
    task = DepthTask(l1_weight=1.0)
    maps = torch.rand(1, 1, 6, 4, requires_grad=True)
    sum(task.losses(maps, task.prepare_targets([person()])).values()).backward()
    assert (maps.grad[0, 0, 4:] == 0).all()
    assert (maps.grad[0, 0, :4] != 0).all()


def test_a_perfect_prediction_has_no_loss_and_a_finite_gradient() -> None:
    targets = DepthTask().prepare_targets([person()])["depth"]
    prediction = targets.clone().requires_grad_()
    loss = silog(prediction, targets)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert prediction.grad.isfinite().all()


def test_l1_teaches_pixels_that_silog_cannot() -> None:
    targets = DepthTask().prepare_targets([person()])
    maps = torch.full((1, 1, 6, 4), -0.5, requires_grad=True)
    DepthTask().losses(maps, targets)["silog"].backward()
    assert (maps.grad == 0).all()
    losses = DepthTask(l1_weight=2.0).losses(maps, targets)
    losses["l1"].backward()
    assert (maps.grad[0, 0, :4] < 0).all()
    assert losses["l1"].item() == pytest.approx(2 * (0.5 + 0.5))  # mean target 0.5, prediction -0.5
    assert depth_l1(maps[:, 0], targets["depth"]).item() == pytest.approx(1.0)
    assert set(DepthTask().losses(maps, targets)) == {"silog"}


def test_maps_are_raised_to_the_labels_size() -> None:
    task = DepthTask()
    targets = task.prepare_targets([person()])
    small = torch.rand(1, 1, 3, 2) + 0.1
    raised = torch.nn.functional.interpolate(small, size=(6, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(task.losses(small, targets)["silog"], silog(raised[:, 0], targets["depth"]).mean())
    np.testing.assert_allclose(task.decode(small[0], crop_view((6, 4))), raised[0, 0].numpy(), rtol=1e-6)


def test_a_label_stride_keeps_every_nth_pixel_but_the_whole_range() -> None:
    targets = DepthTask().prepare_targets([person(), Sample(IMAGE)], label_stride=2)
    full = DepthTask().prepare_targets([person()])["depth"]
    assert torch.equal(targets["depth"][0], full[0, 1::2, 1::2])
    assert targets["depth"][1].shape == (3, 2)


def test_the_metric_forgives_scale_and_shift_and_shows_the_trivial_answer() -> None:
    sample = person(2, 3)
    metric = DepthTask().new_metric()
    of_person = metric.update(sample.labels[DEPTH] * 0.3 + 7, sample)
    of_nobody = metric.update(np.zeros((6, 4), np.float32), Sample(IMAGE))
    figures = metric.compute()
    assert of_person == figures and all(map(np.isnan, of_nobody.values()))
    assert metric.report() == {**figures, "constant_r2": 0.0}
    assert figures["rmse"] == pytest.approx(0, abs=1e-6) and figures["delta1"] == 1
    assert figures["r2"] == pytest.approx(1)
    truth = np.linspace(2, 3, 16)
    assert figures["constant_rmse"] == pytest.approx(truth.std(), rel=1e-5)
    assert figures["constant_abs_rel"] == pytest.approx((np.abs(truth - 2.5) / truth).mean(), rel=1e-5)
    assert figures["constant_delta1"] == np.mean((truth > 2.5 / 1.25) & (truth < 2.5 * 1.25))
    assert metric.totals[:, 1].tolist() == [1] * 7  # the unlabeled sample is nobody


def test_delta1_is_a_factor_of_125_to_both_sides() -> None:
    errors = depth_errors(np.array([1.2, 1.3, 0.81, 0.79]), np.ones(4) + np.array([0, 0, 0, 1e-9]))
    assert errors["delta1"] == 0.5
    assert errors["abs_rel"] == pytest.approx((0.2 + 0.3 + 0.19 + 0.21) / 4)


def test_a_constant_prediction_scores_like_the_trivial_answer() -> None:
    metric = DepthTask().new_metric()
    metric.update(np.full((6, 4), 0.4, np.float32), person(1, 4))
    figures = metric.compute()
    assert figures["r2"] == pytest.approx(0, abs=1e-9)
    for name in ("rmse", "abs_rel", "delta1"):
        assert figures[name] == pytest.approx(figures[f"constant_{name}"])


def test_decorrelation_sees_neither_scale_nor_shift_nor_background() -> None:
    target = DepthTask().prepare_targets([person()])["depth"]
    moved = torch.where(target >= 0, 0.2 * target + 5, -70)
    assert decorrelation(moved, target).item() == pytest.approx(0, abs=1e-5)
    assert decorrelation(-target, target).item() == pytest.approx(2)
    other = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))
    inside = (target >= 0).numpy()
    expected = 1 - np.corrcoef(other.numpy()[inside], target.numpy()[inside])[0, 1]
    assert decorrelation(other, target).item() == pytest.approx(expected, abs=1e-5)


def test_what_the_view_does_not_show_is_not_measured() -> None:
    sample, metric = person(), DepthTask().new_metric()
    prediction = 2 * sample.labels[DEPTH]
    prediction[2:] = np.nan
    figures = metric.update(prediction, sample)
    assert figures["r2"] == pytest.approx(1)
    assert figures["constant_rmse"] == pytest.approx(np.linspace(2, 3, 16)[:8].std(), rel=1e-5)
    with pytest.raises(ValueError, match="labels"):
        metric.update(prediction[:3], sample)
