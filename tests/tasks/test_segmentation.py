"""The body-part task."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from opensapiens.data.label_kinds import PARTS
from opensapiens.data.sample import Sample
from opensapiens.geometry.view import crop_view
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.tasks.segmentation import SegmentationTask, dice_loss, weighted_cross_entropy

IMAGE = np.zeros((8, 6, 3), np.uint8)


def test_targets_stay_bytes_and_what_is_unlabeled_is_ignored() -> None:
    parts = np.arange(48, dtype=np.uint8).reshape(8, 6)
    targets = SegmentationTask(SAPIENS_28).prepare_targets([Sample(IMAGE, labels={PARTS: parts}), Sample(IMAGE)])
    assert targets["labels"].dtype == torch.uint8
    np.testing.assert_array_equal(targets["labels"][0].numpy(), parts)
    assert (targets["labels"][1] == 255).all()
    assert targets["labeled"].tolist() == [True, False]


def test_a_label_stride_keeps_every_nth_pixel() -> None:
    parts = np.arange(48, dtype=np.uint8).reshape(8, 6)
    labels = SegmentationTask(SAPIENS_28).prepare_targets([Sample(IMAGE, labels={PARTS: parts})], label_stride=2)[
        "labels"
    ]
    assert labels.tolist() == [[[7, 9, 11], [19, 21, 23], [31, 33, 35], [43, 45, 47]]]


def test_parts_of_another_set_are_an_error() -> None:
    task, parts = SegmentationTask(SAPIENS_28), IMAGE[..., 0]
    sample = Sample(IMAGE, labels={PARTS: parts}, part_set=replace(SAPIENS_28, name="lip_20"))
    with pytest.raises(ValueError, match="lip_20"):
        task.prepare_targets([sample])
    with pytest.raises(ValueError, match="lip_20"):
        task.new_metric().update(parts, sample)


def test_ignored_pixels_count_in_the_mean_and_class_weights_do_not() -> None:
    logits = torch.zeros(1, 2, 1, 4)
    labels = torch.tensor([[[0, 1, 255, 255]]], dtype=torch.uint8)
    loss = weighted_cross_entropy(logits, labels, torch.tensor([1.0, 3.0]))
    assert loss.tolist() == pytest.approx([(1 + 3) * np.log(2) / 4])


def test_class_weights_are_the_part_sets() -> None:
    task = SegmentationTask(SAPIENS_28)
    for part in (0, 1):
        sample = Sample(IMAGE, labels={PARTS: np.full(IMAGE.shape[:2], part, np.uint8)})
        loss = task.losses(torch.zeros(1, 28, 8, 6), task.prepare_targets([sample]))["cross_entropy"]
        assert loss.item() == pytest.approx(SAPIENS_28.loss_weights[part] * np.log(28), rel=1e-5)


def test_logits_are_raised_bilinearly_before_loss_and_argmax() -> None:
    task = SegmentationTask(SAPIENS_28)
    logits = torch.zeros(1, 28, 1, 2)
    logits[0, 3, 0], logits[0, 5, 0] = torch.tensor([4.0, 0.0]), torch.tensor([0.0, 2.0])
    # Half-pixel centers: at 8 columns class 3 falls from 4 to 0 and class 5 rises to 2, so they cross past the middle.
    assert task.decode(logits[0], crop_view((1, 8))).tolist() == [[3, 3, 3, 3, 3, 5, 5, 5]]
    assert task.decode(logits[0], crop_view((1, 2))).tolist() == [[3, 5]]
    parts = np.array([[3, 3, 3, 3, 3, 5, 5, 5]], np.uint8)
    sample = Sample(np.zeros((1, 8, 3), np.uint8), labels={PARTS: parts})
    raised = torch.nn.functional.interpolate(logits, size=(1, 8), mode="bilinear", align_corners=False)
    targets = task.prepare_targets([sample])
    expected = weighted_cross_entropy(raised, targets["labels"], torch.tensor(SAPIENS_28.loss_weights)).mean()
    torch.testing.assert_close(task.losses(logits, targets)["cross_entropy"], expected)


def test_the_metric_counts_over_images_and_needs_the_labels_size() -> None:
    task = SegmentationTask(SAPIENS_28)
    parts = np.zeros((8, 6), np.uint8)
    parts[:4] = 1
    metric, ones = task.new_metric(), np.ones((8, 6), np.uint8)
    expected = {"mIoU": 0.25, "mAcc": 0.5, "aAcc": 0.5, "mask_IoU": 0.5}
    assert metric.update(ones, Sample(IMAGE, labels={PARTS: parts})) == expected
    # The unlabeled sample's prediction counts nowhere.
    assert all(map(np.isnan, metric.update(ones, Sample(IMAGE)).values()))
    assert metric.compute() == expected
    report = metric.report()
    assert [report[f"IoU_{name}"] for name in SAPIENS_28.names[:2]] == [0, 0.5]
    assert (report["background_mIoU"], report["background_aAcc"]) == (0.25, 0.5)
    metric.update(1 - np.minimum(parts, 1), Sample(IMAGE, labels={PARTS: parts}))  # all wrong
    assert metric.compute()["aAcc"] == 0.25 and metric.compute()["mask_IoU"] == pytest.approx(24 / 96)
    with pytest.raises(ValueError, match="labels"):
        metric.update(np.ones((4, 3), np.uint8), Sample(IMAGE, labels={PARTS: parts}))


def test_dice_is_a_mean_over_the_classes_present_but_background() -> None:
    labels = torch.tensor([[[0, 1, 2, 255]], [[0, 0, 255, 0]]], dtype=torch.uint8)
    logits = torch.zeros(2, 4, 1, 4)
    logits[0, 1, 0, 1] = 50.0  # certain and right; class 2 and the rest are a quarter each
    # Class 1: 2 * 1 over 1 + 2 / 16 (the two other known pixels) + 1; class 2: 2 / 4 over 2 / 16 + 1.
    expected = 1 - (2 / 2.125 + 0.5 / 1.125) / 2
    assert dice_loss(logits, labels).tolist() == pytest.approx([expected, 0], abs=2e-3)  # 1e-3 stands in both sums


def test_dice_counts_beside_the_cross_entropy_when_it_has_a_weight() -> None:
    sample = Sample(IMAGE, labels={PARTS: np.full(IMAGE.shape[:2], 3, np.uint8)})
    task, maps = SegmentationTask(SAPIENS_28, dice_weight=2.0), torch.zeros(1, 28, 8, 6)
    targets = task.prepare_targets([sample])
    assert task.losses(maps, targets)["dice"].item() == pytest.approx(2 * dice_loss(maps, targets["labels"]).item())
    assert set(SegmentationTask(SAPIENS_28).losses(maps, targets)) == {"cross_entropy"}
