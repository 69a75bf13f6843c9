"""The body-part task."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from opensapiens.data.sample import Sample
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.tasks.segmentation.loss import dice_loss, weighted_cross_entropy
from opensapiens.tasks.segmentation.task import SegmentationTask

IMAGE = np.zeros((8, 6, 3), np.uint8)


def test_targets_stay_bytes_and_what_is_unlabelled_is_ignored() -> None:
    parts = np.arange(48, dtype=np.uint8).reshape(8, 6)
    targets = SegmentationTask(SAPIENS_28).prepare_targets([Sample(IMAGE, parts=parts), Sample(IMAGE)])
    assert targets["labels"].dtype == torch.uint8
    np.testing.assert_array_equal(targets["labels"][0].numpy(), parts)
    assert (targets["labels"][1] == 255).all()
    assert targets["labelled"].tolist() == [True, False]


def test_a_label_stride_keeps_every_nth_pixel() -> None:
    parts = np.arange(48, dtype=np.uint8).reshape(8, 6)
    labels = SegmentationTask(SAPIENS_28, label_stride=2).prepare_targets([Sample(IMAGE, parts=parts)])["labels"]
    assert labels.tolist() == [[[7, 9, 11], [19, 21, 23], [31, 33, 35], [43, 45, 47]]]


def test_parts_of_another_set_are_an_error() -> None:
    with pytest.raises(ValueError, match="lip_20"):
        SegmentationTask(SAPIENS_28).prepare_targets(
            [Sample(IMAGE, parts=IMAGE[..., 0], part_set=replace(SAPIENS_28, name="lip_20"))]
        )


def test_ignored_pixels_count_in_the_mean_and_class_weights_do_not() -> None:
    logits = torch.zeros(1, 2, 1, 4)
    labels = torch.tensor([[[0, 1, 255, 255]]], dtype=torch.uint8)
    loss = weighted_cross_entropy(logits, labels, torch.tensor([1.0, 3.0]))
    assert loss.tolist() == pytest.approx([(1 + 3) * np.log(2) / 4])


def test_class_weights_are_the_part_sets() -> None:
    task = SegmentationTask(SAPIENS_28)
    for part in (0, 1):
        sample = Sample(IMAGE, parts=np.full(IMAGE.shape[:2], part, np.uint8))
        loss = task.losses(torch.zeros(1, 28, 8, 6), task.prepare_targets([sample]))["cross_entropy"]
        assert loss.item() == pytest.approx(SAPIENS_28.loss_weights[part] * np.log(28), rel=1e-5)


def test_logits_are_raised_bilinearly_before_loss_and_argmax() -> None:
    task = SegmentationTask(SAPIENS_28)
    logits = torch.zeros(1, 28, 1, 2)
    logits[0, 3, 0], logits[0, 5, 0] = torch.tensor([4.0, 0.0]), torch.tensor([0.0, 2.0])
    # Half-pixel centres: at 8 columns class 3 falls from 4 to 0 and class 5 rises to 2, so they cross past the middle.
    assert task.decode(logits, (1, 8)).tolist() == [[[3, 3, 3, 3, 3, 5, 5, 5]]]
    assert task.decode(logits).tolist() == [[[3, 5]]]
    sample = Sample(np.zeros((1, 8, 3), np.uint8), parts=np.array([[3, 3, 3, 3, 3, 5, 5, 5]], np.uint8))
    raised = torch.nn.functional.interpolate(logits, size=(1, 8), mode="bilinear", align_corners=False)
    targets = task.prepare_targets([sample])
    expected = weighted_cross_entropy(raised, targets["labels"], task.class_weights).mean()
    torch.testing.assert_close(task.losses(logits, targets)["cross_entropy"], expected)


def test_the_metric_counts_over_images_and_needs_the_labels_size() -> None:
    task = SegmentationTask(SAPIENS_28)
    parts = np.zeros((8, 6), np.uint8)
    parts[:4] = 1
    targets = task.prepare_targets([Sample(IMAGE, parts=parts), Sample(IMAGE)])
    metric = task.new_metric()
    metric.update(torch.ones(2, 8, 6, dtype=torch.uint8), targets)  # the unlabelled sample's prediction counts nowhere
    assert metric.per_class()["IoU"][:2].tolist() == [0, 0.5]
    assert metric.compute() == {"mIoU": 0.25, "mAcc": 0.5, "aAcc": 0.5}
    with pytest.raises(ValueError, match="labels"):
        metric.update(torch.ones(2, 4, 3, dtype=torch.uint8), targets)


def test_dice_is_a_mean_over_the_classes_present_but_background() -> None:
    labels = torch.tensor([[[0, 1, 2, 255]], [[0, 0, 255, 0]]], dtype=torch.uint8)
    logits = torch.zeros(2, 4, 1, 4)
    logits[0, 1, 0, 1] = 50.0  # certain and right; class 2 and the rest are a quarter each
    # Class 1: 2 * 1 over 1 + 2 / 16 (the two other known pixels) + 1; class 2: 2 / 4 over 2 / 16 + 1.
    expected = 1 - (2 / 2.125 + 0.5 / 1.125) / 2
    assert dice_loss(logits, labels).tolist() == pytest.approx([expected, 0], abs=2e-3)  # 1e-3 stands in both sums


def test_dice_counts_beside_the_cross_entropy_when_it_has_a_weight() -> None:
    sample = Sample(IMAGE, parts=np.full(IMAGE.shape[:2], 3, np.uint8))
    task, maps = SegmentationTask(SAPIENS_28, dice_weight=2.0), torch.zeros(1, 28, 8, 6)
    targets = task.prepare_targets([sample])
    assert task.losses(maps, targets)["dice"].item() == pytest.approx(2 * dice_loss(maps, targets["labels"]).item())
    assert set(SegmentationTask(SAPIENS_28).losses(maps, targets)) == {"cross_entropy"}
