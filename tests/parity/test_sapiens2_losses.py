"""Losses and metrics of Sapiens2 against the numbers of the published code: values, gradients, whole heads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from opensapiens.data.label_kinds import ALBEDO, MASK, NORMALS, POINTS
from opensapiens.data.sample import Sample
from opensapiens.geometry.boxes import non_maximum_suppression
from opensapiens.geometry.heatmaps import heatmap_maxima
from opensapiens.geometry.view import resize_maps
from opensapiens.labels.parts import SAPIENS_29
from opensapiens.tasks.albedo import AlbedoTask, chromaticity, low_frequency_l1
from opensapiens.tasks.depth import silog
from opensapiens.tasks.neighbors import pixels_and_pairs, squared_differences
from opensapiens.tasks.normals import BACKGROUND, NormalsTask, cosine_loss, l1_loss
from opensapiens.tasks.pointmap import (
    NEAREST,
    PointmapTask,
    _centered,
    _enlarged,
    normal_difference,
    off_rays,
    summed_l1,
)
from opensapiens.tasks.pose import hardest_keypoints_mse, heatmap_mse, oks
from opensapiens.tasks.segmentation import SegmentationTask, class_ratios, dice_loss, weighted_cross_entropy

from .cases import Case, cases, name_of

each_loss = pytest.mark.parametrize("case", cases("losses"), ids=name_of)
each_metric = pytest.mark.parametrize("case", cases("evaluator metrics"), ids=name_of)
NMS_THRESHOLD = 0.3
SAPIENS2_NORMALS = NormalsTask(cosine_weight=10, l1_weight=1, gradient_weight=10)


def assert_loss(case: Case, name: str, loss: Callable[[Tensor], Tensor], prediction: Tensor) -> None:
    """The loss is the tensor output.NAME, its gradient output.NAME.grad to 1e-4 of the latter's maximum."""
    prediction = prediction.clone().requires_grad_()
    result = loss(prediction)
    case.assert_close(f"output.{name}", result)
    result.sum().backward()
    expected = case.tensor(f"output.{name}.grad")
    torch.testing.assert_close(prediction.grad, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def assert_head(case: Case, task: str, terms: dict[str, Tensor], names: dict[str, str]) -> None:
    """The terms of a whole head, by our names, are the published ones, and their sum is the loss."""
    assert set(terms) == set(names)
    for ours, published in names.items():
        case.assert_close(f"output.{task}.head.{published}", terms[ours].detach())
    total = torch.stack(list(terms.values())).sum()
    np.testing.assert_allclose(total, case.array(f"output.{task}.head.loss"), rtol=1e-5)


def small(case: Case, name: str) -> Tensor:
    """What a published head is given: predictions of half the size, which it resizes."""
    maps = case.tensor(name)
    return maps[:, :, : maps.shape[2] // 2, : maps.shape[3] // 2]


@each_loss
def test_normals(case: Case) -> None:
    mask = case.tensor("input.normal.mask").bool()
    true = functional.normalize(case.tensor("input.normal.gt"), dim=1, eps=1e-6)
    target = torch.where(mask, true, BACKGROUND)
    prediction, pixels = case.tensor("input.normal.pred"), mask.sum()
    assert_loss(case, "normal.loss_cosine_sim", lambda p: 10 * cosine_loss(p, target).sum() / pixels, prediction)
    plain = torch.where(mask, case.tensor("input.normal.gt"), BACKGROUND)  # not made unit there
    assert_loss(case, "normal.loss_l1", lambda p: l1_loss(p, plain).sum() / pixels, prediction)
    pairs = pixels_and_pairs(mask)[1:]
    gradient = lambda p: 10 * squared_differences(p - plain, mask, pairs)  # noqa: E731
    assert_loss(case, "normal.loss_grad_l1", gradient, prediction)
    case.assert_close("output.normal.zero_mask.loss_l1", l1_loss(prediction, torch.full_like(plain, BACKGROUND)).sum())
    targets = {"normals": plain, "labeled": torch.tensor([True, True])}
    terms = SAPIENS2_NORMALS.losses(small(case, "input.normal.pred"), targets)
    lengths = case.tensor("input.normal.gt").norm(dim=1)[mask[:, 0]]
    if (lengths - 1).abs().max() < 1e-4:  # the loader gives the head unit vectors
        names = {"cosine": "loss_cosine_sim", "l1": "loss_l1", "gradient": "loss_grad_l1"}
        assert_head(case, "normal", terms, names)


@each_loss
def test_albedo(case: Case) -> None:
    mask, target = case.tensor("input.normal.mask").bool(), case.tensor("input.albedo.gt")
    prediction, pixels = case.tensor("input.albedo.pred"), mask.sum()

    def summed(error: Tensor) -> Tensor:
        return torch.where(mask, error.abs(), 0).sum() / pixels

    assert_loss(case, "albedo.loss_l1", lambda p: 2 * summed(p - target), prediction)
    pairs = pixels_and_pairs(mask)[1:]
    assert_loss(case, "albedo.loss_grad_l1", lambda p: squared_differences(p - target, mask, pairs), prediction)
    colors = lambda p: summed(chromaticity(p.clamp(0, 1)) - chromaticity(target))  # noqa: E731
    assert_loss(case, "albedo.loss_chroma_l1", colors, prediction)
    low = lambda p: low_frequency_l1(p, target, mask).sum() / pixels  # noqa: E731
    assert_loss(case, "albedo.loss_low_l1", low, prediction)
    targets = {"albedo": target, "valid": mask, "labeled": torch.tensor([True, True])}
    terms = AlbedoTask().losses(small(case, "input.albedo.pred"), targets)
    assert_head(case, "albedo", terms, {"l1": "loss_l1", "gradient": "loss_grad_l1", "chromaticity": "loss_chroma_l1"})


@each_loss
def test_pointmap(case: Case) -> None:
    mask, target = case.tensor("input.normal.mask").bool(), case.tensor("input.pointmap.gt")
    prediction, pixels = case.tensor("input.pointmap.pred"), mask.sum()
    matrix, mean = case.tensor("input.pointmap.original_K"), case.tensor("input.pointmap.gt_mean_depth")
    cameras = torch.stack([matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 2], matrix[:, 1, 2]], dim=1)
    near = target / mean

    def check(name: str, loss: Callable[[Tensor], Tensor]) -> None:
        assert_loss(case, f"pointmap.{name}", loss, prediction)

    check("loss_l1", lambda p: 2 * summed_l1(p / mean, near, mask).sum() / pixels)

    def enlarged(times: int) -> Callable[[Tensor], Tensor]:
        larger, there = _enlarged(near, times), _enlarged(mask, times)
        return lambda p: summed_l1(_enlarged(p / mean, times), larger, there).sum() / (times**2 * pixels)

    for times in (2, 4):
        check(f"loss_multiscale_l1_{times}", enlarged(times))
    shifted = lambda p: summed_l1(_centered(p / mean, mask), _centered(near, mask), mask).sum() / pixels  # noqa: E731
    check("loss_shift_invariant", shifted)
    z = torch.where(mask, target[:, 2:], 0)[:, 0]
    check("loss_silog", lambda p: silog(p[:, 2], z, NEAREST).mean())
    check("loss_K_consistency", lambda p: off_rays(p, cameras, mask).sum() / pixels)
    scale = case.tensor("input.pointmap.gt_scale")
    check("loss_normal", lambda p: 2 * normal_difference(p, target, scale, mask).sum() / pixels)
    far = lambda s: 4 * (s[:, 0] - scale).abs().mean()  # noqa: E731
    assert_loss(case, "pointmap.loss_scale_l1", far, case.tensor("input.pointmap.pred_scale"))

    valid = mask & (target[:, 2:] > 0)
    targets: dict[str, Tensor] = {"points": torch.where(valid, target, 0), "valid": valid, "scale": scale}
    targets |= {"distance": mean.flatten()}
    targets |= {"cameras": cameras, "labeled": torch.tensor([True, True])}
    predicted_scale = case.tensor("input.pointmap.pred_scale")[:, :, None, None].expand(-1, -1, *target.shape[2:])
    terms = PointmapTask().losses(torch.cat([prediction, predicted_scale], dim=1), targets)
    names = {
        "l1": "loss_l1",
        "multiscale": "loss_multiscale_l1_2",
        "shift_invariant": "loss_shift_invariant",
        "silog": "loss_silog",
        "camera": "loss_K_consistency",
        "normal": "loss_normal",
        "scale": "loss_scale_l1",
    }
    assert set(terms) == set(names)
    for ours, published in names.items():
        case.assert_close(f"output.pointmap.head.{published}", terms[ours])
    total = torch.stack(list(terms.values())).sum()
    np.testing.assert_allclose(total, case.array("output.pointmap.head.loss"), rtol=1e-5)


@each_loss
def test_segmentation(case: Case) -> None:
    labels, logits = case.tensor("input.seg.labels"), case.tensor("input.seg.logits")
    weights = torch.tensor(SAPIENS_29.loss_weights)
    configured = case.description["loss_cfgs"]["seg"][0]["class_weight"]
    np.testing.assert_allclose(weights, configured)
    pixel = lambda p: functional.cross_entropy(p, labels, weights, ignore_index=255, reduction="none")  # noqa: E731
    assert_loss(case, "seg.loss_ce", pixel, logits)
    unweighted = lambda p: weighted_cross_entropy(p, labels).mean()  # noqa: E731
    assert_loss(case, "seg.loss_ce.reduction_mean", unweighted, logits)
    assert_loss(case, "seg.loss_dice", lambda p: dice_loss(p, labels), logits)
    assert_loss(case, "seg.loss_dice.reduction_mean", lambda p: dice_loss(p, labels).mean(), logits)
    task = SegmentationTask(SAPIENS_29, dice_weight=1.0)
    targets = {"labels": labels.to(torch.uint8), "labeled": torch.tensor([True] * len(labels))}
    maps = small(case, "input.seg.logits")
    assert_head(case, "seg", task.losses(maps, targets), {"cross_entropy": "loss_ce", "dice": "loss_dice"})
    metric = task.new_metric()
    metric.update_ids(resize_maps(maps, labels.shape[1:]).argmax(dim=1), labels)
    case.assert_close("output.seg.head.acc_seg", np.array(100 * metric.compute()["aAcc"], np.float32))


@each_loss
def test_pose(case: Case) -> None:
    target, weights = case.tensor("input.pose.gt"), case.tensor("input.pose.keypoint_weights")
    prediction = case.tensor("input.pose.pred")
    assert_loss(case, "pose.loss_kpt", lambda p: 10 * heatmap_mse(p, target, weights).mean(), prediction)
    hardest = lambda p: hardest_keypoints_mse(p, target, weights, 3).mean()  # noqa: E731
    assert_loss(case, "pose.loss_ohkm_topk3", hardest, prediction)
    for name in ("loss_kpt", "loss"):
        case.assert_close(f"output.pose.head.{name}", 10 * heatmap_mse(prediction, target, weights).mean())
    # Channels without a point have weight 0 already.
    assert_loss(case, "pose.loss_mse_skip_empty", lambda p: heatmap_mse(p, target, weights).mean(), prediction)
    accuracy = correct_share(prediction.numpy(), target.numpy(), weights.numpy() > 0)
    np.testing.assert_allclose(accuracy[accuracy >= 0].mean(), case.array("output.pose.head.acc_pose"), atol=1e-6)


def correct_share(prediction_BKhw: np.ndarray, target_BKhw: np.ndarray, there_BK: np.ndarray) -> np.ndarray:
    """(K,) the share of peaks within 0.05 of the true ones, -1 for points that are nowhere. As published, x is divided
    by the height of the maps and y by their width."""
    (found, _), (true, _) = heatmap_maxima(prediction_BKhw), heatmap_maxima(target_BKhw)
    away = np.linalg.norm((found - true) / np.array(target_BKhw.shape[2:]), axis=-1)
    right = ((away < 0.05) & there_BK).sum(axis=0)
    return np.where(there_BK.any(axis=0), right / np.maximum(there_BK.sum(axis=0), 1), -1)


def sample(case: Case, labels: dict[Any, np.ndarray], mask: np.ndarray) -> Sample:
    return Sample(np.zeros((*mask.shape, 3), np.uint8), labels={**labels, MASK: mask})


def batches(case: Case, task: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Every image of both batches: prediction (H, W, 3) of the labels' size, truth, mask (H, W)."""
    found = []
    for batch in ("b0", "b1"):
        truth, mask = case.array(f"input.{task}.{batch}.gt"), case.array(f"input.{batch}.mask") > 0
        prediction = resize_maps(case.tensor(f"input.{task}.{batch}.pred"), truth.shape[2:]).numpy()
        found += [
            (np.moveaxis(p, 0, -1), np.moveaxis(t, 0, -1), m[0])
            for p, t, m in zip(prediction, truth, mask, strict=True)
        ]
    return found


@each_metric
def test_normals_metric(case: Case) -> None:
    metric = NormalsTask().new_metric()
    for prediction, truth, mask in batches(case, "normal"):
        metric.update(prediction, sample(case, {NORMALS: truth}, mask))
    ours, published = metric.compute(), case.description["metrics"]["normal"]
    assert ours["mean"] == pytest.approx(published["normal_mae"], abs=1e-3)
    assert ours["rmse"] == pytest.approx(published["normal_rmse"], abs=1e-3)
    # Published is the middle of a bin of half a degree.
    assert ours["median"] == pytest.approx(published["normal_median_deg"], abs=0.25 + 0.05)
    for limit in ("5", "11.25", "22.5", "30"):
        name = f"within_{float(limit)}".replace(".", "_") + "_deg"
        assert 100 * ours[f"within_{limit}"] == pytest.approx(published[name], abs=0.05)


@each_metric
def test_pointmap_metric(case: Case) -> None:
    metric = PointmapTask().new_metric()
    for prediction, truth, mask in batches(case, "pointmap"):
        metric.update(np.ascontiguousarray(prediction), sample(case, {POINTS: truth}, mask))
    ours, published = metric.compute(), case.description["metrics"]["pointmap"]
    assert ours["l2"] == pytest.approx(published["l2_mean"], abs=1e-6)
    for name in ("x_mae", "y_mae", "z_mae", "rmse", "within_05_cm", "within_10_cm", "within_20_cm"):
        assert ours[name] == pytest.approx(published[name], abs=1e-6), name
    assert ours["normal_mean"] == pytest.approx(published["normal_mae"], abs=1e-3)
    assert ours["normal_rmse"] == pytest.approx(published["normal_rmse"], abs=1e-3)
    for limit in ("5", "11.25", "22.5", "30"):
        name = f"within_{float(limit)}".replace(".", "_") + "_deg"
        assert ours[f"normal_within_{limit}"] == pytest.approx(published[name], abs=5e-4), name


@each_metric
def test_accuracy_of_peaks(case: Case) -> None:
    maps = [case.array(f"input.pck.{name}") for name in ("output", "target")]
    case.assert_close("output.pck.acc", correct_share(*maps, case.array("input.pck.mask") > 0).astype(np.float32))


@each_metric
def test_albedo_metric(case: Case) -> None:
    metric = AlbedoTask().new_metric()
    for prediction, truth, mask in batches(case, "albedo"):
        metric.update(prediction, sample(case, {ALBEDO: truth}, mask))
    ours, published = metric.compute(), case.description["metrics"]["albedo"]
    assert set(ours) == set(published)
    for name, value in published.items():
        assert ours[name] == pytest.approx(value, rel=1e-5), name


@each_metric
def test_segmentation_metric(case: Case) -> None:
    metric = SegmentationTask(SAPIENS_29).new_metric()
    for batch in ("b0", "b1"):
        labels = case.tensor(f"input.seg.{batch}.labels")
        metric.update_ids(resize_maps(case.tensor(f"input.seg.{batch}.logits"), labels.shape[1:]).argmax(dim=1), labels)
    published, of_classes = case.description["metrics"], metric.totals[:, : len(SAPIENS_29)]
    ratios = {name: 100 * values for name, values in class_ratios(of_classes).items()}
    # Published is the mean over all classes, with 0 for those that do not occur; ours is over those that do.
    zeros = {name: float(values.nan_to_num().mean()) for name, values in ratios.items()}
    figures = {"mIoU": zeros["IoU"], "mAcc": zeros["Acc"], "aAcc": 100 * metric.compute()["aAcc"]}
    assert figures == pytest.approx(published["seg"], abs=0.0051)
    report = metric.report()
    assert {name: 100 * report[f"{name}_all"] for name in ("mIoU", "mAcc")} == pytest.approx(
        {name: figures[name] for name in ("mIoU", "mAcc")}
    )
    known = {"mIoU": float(ratios["IoU"].nanmean()), "mAcc": float(ratios["Acc"].nanmean()), "aAcc": figures["aAcc"]}
    assert known == pytest.approx(published["seg_nan_none"], abs=0.0051)
    dice = {"mDice": zeros["Dice"], "mFscore": zeros["Dice"], "mPrecision": zeros["Precision"], "mRecall": zeros["Acc"]}
    assert {name: published["seg_dice_fscore"][name] for name in dice} == pytest.approx(dice, abs=0.0051)


@each_metric
def test_suppression_of_boxes(case: Case) -> None:
    found = case.array("input.nms.dets")
    whole = found[:, :4] + np.array([0, 0, 1, 1])  # published areas count the last pixel in, ours end at its center
    kept = non_maximum_suppression(whole, found[:, 4], NMS_THRESHOLD)
    np.testing.assert_array_equal(kept, case.array("output.nms.keep"))


@each_metric
def test_similarity_of_poses(case: Case) -> None:
    truth, found = (case.array(f"input.oks.{name}").reshape(-1, 17, 3) for name in ("g", "d"))
    sigmas = torch.tensor([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
    # The published area is the mean of both people's, the points all 17.
    areas = torch.from_numpy((case.description["metrics"]["oks"]["a_g"] + case.array("input.oks.area_d")) / 2)
    ours = oks(
        torch.from_numpy(found[..., :2]),
        torch.from_numpy(truth[..., :2]).expand(len(found), -1, -1),
        torch.ones(len(found), 17),
        areas,
        sigmas,
    )
    case.assert_close("output.oks", ours.float())
