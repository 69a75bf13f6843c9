"""Where the people of a picture are: one box and one score for each place of a coarse map.

The map has five channels: the logit of a score, and the logarithms of the distances from the place to the left, top,
right and bottom of its box, in units of 32 pixels of the network's input. Training is anchor-free: which places stand
for a person is decided by how well they already do (TOOD, Feng et al., arXiv 2108.07755).

Axes in names: B pictures, G people, P places, C channels, h w rows and columns of the map, N boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.geometry.boxes import box_iou, image_box, non_maximum_suppression
from opensapiens.geometry.view import View
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.task import Targets

UNIT = 32.0  # pixels of the input: a distance whose logarithm is 0
FARTHEST = 5.0  # logarithm of the largest distance, 4,700 pixels
PLACES = 9  # for each person, at most
SCORE_POWER, OVERLAP_POWER = 0.5, 4.0  # of score and overlap in how well a place does
BOX_WEIGHT = 8.0  # the cross-entropy of all places of a person is about ten times the overlap that is missing
ALIKE = 0.6  # overlap from which boxes are averaged
LEAST_SCORE = 0.02  # of the boxes that `decode` gives
MOST_BOXES = 300

BARS = np.linspace(0.5, 0.95, 10)
"""Overlaps from which a box is right, as in COCO."""
BINS = 1000  # of scores, for the average precision
HEIGHTS = (0.0, 0.15, 0.35, 0.7)
"""Lower ends of the ranges of heights, in heights of the picture, that recall is given for."""


@dataclass(frozen=True)
class DetectionTask:
    """Boxes of the visible part of people.

    threshold: the least score of a box that counts as found. nms: intersection over union above which the lower-scored
    of two boxes is dropped.
    """

    name: ClassVar[str] = "detection"
    title: ClassVar[str] = "people"
    published: ClassVar[HeadShape] = HeadShape((), (), 0.0)
    patch_padding: ClassVar[int] = 0
    labels: ClassVar[None] = None
    channels: ClassVar[int] = 5
    flip_rule: ClassVar[FlipRule] = FlipRule(permutation=(0, 3, 2, 1, 4))

    threshold: float = 0.4
    nms: float = 0.55

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str = "upsampling") -> Self:
        """The task of a head with five channels. Raises ValueError for another."""
        if labels is not None or channels != cls.channels:
            raise ValueError(f"a detection head has {cls.channels} output channels and no labels, not {channels}")
        return cls()

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """people (B, G, 5) float32: as in `Sample.people`, with -1 after the last; size (2,) height and width."""
        known = [sample.people for sample in samples if sample.people is not None]
        people = np.full((len(samples), max([1, *map(len, known)]), 5), -1, np.float32)
        for row, sample in zip(people, samples, strict=True):
            if sample.people is not None:
                row[: len(sample.people)] = sample.people
        labeled = torch.tensor([sample.people is not None for sample in samples])
        size = torch.tensor(samples[0].image.shape[:2])
        return {"people": torch.from_numpy(people), "size": size, "labeled": labeled}

    def count(self, targets: Targets) -> Tensor:
        """The number of people."""
        return (targets["people"][..., 4] == 1).sum().float()

    def losses(self, maps_B5hw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """score: cross-entropy with how well each place does; box: generalized IoU (Rezatofighi et al., 2019)."""
        maps_B5hw = maps_B5hw.float()
        count = (self.count(targets) if count is None else count).clamp(min=1)
        stride = float(targets["size"][0]) / maps_B5hw.shape[2]
        logits_BP = maps_B5hw[:, 0].flatten(1)
        boxes_BP4 = boxes_of_places(maps_B5hw, stride)
        people_BG5 = targets["people"]
        with torch.no_grad():
            wanted_BP, owner_BP, counted_BP = assign(logits_BP, boxes_BP4, people_BG5, maps_B5hw.shape[-2:], stride)
            counted_BP = counted_BP & targets["labeled"][:, None]
        score_BP = F.binary_cross_entropy_with_logits(logits_BP, wanted_BP, reduction="none")
        right_BP4 = people_BG5[..., :4].gather(1, owner_BP[..., None].expand(-1, -1, 4))
        apart_BP = 1 - generalized_iou(boxes_BP4, right_BP4)
        return {
            "score": (score_BP * counted_BP).sum() / count,
            "box": BOX_WEIGHT * (apart_BP * wanted_BP).sum() / count,
        }

    def decode(self, maps_5hw: Tensor, view: View) -> np.ndarray:
        """Maps -> (N, 5) float32: xyxy in pixels of the image and score, best first, without doubles."""
        stride = view.input_size[0] / maps_5hw.shape[1]
        scores = torch.sigmoid(maps_5hw[0].float()).flatten()
        best = scores.topk(min(MOST_BOXES, len(scores)))
        boxes = boxes_of_places(maps_5hw[None].float(), stride)[0][best.indices].cpu().numpy()
        found = np.column_stack([boxes, best.values.cpu().numpy()])[best.values.cpu().numpy() >= LEAST_SCORE]
        # Corners lie on pixel edges; the view's matrix maps pixel centers.
        scale, offset = view.matrix[[0, 1], [0, 1]].astype(np.float64), view.matrix[:, 2].astype(np.float64)
        corners = (found[:, :4].reshape(-1, 2, 2) - 0.5 - offset) / scale + 0.5
        height, width = view.image_size
        found[:, :4] = corners.clip(0, [width, height]).reshape(-1, 4)
        found = found[((found[:, 2:4] - found[:, :2]) > 1).all(axis=1)]
        kept = self.distinct(found)
        # Each becomes the mean of all that are much like it, by score and overlap (Gidaris and Komodakis, ICCV 2015).
        overlaps = box_iou(kept[:, :4], found[:, :4])
        weights = np.where(overlaps >= ALIKE, overlaps * found[:, 4], 0)
        corners = weights @ found[:, :4] / weights.sum(axis=1, keepdims=True)
        return np.column_stack([corners, kept[:, 4]]).astype(np.float32)

    def distinct(self, found: np.ndarray) -> np.ndarray:
        """Of boxes (N, 5) that overlap by more than `nms` the best, best first."""
        return found[non_maximum_suppression(found[:, :4], found[:, 4], self.nms)]

    def new_metric(self) -> "DetectionMetric":
        """Average precision, recall and precision."""
        return DetectionMetric(self.threshold)


def boxes_of_places(maps_B5hw: Tensor, stride: float) -> Tensor:
    """The boxes (B, P, 4) xyxy in pixels of the input that the maps give."""
    centers_P2 = centers_of_places(maps_B5hw.shape[-2:], stride, maps_B5hw.device)
    distances_BP4 = UNIT * maps_B5hw[:, 1:].flatten(2).transpose(1, 2).clamp(-FARTHEST, FARTHEST).exp()
    return torch.cat([centers_P2 - distances_BP4[..., :2], centers_P2 + distances_BP4[..., 2:]], dim=-1)


def centers_of_places(grid_hw: Sequence[int], stride: float, device: torch.device) -> Tensor:
    """The middles (P, 2) of the places of a map, x and y in pixels of the input."""
    rows, columns = (torch.arange(side, device=device).float().add(0.5).mul(stride) for side in grid_hw)
    return torch.stack([columns.repeat(grid_hw[0]), rows.repeat_interleave(grid_hw[1])], dim=1)


def assign(
    logits_BP: Tensor, boxes_BP4: Tensor, people_BG5: Tensor, grid_hw: Sequence[int], stride: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What each place should answer.

    The places of a person are the PLACES ones inside the box that do best by score and overlap; the score wanted of the
    best is its overlap, that of the others less in proportion. A place of several people is that of the one it overlaps
    most.

    Returns:
        the score wanted (B, P), the person meant (B, P), and which places count (B, P): not those inside somebody who
        may be missed.
    """
    real_BG = people_BG5[..., 4] == 1
    overlap_BGP = iou(people_BG5[:, :, None, :4], boxes_BP4[:, None])
    x_P, y_P = centers_of_places(grid_hw, stride, logits_BP.device).unbind(dim=1)
    x1, y1, x2, y2 = (edge[..., None] for edge in people_BG5[..., :4].unbind(dim=-1))
    spare_x, spare_y = ((stride * 1.5 - side).clamp(min=0) / 2 for side in (x2 - x1, y2 - y1))
    inside_BGP = (x_P > x1 - spare_x) & (x_P < x2 + spare_x) & (y_P > y1 - spare_y) & (y_P < y2 + spare_y)
    fit_BGP = logits_BP.sigmoid()[:, None] ** SCORE_POWER * overlap_BGP**OVERLAP_POWER
    fit_BGP = (fit_BGP + 1e-9) * (inside_BGP & real_BG[..., None])
    best = fit_BGP.topk(min(PLACES, fit_BGP.shape[-1]), dim=-1)
    chosen_BGP = torch.zeros_like(fit_BGP).scatter_(-1, best.indices, 1.0).bool() & (fit_BGP > 0)
    chosen_BGP &= overlap_BGP == (overlap_BGP.masked_fill(~chosen_BGP, -1)).amax(dim=1, keepdim=True)
    fit_BGP = fit_BGP * chosen_BGP
    highest_BG = (overlap_BGP * chosen_BGP).amax(dim=-1, keepdim=True)
    wanted_BGP = fit_BGP / fit_BGP.amax(dim=-1, keepdim=True).clamp(min=1e-9) * highest_BG
    wanted_BP, owner_BP = wanted_BGP.max(dim=1)
    missable_BG = (people_BG5[..., 4] == 0)[..., None]
    counted_BP = ~(inside_BGP & missable_BG).any(dim=1) | chosen_BGP.any(dim=1)
    return wanted_BP, owner_BP, counted_BP


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), elementwise."""
    return _areas(a, b)[0]


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union less the share of the smallest box around both that neither covers, from -1 to 1."""
    overlap, union = _areas(a, b)
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(dim=-1)
    return overlap - (around - union) / around.clamp(min=1e-6)


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(dim=-1)
    union = sum((box[..., 2:] - box[..., :2]).clamp(min=0).prod(dim=-1) for box in (a, b)) - common
    return common / union.clamp(min=1e-6), union


