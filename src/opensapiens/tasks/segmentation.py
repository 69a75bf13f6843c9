"""Body parts: a class for every pixel of a person.

Targets are class ids, kept at one byte a pixel until the loss; the loss is the published cross-entropy with class
weights, and on request the Dice loss of Sapiens2; the metric is intersection over union.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from opensapiens.data.label_kinds import PARTS, LabelKind
from opensapiens.data.sample import Sample
from opensapiens.drawing.dense import draw_parts
from opensapiens.drawing.sheet import legend
from opensapiens.geometry.view import View, resize_maps
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import IGNORED, PartSet
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.saving import save_picture
from opensapiens.tasks.task import Targets, Writer, mean_over

DICE_EPSILON = 1e-3


@dataclass(frozen=True)
class SegmentationTask:
    """Body parts; logits are resized bilinearly to the labels' size, for the loss and before the argmax, as published.

    Args:
        part_set: the classes, with their loss weights.
        dice_weight: weight of `dice_loss`; 0 as published.
    """

    name: ClassVar[str] = "segmentation"
    title: ClassVar[str] = "body parts"
    kind: ClassVar[LabelKind] = PARTS
    published: ClassVar[HeadShape] = HeadShape((768, 768, 768), (768, 768, 768), 0.1)
    patch_padding: ClassVar[int] = 0
    everywhere: ClassVar[bool] = True

    part_set: PartSet
    dice_weight: float = 0.0

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str = "upsampling") -> Self:
        """The task of a head with a part set. Raises ValueError for one without."""
        if not isinstance(labels, PartSet):
            raise ValueError("a segmentation head needs a part set as its labels")
        return cls(labels)

    @property
    def labels(self) -> PartSet:
        """The classes."""
        return self.part_set

    @property
    def channels(self) -> int:
        """One for each class."""
        return len(self.part_set)

    @cached_property
    def flip_rule(self) -> FlipRule:
        """Left and right classes change places."""
        return FlipRule(permutation=self.part_set.flip_indices.tolist())

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """labels (B, H, W) uint8 with 255 = ignore, labeled (B,) bool.

        Raises:
            ValueError: parts of another set.
        """
        picked = slice(label_stride // 2, None, label_stride)
        maps = [self._labels(sample)[picked, picked] for sample in samples]
        labeled = torch.tensor([sample.parts is not None for sample in samples])
        return {"labels": torch.from_numpy(np.stack(maps)), "labeled": labeled}

    def _labels(self, sample: Sample) -> np.ndarray:
        if sample.parts is None:
            return np.full(sample.image.shape[:2], IGNORED, np.uint8)
        if sample.part_set.name != self.part_set.name:
            raise ValueError(
                f"{sample.key}: labeled with {sample.part_set.name}, the segmentation task has {self.part_set.name}"
            )
        return sample.parts

    def count(self, targets: Targets) -> Tensor:
        """The number of samples with a part map."""
        return targets["labeled"].sum().float()

    def losses(self, maps_BPhw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """cross_entropy, and dice when it has a weight."""
        labels = targets["labels"]
        logits = resize_maps(maps_BPhw, labels.shape[-2:])
        class_weights = torch.tensor(self.part_set.loss_weights, device=logits.device)
        count = self.count(targets) if count is None else count
        terms = {"cross_entropy": mean_over(count, weighted_cross_entropy(logits, labels, class_weights))}
        if self.dice_weight:
            terms["dice"] = self.dice_weight * mean_over(count, dice_loss(logits, labels))
        return terms

    def decode(self, maps_Phw: Tensor, view: View) -> np.ndarray:
        """Logits -> class ids (H, W) uint8 over the view's window, 0 outside the view."""
        return view.classes(maps_Phw)

    def new_metric(self) -> "SegmentationMetric":
        """Intersection over union."""
        return SegmentationMetric(self)

    def blank(self, size_hw: tuple[int, int]) -> "PartMap":
        """Background everywhere."""
        return PartMap(np.zeros(size_hw, np.uint8), self.part_set)


