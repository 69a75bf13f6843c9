"""2D keypoints as heatmaps (UDP), one channel for each point.

The loader ships points, and the heatmaps are made where the loss is computed: 308 heatmaps of a sample are megabytes,
its points are kilobytes, and a Gaussian is an outer product of two vectors. The losses are the published ones and one
that finds peaks sooner; the metric is object keypoint similarity. Average precision over a data set needs detections
and scores: `evaluation.pose`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor, linalg

from opensapiens.data.sample import Sample
from opensapiens.drawing.skeleton import draw_keypoints
from opensapiens.geometry.boxes import person_area
from opensapiens.geometry.heatmaps import decode_heatmaps
from opensapiens.geometry.person_crop import crop_points_to_image
from opensapiens.geometry.view import View
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.task import Targets, mean_over

SHARPNESS = 6.0
PUBLISHED_HEIGHT = 256  # pixels of the heatmaps that the published sigma is for
CONFIDENT = 0.2  # points scoring above it count in a person's score
DUPLICATE = 0.9  # object keypoint similarity above which the lower-scored of two people is dropped


class PosePrediction(NamedTuple):
    """points (K, 2) float32 x, y in pixels of the image; scores (K,) float32, the heatmaps' maxima."""

    points: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class PoseTask:
    """Top-down keypoints by UDP heatmaps (the paper's section 4.1 and its published code).

    Args:
        keypoint_set: the points, one channel each.
        sigma: of the Gaussian, in pixels of a heatmap 256 high, as published for 6; it shrinks and grows with the map.
        least_sigma: its lower limit, in heatmap pixels.
        hardest: train only this many points of each sample, those with the largest loss; published: 128 of 308 for
            0.3b and 1b.
        location_weight: weight of `location_cross_entropy`; published: 0.
        mse_weight: weight of the squared error; 1 as published, 10 of Sapiens2.
        point_weights: (K,) how much each point weighs in the loss; published: all 1, for None.
    """

    name: ClassVar[str] = "pose"
    title: ClassVar[str] = "pose"
    published: ClassVar[HeadShape] = HeadShape((768, 768), (768, 768), 0.0, start_std=0.001)
    patch_padding: ClassVar[int] = 2

    keypoint_set: KeypointSet
    sigma: float = 6.0
    least_sigma: float = 1.0
    hardest: int | None = None
    location_weight: float = 0.0
    mse_weight: float = 1.0
    point_weights: tuple[float, ...] | None = None

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str = "upsampling") -> Self:
        """The task of a head with a keypoint set. Raises ValueError for one without."""
        if not isinstance(labels, KeypointSet):
            raise ValueError("a pose head needs a keypoint set as its labels")
        return cls(labels)

    @property
    def labels(self) -> KeypointSet:
        """The points."""
        return self.keypoint_set

    @property
    def channels(self) -> int:
        """One for each point."""
        return len(self.keypoint_set)

    @cached_property
    def flip_rule(self) -> FlipRule:
        """Left and right points change places."""
        return FlipRule(permutation=self.keypoint_set.flip_indices.tolist())

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """points (B, K, 2) in crop pixels, weights (B, K), size (B, 2) height and width of the crops, labeled (B,).

        A weight is 1 for a labeled point, hidden ones included, and 0 for one that is unlabeled. Raises ValueError
        for points of another set.
        """
        points = np.zeros((len(samples), len(self.keypoint_set), 2), np.float32)
        weights = np.zeros(points.shape[:2], np.float32)
        for i, sample in enumerate(samples):
            if sample.keypoints is not None:
                keypoints = self._keypoints(sample)
                known = (keypoints[:, 2] > 0) & np.isfinite(keypoints).all(axis=1)
                points[i] = np.where(known[:, None], keypoints[:, :2], 0)
                weights[i] = known
        return {
            "points": torch.from_numpy(points),
            "weights": torch.from_numpy(weights),
            "size": torch.tensor([sample.image.shape[:2] for sample in samples], dtype=torch.float32),
            "labeled": torch.tensor([sample.keypoints is not None for sample in samples]),
        }

    def _keypoints(self, sample: Sample) -> np.ndarray:
        assert sample.keypoints is not None
        if sample.keypoint_set.name != self.keypoint_set.name or len(sample.keypoints) != len(self.keypoint_set):
            raise ValueError(
                f"{sample.key}: {len(sample.keypoints)} points of {sample.keypoint_set.name}; "
                f"the pose task learns the {len(self.keypoint_set)} of {self.keypoint_set.name}"
            )
        return sample.keypoints

    def count(self, targets: Targets) -> Tensor:
        """The number of persons with keypoints."""
        return targets["labeled"].sum().float()

    def sigma_at(self, heatmap_height: int) -> float:
        """Of the Gaussian, in pixels of a heatmap of this height."""
        return max(self.sigma * heatmap_height / PUBLISHED_HEIGHT, self.least_sigma)

    def losses(self, maps_BKhw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """heatmap_mse, and location when it has a weight.

        A point so far outside that its Gaussian does not reach into the map has no weight.

        Raises:
            ValueError: maps of another number of points.
        """
        if maps_BKhw.shape[1] != len(self.keypoint_set):
            raise ValueError(f"{maps_BKhw.shape[1]} heatmaps for the {len(self.keypoint_set)} points of the task")
        map_size = (maps_BKhw.shape[2], maps_BKhw.shape[3])
        sigma = self.sigma_at(map_size[0])
        centers = heatmap_points(targets["points"], targets["size"], map_size)
        known = targets["weights"] * window_inside(centers, map_size, sigma)
        weights = known
        if self.point_weights is not None:
            weights = known * torch.tensor(self.point_weights, device=known.device)
        count = self.count(targets) if count is None else count
        factors = gaussian_factors(centers, known, map_size, sigma)
        if self.location_weight and self.hardest is None:
            mse, location = gaussian_losses(maps_BKhw, *factors, weights)
            return {
                "heatmap_mse": self.mse_weight * mean_over(count, mse),
                "location": self.location_weight * mean_over(count, location),
            }
        heatmaps = outer_product(*factors)
        if self.hardest is None:
            loss = heatmap_mse(maps_BKhw.float(), heatmaps, weights)
        else:
            loss = hardest_keypoints_mse(maps_BKhw.float(), heatmaps, weights, self.hardest)
        terms = {"heatmap_mse": self.mse_weight * mean_over(count, loss)}
        if self.location_weight:
            location = location_cross_entropy(maps_BKhw.float(), heatmaps, weights)
            terms["location"] = self.location_weight * mean_over(count, location)
        return terms

    def decode(self, maps_Khw: Tensor, view: View) -> PosePrediction:
        """Heatmaps of a person crop -> points in pixels of the image, and their scores, read before the blur."""
        points, scores = decode_heatmaps(maps_Khw.float().cpu().numpy()[None], view.input_size)
        in_image = crop_points_to_image(points[0], view.center, view.scale, view.input_size)
        return PosePrediction(in_image.astype(np.float32), scores[0].astype(np.float32))

    def new_metric(self) -> "PoseMetric":
        """Mean object keypoint similarity."""
        return PoseMetric(self)


class Posed(Protocol):
    """A person with points: box (4,) xyxy, keypoints (K, 2), scores (K,)."""

    box: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray


def draw_people(image: np.ndarray, people: Iterable[Posed], keypoint_set: KeypointSet, threshold: float) -> np.ndarray:
    """The skeletons of people over an (H, W, 3) uint8 RGB image; points that score below the threshold are left out."""
    for person in people:
        size = float((person.box[2:] - person.box[:2]).max())
        image = draw_keypoints(image, person.keypoints, person.scores, keypoint_set, threshold, size)
    return image


def heatmap_points(points_BK2: Tensor, size_B2: Tensor, map_size: tuple[int, int]) -> Tensor:
    """Pixels of crops of (height, width) -> heatmap pixels: divided by (crop - 1) / (heatmap - 1), so that the centers
    of the corner pixels coincide."""
    last = points_BK2.new_tensor([map_size[1] - 1, map_size[0] - 1])
    step_B2 = (size_B2.flip(-1).to(points_BK2) - 1) / last
    return points_BK2 / step_B2[:, None]


def window_inside(centers_BK2: Tensor, map_size: tuple[int, int], sigma: float) -> Tensor:
    """(B, K) bool: whether the 3-sigma window around a point (heatmap pixels) reaches into the map, as published."""
    middle = (centers_BK2 + 0.5).trunc()
    size, radius = middle.new_tensor([map_size[1], map_size[0]]), math.ceil(3 * sigma)
    return ((middle - radius < size) & (middle + radius + 1 >= 0)).all(dim=-1)


def gaussian_factors(
    centers_BK2: Tensor, weights_BK: Tensor, map_size: tuple[int, int], sigma: float
) -> tuple[Tensor, Tensor]:
    """(B, K, h) and (B, K, w) float32, whose outer products are the heatmaps of points in heatmap pixels: geometry's
    `encode_heatmaps` on batches and any device.

    The Gaussian has its center at the exact point and is cut to a square of 3 sigma around the pixel int(point + 0.5).
    Points of weight 0 get an empty heatmap. sigma is in heatmap pixels (published: 6 at 256 x 192).
    """
    along_x = _gaussian(centers_BK2[..., 0], map_size[1], sigma) * (weights_BK > 0)[..., None]
    return _gaussian(centers_BK2[..., 1], map_size[0], sigma), along_x


def outer_product(along_y_BKh: Tensor, along_x_BKw: Tensor) -> Tensor:
    """(B, K, h, w) heatmaps of the factors."""
    return along_y_BKh[..., :, None] * along_x_BKw[..., None, :]


def _gaussian(centers_BK: Tensor, length: int, sigma: float) -> Tensor:
    """(B, K, length): exp(-(i - center)^2 / 2 sigma^2) for pixels i within 3 sigma of the rounded center, else 0."""
    pixels = torch.arange(length, device=centers_BK.device, dtype=torch.float32)
    distance = pixels - centers_BK[..., None]
    in_window = (pixels - (centers_BK + 0.5).trunc()[..., None]).abs() <= math.ceil(3 * sigma)
    return torch.exp(distance.square() / (-2 * sigma**2)) * in_window


def heatmap_mse(prediction_BKhw: Tensor, target_BKhw: Tensor, weights_BK: Tensor) -> Tensor:
    """(B,) mean over K, h, w of weight * squared error; its mean is the published `KeypointMSELoss`.

    Points of weight 0 still count in the denominator, as published.
    """
    error_BK = (prediction_BKhw - target_BKhw).flatten(2).square().mean(dim=2)
    return (error_BK * weights_BK).mean(dim=1)


def hardest_keypoints_mse(prediction_BKhw: Tensor, target_BKhw: Tensor, weights_BK: Tensor, hardest: int) -> Tensor:
    """(B,) mean squared error of each sample's `hardest` points; its mean is the published `KeypointOHKMMSELoss`.

    The weight is squared, since the published code multiplies it into both the prediction and the target.
    Published for 308 points: hardest=128 for the 0.3b and 1b models.
    """
    error_BK = (prediction_BKhw - target_BKhw).flatten(2).square().mean(dim=2) * weights_BK.square()
    return error_BK.topk(hardest, dim=1, sorted=False).values.mean(dim=1)


def location_cross_entropy(prediction_BKhw: Tensor, target_BKhw: Tensor, weights_BK: Tensor) -> Tensor:
    """(B,) mean over K of weight * cross entropy of softmax(SHARPNESS * prediction) against the target's distribution
    over the pixels.

    Not in the published training. The squared error of a small peak in an empty map hardly differs from that of no peak
    at all, so a network that starts from random weights first learns to predict none; this term depends on the place
    alone. At this sharpness, maps that fit the squared error nearly fit this term too. A target without a peak is 0.
    """
    target, logits = target_BKhw.flatten(2), SHARPNESS * prediction_BKhw.flatten(2)
    total = target.sum(dim=2)
    expected = linalg.vecdot(target, logits) / total.clamp(min=1e-6)
    return ((logits.logsumexp(dim=2) - expected) * weights_BK * (total > 1e-6)).mean(dim=1)


def gaussian_losses(
    prediction_BKhw: Tensor, along_y_BKh: Tensor, along_x_BKw: Tensor, weights_BK: Tensor
) -> tuple[Tensor, Tensor]:
    """(B,) `heatmap_mse` and (B,) `location_cross_entropy` against heatmaps that are outer products of two vectors."""
    squares, overlap, log_sum = _HeatmapSums.apply(prediction_BKhw, along_y_BKh, along_x_BKw)
    target_squares = along_y_BKh.square().sum(dim=2) * along_x_BKw.square().sum(dim=2)
    error_BK = (squares - 2 * overlap + target_squares) / prediction_BKhw[0, 0].numel()
    total = along_y_BKh.sum(dim=2) * along_x_BKw.sum(dim=2)
    location_BK = log_sum - SHARPNESS * overlap / total.clamp(min=1e-6)
    return (error_BK * weights_BK).mean(dim=1), (location_BK * weights_BK * (total > 1e-6)).mean(dim=1)


class _HeatmapSums(torch.autograd.Function):
    """(B, K) sums over the pixels of maps P and of targets T, the outer products of two vectors: P * P, P * T, and the
    logarithm of that of exp(SHARPNESS * P).

    T is never computed, and on a CPU a sample's maps, two megabytes, are read and written while they are in the cache:
    written plainly, the losses of 308 heatmaps take as long as a third of nano's network.
    """

    @staticmethod
    def forward(ctx: Any, maps_BKhw: Tensor, along_y_BKh: Tensor, along_x_BKw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sums = []
        for maps, along_y, along_x in zip(*_in_pieces(maps_BKhw, along_y_BKh, along_x_BKw), strict=True):
            values = maps.float()
            flat = values.flatten(2)
            overlap = ((along_y[:, :, None] @ values) @ along_x[..., None]).flatten(1)
            sums.append((linalg.vecdot(flat, flat), overlap, (SHARPNESS * flat).logsumexp(dim=2)))
        squares, overlaps, log_sums = (torch.cat(parts) for parts in zip(*sums, strict=True))
        ctx.save_for_backward(maps_BKhw, along_y_BKh, along_x_BKw, log_sums)
        return squares, overlaps, log_sums

    @staticmethod
    def backward(ctx: Any, *gradients_BK: Tensor) -> tuple[Tensor, None, None]:
        maps_BKhw, *saved = ctx.saved_tensors
        result = torch.empty_like(maps_BKhw)
        pieces = _in_pieces(result, maps_BKhw, *saved, *gradients_BK)
        for written, maps, along_y, along_x, log_sum, of_squares, of_overlap, of_log_sum in zip(*pieces, strict=True):
            values = maps.float().flatten(2)
            gradient = (SHARPNESS * values).sub_(log_sum[..., None]).exp_().mul_(SHARPNESS * of_log_sum[..., None])
            gradient.addcmul_(values, 2 * of_squares[..., None]).unflatten(2, maps.shape[2:]).flatten(0, 1).baddbmm_(
                (of_overlap[..., None] * along_y).flatten(0, 1)[..., None], along_x.flatten(0, 1)[:, None]
            )
            written.copy_(gradient.view_as(maps))
        return result, None, None


def _in_pieces(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Each tensor cut along its first axis: sample by sample on a CPU, not at all elsewhere."""
    return [tensor.split(1 if tensor.device.type == "cpu" else len(tensor)) for tensor in tensors]


def oks(points_BK2: Tensor, truth_BK2: Tensor, visibility_BK: Tensor, area_B: Tensor, sigmas_K: Tensor) -> Tensor:
    """(B,) COCO's object keypoint similarity, averaged over points with visibility > 0; NaN where a person has none.

    exp(-d^2 / (2 area (2 sigma)^2)) per point, as in COCOeval. Points and truth in pixels, area in pixels squared.
    """
    squared_distance = (points_BK2.double() - truth_BK2.double()).square().sum(dim=-1)
    spread = (2 * sigmas_K.double()).square() * (area_B.double()[:, None] + torch.finfo(torch.float64).eps) * 2
    visible = visibility_BK > 0
    similarity = torch.where(visible, torch.exp(-squared_distance / spread), 0)
    return similarity.sum(dim=1) / visible.sum(dim=1)


def person_score(box_score: float, keypoint_scores: np.ndarray) -> float:
    """The published score of a person: that of the box times the mean over points scoring above 0.2 (0 without any)."""
    confident = keypoint_scores[keypoint_scores > CONFIDENT]
    return float(box_score * confident.mean()) if len(confident) else 0.0


def oks_suppression(
    points_NK2: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, threshold: float = DUPLICATE
) -> np.ndarray:
    """Indices (n,) of the people of one image who stay, best first, when each removes those too similar to it.

    The similarity is OKS with the mean of both areas (pixels; the published code takes those of the padded boxes).
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        squared = ((points_NK2[order] - points_NK2[best]) ** 2).sum(axis=-1)
        area = (areas[order] + areas[best]) / 2 + np.spacing(1)
        similarity = np.exp(-squared / (2 * sigmas) ** 2 / area[:, None] / 2).mean(axis=1)
        order = order[similarity <= threshold]
    return np.array(kept, dtype=int)


class PoseMetric:
    """Mean OKS over persons, of all points and of each group of them ("oks_body", "oks_face", ...)."""

    region = "labeled points"

    def __init__(self, task: PoseTask) -> None:
        points = task.keypoint_set
        self.task = task
        self.sigmas = torch.from_numpy(points.sigmas)
        self.channels = {"oks": torch.arange(len(points))}
        groups = list(dict.fromkeys(points.groups))
        if len(groups) > 1:
            self.channels |= {f"oks_{group}": torch.from_numpy(points.group(group)) for group in groups}
        self.totals = torch.zeros(len(self.channels), 2, dtype=torch.float64)  # per figure: sum of OKS, persons

    def update(self, prediction: PosePrediction, truth: Sample) -> dict[str, float]:
        """Add a person; without labeled points in the image, or without a known area, they are left out."""
        if truth.keypoints is None:
            return dict.fromkeys(self.channels, float("nan"))
        keypoints = self.task._keypoints(truth)
        height, width = truth.image.shape[:2]
        with np.errstate(invalid="ignore"):
            inside = ((keypoints[:, :2] > -1) & (keypoints[:, :2] < (width, height))).all(axis=1)
        known = torch.from_numpy((keypoints[:, 2] > 0) & inside)[None]
        points, exact = torch.from_numpy(prediction.points)[None], torch.from_numpy(keypoints[None, :, :2])
        area = torch.tensor([_area(truth)])
        figures = {}
        for row, (name, channels) in enumerate(self.channels.items()):
            value = oks(points[:, channels], exact[:, channels], known[:, channels], area, self.sigmas[channels])
            figures[name] = value.item()
            if value.isfinite():
                self.totals[row] += torch.tensor([figures[name], 1.0], dtype=torch.float64)
        return figures

    def compute(self) -> dict[str, float]:
        """Figures in 0-1; NaN where no person has points of a group."""
        return {name: float(total / persons) for name, (total, persons) in zip(self.channels, self.totals, strict=True)}

    def report(self) -> dict[str, float]:
        """The same."""
        return self.compute()


def _area(sample: Sample) -> float:
    """The person's area in the crop as COCO means it: of the mask, or from the box. NaN when there is neither."""
    if sample.mask is not None and sample.mask.any():
        return float(sample.mask.sum())
    if sample.box is not None:
        return float(person_area(sample.box))
    return float("nan")