class DetectionMetric:
    """COCO's average precision, and recall and precision at a threshold, by the height of people.

    A box takes the free person that it overlaps most. A box that takes nobody, and of which the bar's share lies inside
    somebody who may be missed, does not count. Scores are sorted into 1,000 bins.
    """

    region = "boxes of visible people"

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._curves = np.zeros((len(BARS) + 1, BINS, 2))  # wrong and right boxes; the last: whole pictures
        self._people = np.zeros((len(HEIGHTS), 2))  # missed and found
        self._counts = np.zeros(4)  # wrong, right, pictures without people, wrong in those

    @property
    def totals(self) -> Tensor:
        """All counts, additive over samples."""
        return torch.from_numpy(np.concatenate([part.ravel() for part in self._parts()]))

    @totals.setter
    def totals(self, totals: Tensor) -> None:
        first = 0
        for part in self._parts():
            part[:] = totals[first : first + part.size].numpy().reshape(part.shape)
            first += part.size

    def _parts(self) -> tuple[np.ndarray, ...]:
        return self._curves, self._people, self._counts

    def update(self, prediction: np.ndarray, truth: Sample) -> dict[str, float]:
        """Add the boxes of one picture; see `Metric`. Figures: found, people, wrong."""
        if truth.people is None:
            return dict.fromkeys(("found", "people", "wrong"), float("nan"))
        people = truth.people[truth.people[:, 4] == 1, :4]
        missable = truth.people[truth.people[:, 4] == 0, :4]
        bins = np.minimum((prediction[:, 4] * BINS).astype(int), BINS - 1)
        for number, bar in enumerate(BARS):
            verdicts, _ = match(prediction, people, missable, bar)
            counted = verdicts >= 0
            np.add.at(self._curves[number], (bins[counted], verdicts[counted]), 1)
        trivial, _ = match(np.append(image_box(truth.image.shape[:2]), 1.0)[None], people, missable, BARS[0])
        if trivial[0] >= 0:
            self._curves[-1, BINS - 1, trivial[0]] += 1
        verdicts, found = match(prediction[prediction[:, 4] >= self.threshold], people, missable, BARS[0])
        wrong, right = int((verdicts == 0).sum()), int((verdicts == 1).sum())
        heights = (people[:, 3] - people[:, 1]) / truth.image.shape[0]
        ranges = np.searchsorted(HEIGHTS, heights, side="right") - 1
        np.add.at(self._people, (ranges, found.astype(int)), 1)
        self._counts += [wrong, right, len(truth.people) == 0, wrong * (len(truth.people) == 0)]
        return {"found": float(right), "people": float(len(people)), "wrong": float(wrong)}

    def compute(self) -> dict[str, float]:
        """AP50, AP (mean over overlaps of .5 to .95), recall, precision."""
        precisions = [average_precision(curve, self._people.sum()) for curve in self._curves[:-1]]
        wrong, right = self._counts[:2]
        return {
            "AP50": precisions[0],
            "AP": float(np.mean(precisions)),
            "recall": _ratio(self._people[:, 1].sum(), self._people.sum()),
            "precision": _ratio(right, wrong + right),
        }

    def report(self) -> dict[str, float]:
        """The same, recall by height, wrong boxes for each picture without people, and the whole picture as a box."""
        ends = [*HEIGHTS[1:], None]
        recalls = {}
        for lower, upper, (missed, found) in zip(HEIGHTS, ends, self._people, strict=True):
            name = f"recall_{lower:.0%}" + (f"_to_{upper:.0%}" if upper else "_and_more")
            recalls[name.replace("%", "")] = _ratio(found, missed + found)
        return {
            **self.compute(),
            **recalls,
            "people": float(self._people.sum()),
            "wrong_boxes": float(self._counts[0]),
            "pictures_without_people": float(self._counts[2]),
            "wrong_boxes_per_picture_without_people": _ratio(self._counts[3], self._counts[2]),
            "whole_picture_AP50": average_precision(self._curves[-1], self._people.sum()),
        }


