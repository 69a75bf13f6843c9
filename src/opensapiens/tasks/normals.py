"""Surface normals of a person in the camera frame: +x right, +y up, +z towards the camera in our data.

Targets are unit vectors; the losses are the published cosine and L1 at equal weight, and of Sapiens2 also that of
differences between neighbors; the metric is the angle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from opensapiens.data.label_kinds import NORMALS, LabelKind
from opensapiens.data.sample import Sample
from opensapiens.drawing.dense import draw_normals, normal_colors
from opensapiens.geometry.normals import normalize
from opensapiens.geometry.view import View, resize_maps
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.neighbors import pixels_and_pairs, squared_differences
from opensapiens.tasks.saving import PNG_LEVEL, npz, save_picture, save_rgb_16_bits
from opensapiens.tasks.task import Targets, Writer, mean_over

BACKGROUND, VALID_ABOVE = -1000.0, -100.0  # in targets, as published
BINS_PER_DEGREE = 20  # the median is read from a histogram, so that it adds up over batches and ranks
LIMITS = (5, 11.25, 22.5, 30)  # degrees
SAPIENS2_HEAD = "pixel_shuffle"
"""Kind of head of Sapiens2's normals."""


@dataclass(frozen=True)
class NormalsTask:
    """Surface normals of the person in the crop, by the cosine and the L1 loss at equal weight, as published.

    Args:
        cosine_weight: weight of the cosine loss; 10 in Sapiens2.
        l1_weight: weight of the L1 loss; 1 in Sapiens2.
        gradient_weight: weight of the loss on differences between neighboring pixels; 10 in Sapiens2.
        unit_first: make the network's vectors unit before they are resized to the image, and not after, as Sapiens2.
            Between pixels they are then slightly shorter than 1.
    """

    name: ClassVar[str] = "normals"
    title: ClassVar[str] = "surface normals"
    kind: ClassVar[LabelKind] = NORMALS
    published: ClassVar[HeadShape] = HeadShape((768, 768, 768), (768, 768, 768), 0.1)
    patch_padding: ClassVar[int] = 2
    everywhere: ClassVar[bool] = False
    labels: ClassVar[None] = None
    channels: ClassVar[int] = 3
    flip_rule: ClassVar[FlipRule] = FlipRule(negated=(0,))  # x turns its sign

    cosine_weight: float = 1.0
    l1_weight: float = 1.0
    gradient_weight: float = 0.0
    unit_first: bool = False

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str = "upsampling") -> Self:
        """The task of a head with three channels. Raises ValueError for another."""
        if labels is not None or channels != 3:
            raise ValueError(f"a normals head has three output channels and no labels, not {channels}")
        return cls(unit_first=kind == SAPIENS2_HEAD)

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """normals (B, 3, H, W) float16 (half the traffic from the loader; 0.03 degrees) with -1000 outside, labeled
        (B,) bool."""
        picked = slice(label_stride // 2, None, label_stride)
        maps = [normal_target(*_normals_and_person(sample, picked)).astype(np.float16) for sample in samples]
        labeled = torch.tensor([sample.normals is not None for sample in samples])
        return {"normals": torch.from_numpy(np.stack(maps)), "labeled": labeled}

    def count(self, targets: Targets) -> Tensor:
        """The number of pixels with a normal, of pairs of them side by side, and of pairs one below the other."""
        return pixels_and_pairs(valid_pixels(targets["normals"])[:, None])

    def losses(self, maps_B3hw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """cosine and l1; gradient when it has a weight."""
        target = targets["normals"].float()
        prediction = resize_maps(maps_B3hw, target.shape[-2:])
        count = self.count(targets) if count is None else count
        terms = {
            "cosine": self.cosine_weight * mean_over(count[0], cosine_loss(prediction, target)),
            "l1": self.l1_weight * mean_over(count[0], l1_loss(prediction, target)),
        }
        if self.gradient_weight:
            valid = valid_pixels(target)[:, None]
            terms["gradient"] = self.gradient_weight * squared_differences(prediction - target, valid, count[1:])
        return terms

    def decode(self, maps_3hw: Tensor, view: View) -> np.ndarray:
        """Maps -> unit normals (H, W, 3) float32 over the view's window, NaN outside the view: n / (|n| + 1e-5)."""
        if self.unit_first:
            return view.to_window(maps_3hw, between=unit_vectors)
        return normalize(view.to_window(maps_3hw))

    def new_metric(self) -> "NormalsMetric":
        """Angular errors."""
        return NormalsMetric()

    def blank(self, size_hw: tuple[int, int]) -> "NormalMap":
        """NaN everywhere."""
        return NormalMap(np.full((*size_hw, 3), np.nan, np.float32))


@dataclass(eq=False)
class NormalMap:
    """values: H×W×3 float32 unit vectors, +x right, +y up, +z towards the camera; NaN outside the people."""

    values: np.ndarray

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Normal colors over the darkened image."""
        return draw_normals(image, self.values)

    def legend(self) -> np.ndarray | None:
        """None: the colors are the usual ones of normals."""
        return None

    def files(self) -> dict[str, Writer]:
        """normals.npz: "normals" float16. normals.png: an 8-bit view of them, (n + 1) / 2."""
        return {"normals.npz": npz(normals=self.values.astype(np.float16)), "normals.png": self._save_view}

    def frame_files(self) -> dict[str, Writer]:
        """normals.png with 16 bits, see `normals_to_16_bits`."""
        return {"normals.png": lambda path: save_rgb_16_bits(path, normals_to_16_bits(self.values))}

    def arrays(self) -> dict[str, np.ndarray]:
        """normals: float16."""
        return {"normals": self.values.astype(np.float16)}

    def _save_view(self, path: Path) -> None:
        save_picture(path, Image.fromarray(normal_colors(self.values)), compress_level=PNG_LEVEL)


def normals_to_16_bits(normals: np.ndarray) -> np.ndarray:
    """Unit vectors H×W×3 as uint16: 0, 0, 0 where there is none (NaN), else 1 + (n + 1) / 2 · 65534."""
    valid = np.isfinite(normals).all(axis=-1, keepdims=True)
    scaled = (np.where(valid, normals, 0).clip(-1, 1) + 1) / 2
    return np.where(valid, 1 + np.round(scaled * 65534), 0).astype(np.uint16)


def _normals_and_person(sample: Sample, picked: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Normals (H, W, 3) at every picked pixel of every picked row, and the person's pixels: where they are finite, and
    inside the mask where there is one."""
    if sample.normals is None:
        nobody = np.zeros(sample.image.shape[:2], bool)[picked, picked]
        return np.zeros((*nobody.shape, 3), np.float32), nobody
    normals = sample.normals[picked, picked]
    person = np.isfinite(normals).all(axis=-1)
    return normals, person if sample.mask is None else person & sample.mask[picked, picked]


def normal_target(normals_HW3: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """(3, H, W) float32: normals divided by their length + 1e-6 inside the mask (the published rule), -1000 outside."""
    length = np.linalg.norm(normals_HW3, axis=-1, keepdims=True) + 1e-6
    target = np.where(mask_HW[..., None], normals_HW3 / length, np.float32(BACKGROUND))
    return np.ascontiguousarray(target.transpose(2, 0, 1), dtype=np.float32)


def valid_pixels(target_B3HW: Tensor) -> Tensor:
    """(B, H, W) bool: where the target is a normal and not background (first channel > -100, the published rule)."""
    return target_B3HW[:, 0] > VALID_ABOVE


def cosine_loss(prediction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """(B,) sum over the valid pixels of 1 - cos; over their number in the batch: published `CosineSimilarityLoss`."""
    valid = valid_pixels(target_B3HW)
    cosine = (functional.normalize(prediction_B3HW, dim=1, eps=1e-6) * target_B3HW).sum(dim=1)
    return torch.where(valid, 1 - cosine, 0).flatten(1).sum(dim=1)


def l1_loss(prediction_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """(B,) sum over the valid pixels and the three channels of |prediction - target|; the prediction is not normalized.

    Over the number of valid pixels in the batch: the published `L1Loss`, which thus is three times a mean.
    """
    valid = valid_pixels(target_B3HW)
    error = (prediction_B3HW - target_B3HW).abs().sum(dim=1)
    return torch.where(valid, error, 0).flatten(1).sum(dim=1)


def unit_vectors(vectors_3HW: Tensor) -> Tensor:
    """Vectors along the first axis divided by their length, of at least 1e-8. Source: the demo of Sapiens2."""
    return functional.normalize(vectors_3HW, dim=0, eps=1e-8)


def angles_degrees(prediction_N3: Tensor, target_N3: Tensor) -> Tensor:
    """(N,) angles in degrees between vectors of any length, and 90 for a prediction of length 0."""
    prediction, target = prediction_N3.double(), target_N3.double()
    # atan2 of |cross| and dot: exact near 0 and 180 degrees, where the arc cosine is not.
    sine, cosine = torch.linalg.cross(prediction, target).norm(dim=-1), (prediction * target).sum(dim=-1)
    return torch.where((prediction == 0).all(dim=-1), 90.0, torch.atan2(sine, cosine).rad2deg())


class NormalsMetric:
    """Mean, root mean square and median angle in degrees, share of pixels within 5, 11.25, 22.5 and 30 degrees; over
    all persons' pixels.

    "frontal_" figures are those of the trivial answer: everything faces the camera.
    """

    region = "true mask"

    def __init__(self) -> None:
        # Of the prediction, and of the trivial answer: the sum of angles and of their squares, then their histogram
        # over 0-180 degrees with the last bin for 180 itself.
        self.totals = torch.zeros(2, 2 + 180 * BINS_PER_DEGREE + 1, dtype=torch.float64)

    def update(self, prediction_HW3: np.ndarray, truth: Sample) -> dict[str, float]:
        """Add normals of the labels' size; pixels where they are not finite are left out."""
        normals, person = _normals_and_person(truth)
        if prediction_HW3.shape != normals.shape:
            raise ValueError(f"prediction {prediction_HW3.shape}, labels {normals.shape}")
        person = person & np.isfinite(prediction_HW3).all(axis=-1)
        target = torch.from_numpy(normals[person])
        frontal = torch.tensor([0.0, 0.0, 1.0]).expand_as(target)
        added = torch.stack(
            [_sums(angles_degrees(answer, target)) for answer in (torch.from_numpy(prediction_HW3[person]), frontal)]
        )
        self.totals += added
        return _figures(added[0])

    def compute(self) -> dict[str, float]:
        """mean, rmse, median (to 0.05 degrees), within_5, within_11.25, within_22.5, within_30 (0-1)."""
        return _figures(self.totals[0])

    def report(self) -> dict[str, float]:
        """Also the trivial answer's figures."""
        return self.compute() | {f"frontal_{name}": value for name, value in _figures(self.totals[1]).items()}


def _sums(angles_N: Tensor) -> Tensor:
    # Edges belong to the bin below ("within 30 degrees" includes 30): bin i holds ((i - 1) / 20, i / 20].
    bins = (angles_N * BINS_PER_DEGREE).ceil().long()
    counts = torch.bincount(bins, minlength=180 * BINS_PER_DEGREE + 1)
    return torch.cat([torch.stack([angles_N.sum(), angles_N.square().sum()]), counts]).double()


def _figures(totals: Tensor) -> dict[str, float]:
    total, squares, histogram = totals[0], totals[1], totals[2:]
    pixels, cumulative = histogram.sum(), histogram.cumsum(0)
    share = cumulative / pixels
    middle = int((share < 0.5).sum()) if pixels > 0 else 0
    result = {"mean": float(total / pixels), "rmse": float((squares / pixels).sqrt())}
    result |= {"median": middle / BINS_PER_DEGREE if pixels > 0 else float("nan")}
    return result | {f"within_{limit:g}": float(share[int(limit * BINS_PER_DEGREE)]) for limit in LIMITS}
