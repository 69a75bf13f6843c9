"""Losses and metrics against the numbers of the published code: values, gradients, targets."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from opensapiens.labels.parts import PartSet, part_set_of_rows
from opensapiens.tasks.depth import normalized_depth, silog
from opensapiens.tasks.normals import cosine_loss, l1_loss, normal_target, valid_pixels
from opensapiens.tasks.pose import hardest_keypoints_mse, heatmap_mse
from opensapiens.tasks.segmentation import SegmentationTask, class_ratios, histograms, weighted_cross_entropy

from .cases import Case, cases, name_of


def part_set(classes: int) -> PartSet:
    """So many classes, whatever they are called."""
    row = {"mirror": "", "loss_weight": "1", "color": "#000000"}
    return part_set_of_rows(f"{classes} classes", [{"name": f"class {i}", **row} for i in range(classes)], "a case")


def assert_loss(case: Case, value: str, gradient: str, loss: Callable[[Tensor], Tensor], prediction: Tensor) -> None:
    """The loss of `prediction` is the tensor `value`, its gradient is `gradient` to 1e-4 of the latter's maximum."""
    prediction = prediction.requires_grad_()
    result = loss(prediction)
    case.assert_close(value, result.reshape(1))
    result.backward()
    expected = case.tensor(gradient)
    # Gradients are far below the usual tolerance of 1e-4, at which a wrong factor would pass.
    torch.testing.assert_close(prediction.grad, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("case", cases("pose_losses"), ids=name_of)
def test_pose_losses(case: Case) -> None:
    target, weights, hardest = case.tensor("input.target"), case.tensor("input.target_weights"), case.config["topk"]
    mse = lambda prediction: heatmap_mse(prediction, target, weights).mean()  # noqa: E731
    hard = lambda prediction: hardest_keypoints_mse(prediction, target, weights, hardest).mean()  # noqa: E731
    assert_loss(case, "output.mse", "output.mse_grad", mse, case.tensor("input.pred"))
    assert_loss(case, "output.ohkm", "output.ohkm_grad", hard, case.tensor("input.pred"))
    unweighted = heatmap_mse(case.tensor("input.pred"), target, torch.ones_like(weights)).mean()
    case.assert_close("output.mse_no_weights", unweighted.reshape(1))


@pytest.mark.parametrize("case", cases("seg_losses"), ids=name_of)
def test_segmentation_losses(case: Case) -> None:
    sets = sorted({name.split(".")[1] for name in case.arrays if name.endswith(".logits")})
    assert sets
    for name in sets:
        labels, weights = case.tensor(f"input.{name}.label"), case.tensor(f"input.{name}.class_weight")
        small = labels.to(torch.uint8)  # as our loader ships them
        loss = lambda logits, small=small, weights=weights: weighted_cross_entropy(logits, small, weights).mean()  # noqa: E731
        assert_loss(case, f"output.{name}.loss", f"output.{name}.grad", loss, case.tensor(f"input.{name}.logits"))
        predicted = case.tensor(f"input.{name}.logits").argmax(dim=1)
        metric = SegmentationTask(part_set(len(weights))).new_metric()
        metric.update_ids(predicted, labels)
        case.assert_close(f"output.{name}.acc", np.array([100 * metric.compute()["aAcc"]], np.float32))


@pytest.mark.parametrize("case", cases("depth_losses"), ids=name_of)
def test_depth_losses(case: Case) -> None:
    prediction, target = case.tensor("input.pred"), case.tensor("input.target")
    with_label = len(case.array("output.silog_grad"))
    assert_loss(
        case,
        "output.silog",
        "output.silog_grad",
        lambda p: silog(p, target[:with_label]).mean(),
        prediction[:with_label].clone(),
    )
    case.assert_close("output.silog_per_sample", silog(prediction, target))
    case.assert_close("output.silog_with_empty", silog(prediction, target).mean().reshape(1))
    assert (silog(prediction, case.tensor("input.target_invalid")) == 0).all()


@pytest.mark.parametrize("case", cases("depth_losses"), ids=name_of)
def test_depth_target(case: Case) -> None:
    target, nearest, extent = normalized_depth(case.array("input.gt_depth_raw"), case.array("input.mask_raw") > 0)
    case.assert_close("output.generated_target", target)
    inside = case.array("input.mask_raw") > 0
    np.testing.assert_allclose(nearest + extent * target[inside], case.array("input.gt_depth_raw")[inside], rtol=1e-5)


@pytest.mark.parametrize("case", cases("normal_losses"), ids=name_of)
def test_normal_losses(case: Case) -> None:
    target, empty = case.tensor("input.target"), case.tensor("input.target_empty")
    pixels = valid_pixels(target).sum()
    assert_loss(
        case,
        "output.cosine",
        "output.cosine_grad",
        lambda p: cosine_loss(p, target).sum() / pixels,
        case.tensor("input.pred"),
    )
    assert_loss(
        case, "output.l1", "output.l1_grad", lambda p: l1_loss(p, target).sum() / pixels, case.tensor("input.pred")
    )
    case.assert_close("output.cosine_empty", cosine_loss(case.tensor("input.pred"), empty).sum().reshape(1))
    case.assert_close("output.l1_empty", l1_loss(case.tensor("input.pred"), empty).sum().reshape(1))


@pytest.mark.parametrize("case", cases("normal_losses"), ids=name_of)
def test_normal_target(case: Case) -> None:
    target = normal_target(case.array("input.gt_normal_raw"), case.array("input.mask_raw") > 0)
    case.assert_close("output.generated_target", target.transpose(1, 2, 0))


@pytest.mark.parametrize("case", cases("iou_metric"), ids=name_of)
def test_iou_metric(case: Case) -> None:
    metric = SegmentationTask(part_set(case.config["n"])).new_metric()
    for i in range(len(case.config["sizes"])):  # images of several sizes, one by one: histograms add up
        metric.update_ids(case.tensor(f"input.pred{i}"), case.tensor(f"input.label{i}"))
    of_classes = metric.totals[:, : case.config["n"]]
    both, predicted, truth = of_classes
    for name, expected in (("intersect", both), ("pred", predicted), ("label", truth)):
        case.assert_close(f"output.area_{name}", expected.float())
    case.assert_close("output.area_union", (predicted + truth - both).float())
    ratios = class_ratios(of_classes)
    for name in ratios.keys() & {name.removeprefix("output.class.") for name in case.arrays}:
        case.assert_close(f"output.class.{name}", ratios[name].float())
    figures = metric.compute()
    for name in ("mIoU", "mAcc", "aAcc"):  # the published summary is in percent, rounded to two decimals
        assert 100 * figures[name] == pytest.approx(case.array(f"output.summary.{name}").item(), abs=0.0051)


def test_histograms_leave_ignored_pixels_out() -> None:
    labels = torch.tensor([0, 1, 255, 255])
    assert histograms(torch.tensor([0, 0, 0, 1]), labels, 2).tolist() == [[1, 0], [2, 0], [1, 1]]