def match(boxes: np.ndarray, people: np.ndarray, missable: np.ndarray, bar: float) -> tuple[np.ndarray, np.ndarray]:
    """COCO's matching of boxes (N, 5) with scores, best first, to people (M, 4).

    Returns (N,) 1 right, 0 wrong, -1 does not count; and (M,) bool: who was found. missable: see DetectionMetric.
    """
    verdicts, found = np.zeros(len(boxes), int), np.zeros(len(people), bool)
    overlaps = box_iou(boxes[:, :4], people)
    within = inside_share(boxes[:, :4], missable)
    for number in range(len(boxes)):
        free = np.where(found, -1.0, overlaps[number])
        if len(people) and free.max() >= bar:
            verdicts[number] = 1
            found[free.argmax()] = True
        elif (within[number] >= bar).any():
            verdicts[number] = -1
    return verdicts, found


def inside_share(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(N, M): the share of each box (N, 4) that lies inside each region (M, 4)."""
    start = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    end = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 1e-6, None).prod(axis=-1)
    return np.clip(end - start, 0, None).prod(axis=-1) / areas[:, None]


def average_precision(curve: np.ndarray, people: float) -> float:
    """COCO's 101-point average from (bins, 2) counts of wrong and right boxes by rising score; NaN without people."""
    if people == 0:
        return float("nan")
    wrong, right = np.cumsum(curve[::-1], axis=0).T
    precision = np.maximum.accumulate((right / np.maximum(wrong + right, 1))[::-1])[::-1]
    at = np.searchsorted(right / people, np.linspace(0, 1, 101), side="left")
    return float(np.mean([precision[i] if i < len(precision) else 0.0 for i in at]))


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")