@dataclass(eq=False)
class PartMap:
    """labels: H×W uint8 class ids of part_set, 0 = background. Where people overlap the larger box lies on top."""

    labels: np.ndarray
    part_set: PartSet

    @property
    def values(self) -> np.ndarray:
        """The labels."""
        return self.labels

    def present(self) -> list[str]:
        """Names of the parts that occur in the image."""
        return [self.part_set.names[label] for label in np.unique(self.labels) if label > 0]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Part colors blended over the image."""
        return draw_parts(image, self.labels, self.part_set)

    def legend(self) -> np.ndarray | None:
        """Swatches of the parts that occur; None where there are none."""
        present = np.bincount(self.labels.ravel(), minlength=256).nonzero()[0].tolist()
        return legend(self.part_set, present) if self.labels.any() else None

    def files(self) -> dict[str, Writer]:
        """parts.png: indexed, pixel = class id, palette = the part colors."""
        return {"parts.png": lambda path: save_parts(path, self.labels, self.part_set)}

    def frame_files(self) -> dict[str, Writer]:
        """As `files`."""
        return self.files()

    def arrays(self) -> dict[str, np.ndarray]:
        """parts: uint8."""
        return {"parts": self.labels}


def save_parts(path: Path, labels: np.ndarray, part_set: PartSet) -> None:
    """Indexed PNG: pixel = class id (H×W uint8), palette = the colors of the set."""
    picture = Image.fromarray(labels)  # mode L; the palette makes it an indexed PNG with the same values
    picture.putpalette(part_set.colors.astype(np.uint8).tobytes())
    save_picture(path, picture)


def weighted_cross_entropy(logits_BPHW: Tensor, labels_BHW: Tensor, class_weights_P: Tensor | None = None) -> Tensor:
    """(B,) mean over all pixels of weight[label] * cross-entropy; its mean is the published loss.

    Ignored pixels (255) are 0 and count in the mean, which is not divided by the class weights: both as published.
    """
    per_pixel = functional.cross_entropy(
        logits_BPHW, labels_BHW.long(), weight=class_weights_P, ignore_index=IGNORED, reduction="none"
    )
    return per_pixel.flatten(1).mean(dim=1)


def dice_loss(logits_BPHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """(B,) 1 - the mean over a sample's classes of (2 sum pg + e) / (sum pp + sum gg + e), with p the probability of a
    class and g 1 where it is. The background is left out, a sample of it alone is 0; ignored pixels (255) are in
    neither.

    Of Sapiens2; a class of few pixels weighs as much as one of many.
    """
    labels, classes = labels_BHW.long().flatten(1), logits_BPHW.shape[1]
    known = labels != IGNORED
    probabilities = logits_BPHW.flatten(2).softmax(dim=1) * known[:, None]
    index = torch.where(known, labels, 0)[:, None]
    of_label_BN = probabilities.gather(1, index)[:, 0]

    def summed(values_BN: Tensor) -> Tensor:
        return values_BN.new_zeros(len(values_BN), classes).scatter_add(1, index[:, 0], values_BN)

    pixels_BP = summed(known.to(probabilities.dtype))
    dice_BP = (2 * summed(of_label_BN) + DICE_EPSILON) / (probabilities.square().sum(dim=2) + pixels_BP + DICE_EPSILON)
    present = (pixels_BP > 0) & (torch.arange(classes, device=labels.device) > 0)
    return torch.where(present, 1 - dice_BP, 0).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def histograms(prediction: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(3, classes) float64: pixels in the intersection, the prediction and the labels, without ignored ones (255)."""
    known = labels != IGNORED
    predicted, truth = prediction[known].long(), labels[known].long()
    counts = [torch.bincount(ids, minlength=classes) for ids in (predicted[predicted == truth], predicted, truth)]
    return torch.stack(counts).double()


def class_ratios(histograms_3P: Tensor) -> dict[str, Tensor]:
    """Per class (P,), in 0-1: IoU, Acc (= recall), Dice (= F1), Precision. NaN where the denominator is 0."""
    both, predicted, truth = histograms_3P
    return {
        "IoU": both / (predicted + truth - both),
        "Acc": both / truth,
        "Dice": 2 * both / (predicted + truth),
        "Precision": both / predicted,
    }


class SegmentationMetric:
    """mIoU and mAcc, means over the classes that occur; aAcc, the share of pixels that are right; mask_IoU, of person
    against background; all in 0-1."""

    region = "padded person box"

    def __init__(self, task: SegmentationTask) -> None:
        self.task = task
        self.totals = torch.zeros(3, len(task.part_set) + 2, dtype=torch.float64)  # histograms; those of anybody

    def update(self, prediction_HW: np.ndarray, truth: Sample) -> dict[str, float]:
        """Add class ids (H, W) of the size of the labels."""
        return self.update_ids(torch.from_numpy(prediction_HW), torch.from_numpy(self.task._labels(truth).copy()))

    def update_ids(self, predicted: Tensor, labels: Tensor) -> dict[str, float]:
        """The same of tensors of class ids of one shape."""
        if predicted.shape != labels.shape:
            raise ValueError(f"prediction {tuple(predicted.shape)}, labels {tuple(labels.shape)}")
        anybody = torch.where(labels == IGNORED, labels, (labels > 0).to(labels.dtype))
        of_classes = histograms(predicted, labels, len(self.task.part_set))
        added = torch.cat([of_classes, histograms((predicted > 0).to(labels.dtype), anybody, 2)], dim=1)
        self.totals += added
        return self._figures(added)

    def compute(self) -> dict[str, float]:
        """mIoU, mAcc, aAcc, mask_IoU."""
        return self._figures(self.totals)

    def report(self) -> dict[str, float]:
        """Also the IoU of every part; "background_": the answer that everything is background; and mIoU_all and
        mAcc_all, means over all classes with 0 for those that do not occur, as the published evaluation has them."""
        truth = self.totals[2, :-2]
        share = float(truth[0] / truth.sum())
        ratios = class_ratios(self.totals[:, :-2])
        per_class = ratios["IoU"].tolist()
        return {
            **self.compute(),
            **{f"m{name}_all": float(ratios[name].nan_to_num().mean()) for name in ("IoU", "Acc")},
            "background_mIoU": share / max(1, int((truth > 0).sum())),
            "background_aAcc": share,
            **{f"IoU_{name}": value for name, value in zip(self.task.part_set.names, per_class, strict=True)},
        }

    def _figures(self, totals: Tensor) -> dict[str, float]:
        of_classes = totals[:, :-2]
        ratios = class_ratios(of_classes)
        return {
            "mIoU": float(ratios["IoU"].nanmean()),
            "mAcc": float(ratios["Acc"].nanmean()),
            "aAcc": float(of_classes[0].sum() / of_classes[2].sum()),
            "mask_IoU": float(class_ratios(totals[:, -2:])["IoU"][1]),
        }
