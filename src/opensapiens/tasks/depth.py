"""Relative depth of a person: one number per pixel, small = near.

Targets run from 0 (nearest) to 1 (farthest) within the person in the crop; the loss is the published scale-invariant
log loss, with our own terms on request; the metric first fits the best scale and shift per person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, linalg

from opensapiens.data.label_kinds import DEPTH, LabelKind
from opensapiens.data.sample import Sample
from opensapiens.drawing.dense import draw_depth
from opensapiens.geometry.alignment import scale_shift_fit
from opensapiens.geometry.cameras import PinholeCamera
from opensapiens.geometry.view import View, resize_maps
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.saving import PNG_LEVEL, npz, save_picture
from opensapiens.tasks.task import Targets, Writer, mean_over

BACKGROUND = -1.0  # in targets; never supervised
EPSILON = 1e-6
FIGURES = ("rmse", "abs_rel", "delta1", "r2", "constant_rmse", "constant_abs_rel", "constant_delta1")


@dataclass(frozen=True)
class DepthTask:
    """Relative depth of the person in the crop, by the scale-invariant log loss.

    Args:
        l1_weight: weight of an L1 term on the normalized depth; 0 as published. See `silog` for when it is needed.
        correlation_weight: weight of `decorrelation`; 0 as published.
        floor: least depth that the logarithm sees; published: 1e-6.
    """

    name: ClassVar[str] = "depth"
    title: ClassVar[str] = "depth (near is bright)"
    kind: ClassVar[LabelKind] = DEPTH
    published: ClassVar[HeadShape] = HeadShape((384, 384, 384, 384), (384, 384), 0.1)
    patch_padding: ClassVar[int] = 0
    everywhere: ClassVar[bool] = False
    labels: ClassVar[None] = None
    channels: ClassVar[int] = 1
    flip_rule: ClassVar[FlipRule] = FlipRule()

    l1_weight: float = 0.0
    correlation_weight: float = 0.0
    floor: float = EPSILON

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str = "upsampling") -> Self:
        """The task of a head with one channel. Raises ValueError for another."""
        if labels is not None or channels != 1:
            raise ValueError(f"a depth head has one output channel and no labels, not {channels}")
        return cls()

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """depth (B, H, W) float32 in 0-1 with -1 outside, labeled (B,) bool.

        The person is where the depth is finite, and inside the mask where there is one.
        """
        picked = slice(label_stride // 2, None, label_stride)
        maps = [normalized_depth(*_depth_and_person(sample))[0][picked, picked] for sample in samples]
        labeled = torch.tensor([sample.depth is not None for sample in samples])
        return {"depth": torch.from_numpy(np.stack(maps)), "labeled": labeled}

    def count(self, targets: Targets) -> Tensor:
        """The number of samples with depth."""
        return targets["labeled"].sum().float()

    def losses(self, maps_B1hw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """silog; l1 and correlation when they have a weight."""
        target = targets["depth"]
        prediction = resize_maps(maps_B1hw, target.shape[-2:]).squeeze(1)
        count = self.count(targets) if count is None else count
        terms = {"silog": mean_over(count, silog(prediction, target, self.floor))}
        if self.l1_weight:
            terms["l1"] = self.l1_weight * mean_over(count, depth_l1(prediction, target))
        if self.correlation_weight:
            terms["correlation"] = self.correlation_weight * mean_over(count, decorrelation(prediction, target))
        return terms

    def decode(self, maps_1hw: Tensor, view: View) -> np.ndarray:
        """Maps -> raw relative depth (H, W) float32 over the view's window, NaN outside the view; may be negative."""
        return view.to_window(maps_1hw)[..., 0]

    def new_metric(self) -> "DepthMetric":
        """Errors after a scale-shift fit per person."""
        return DepthMetric()

    def blank(self, size_hw: tuple[int, int]) -> "DepthMap":
        """NaN everywhere."""
        return DepthMap(np.full(size_hw, np.nan, np.float32))


@dataclass(eq=False)
class DepthMap:
    """values: H×W float32, raw network output, small = near, NaN outside the people.

    metric: False where each person's depth has a scale and an offset of its own, so that two people's values cannot be
    compared; True for meters.
    """

    values: np.ndarray
    metric: bool = False

    def normalized(self) -> np.ndarray:
        """H×W float32 from 0 (nearest) to 1 (farthest) over everything that has a depth; NaN elsewhere."""
        valid = np.isfinite(self.values)
        if not valid.any():
            return self.values.copy()
        near, far = self.values[valid].min(), self.values[valid].max()
        return (self.values - near) / max(far - near, np.finfo(np.float32).tiny)

    def points(self, focal_length: float, near: float, far: float) -> np.ndarray:
        """H×W×3 float32 points in space seen by a pinhole camera with the image's center as principal point; NaN where
        there is no depth.

        An approximation: the network gives relative depth, so the caller gives the distances of the nearest and the
        farthest pixel, in any unit, and all others are placed between in proportion. focal_length: pixels of this
        image. Axes are those of the normals: +x right, +y up, +z towards the camera, which is at the origin.
        Raises ValueError unless 0 < near <= far and focal_length > 0.
        """
        if not (focal_length > 0 and 0 < near <= far < np.inf):
            raise ValueError(f"points need a focal length > 0 and 0 < near <= far, not {focal_length}, {near}, {far}")
        height, width = self.values.shape
        camera = PinholeCamera(focal_length, focal_length, (width - 1) / 2, (height - 1) / 2)
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        points = camera.unproject(pixels, near + (far - near) * self.normalized())
        return (points * [1, -1, -1]).astype(np.float32)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Depth colors over the darkened image."""
        return draw_depth(image, self.values)

    def legend(self) -> np.ndarray | None:
        """None: the title explains the colors."""
        return None

    def files(self) -> dict[str, Writer]:
        """depth.png: 16 bits, 0 = nobody, 1 (nearest) to 65535 (farthest). depth.npz: "depth" float32, raw values."""
        return {"depth.png": self._save, "depth.npz": npz(depth=self.values)}

    def frame_files(self) -> dict[str, Writer]:
        """depth.png alone."""
        return {"depth.png": self._save}

    def arrays(self) -> dict[str, np.ndarray]:
        """depth: float32."""
        return {"depth": self.values}

    def _save(self, path: Path) -> None:
        save_picture(path, Image.fromarray(depth_to_16_bits(self.normalized())), compress_level=PNG_LEVEL)


def depth_to_16_bits(normalized: np.ndarray) -> np.ndarray:
    """Depth H×W from 0 (nearest) to 1 (farthest) as uint16: 0 where there is none (NaN), else 1 to 65535."""
    valid = np.isfinite(normalized)
    return np.where(valid, 1 + np.round(np.where(valid, normalized, 0) * 65534), 0).astype(np.uint16)


def _depth_and_person(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) and the person's pixels: where it is finite, and inside the mask where there is one."""
    depth = sample.depth if sample.depth is not None else np.full(sample.image.shape[:2], np.nan, np.float32)
    return depth, np.isfinite(depth) if sample.mask is None else np.isfinite(depth) & sample.mask


def normalized_depth(depth_HW: np.ndarray, mask_HW: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Min-max over the mask -> target (H, W) float32 with -1 outside, the nearest depth, the range to the farthest.

    An empty mask gives -1 everywhere, a flat person 0. `nearest + range * target` is the depth again, in its own unit.
    """
    target = np.full(depth_HW.shape, BACKGROUND, np.float32)
    if not mask_HW.any():
        return target, 0.0, 0.0
    inside = depth_HW[mask_HW].astype(np.float32)
    nearest, extent = inside.min(), inside.max() - inside.min()
    target[mask_HW] = (inside - nearest) / extent if extent > 0 else 0
    return target, float(nearest), float(extent)


def silog(prediction_BHW: Tensor, target_BHW: Tensor, floor: float = EPSILON) -> Tensor:
    """(B,) sqrt(mean(d^2) - mean(d)^2 / 2) with d = log(target) - log(prediction) over the pixels with target > 1e-6.

    Its mean is the published `SiLogLoss`: a sample without such pixels is 0 and counts, and the nearest pixel, whose
    target is 0, is left out. Both are clamped at `floor` (published: 1e-6): a pixel predicted below it gets no
    gradient, and one just above it a gradient of 1 / floor, which drowns every other loss while a head learns from
    scratch. There, take a higher floor and the L1 term as well.
    """
    valid = target_BHW > EPSILON  # false for NaN too
    difference = target_BHW.clamp(min=floor).log() - prediction_BHW.clamp(min=floor).log()
    difference = torch.where(valid, difference, 0).flatten(1)
    pixels = valid.flatten(1).sum(dim=1).clamp(min=1)
    mean_square = difference.square().sum(dim=1) / pixels
    variance = mean_square - 0.5 * (difference.sum(dim=1) / pixels).square()
    # The root has no gradient at 0, where empty and perfect samples are (there the published code gives NaN).
    return torch.where(valid.flatten(1).any(dim=1), variance.clamp(min=1e-12).sqrt(), 0)


def depth_l1(prediction_BHW: Tensor, target_BHW: Tensor) -> Tensor:
    """(B,) mean absolute error over the person (target >= 0), 0 where there is none. Not in the published training."""
    inside = target_BHW >= 0
    error = torch.where(inside, (prediction_BHW - target_BHW).abs(), 0).flatten(1)
    return error.sum(dim=1) / inside.flatten(1).sum(dim=1).clamp(min=1)


def decorrelation(prediction_BHW: Tensor, target_BHW: Tensor) -> Tensor:
    """(B,) 1 - Pearson's correlation over the person (target >= 0), 0 where there is none or it is flat.

    Depth is judged after the best scale and shift per person, and what is left then is 1 - correlation squared. The
    nearest and farthest pixel, by which the target is scaled, do not matter here. Not in the published training.
    """
    inside = (target_BHW >= 0).flatten(1)
    pixels = inside.sum(dim=1, keepdim=True).clamp(min=1)

    def centered(values_BHW: Tensor) -> Tensor:
        values = torch.where(inside, values_BHW.flatten(1), 0)
        return torch.where(inside, values - values.sum(dim=1, keepdim=True) / pixels, 0)

    prediction, target = centered(prediction_BHW), centered(target_BHW)
    spread = target.square().sum(dim=1)
    length = (spread * prediction.square().sum(dim=1)).clamp(min=1e-12).sqrt()
    return torch.where(spread > 1e-6, 1 - linalg.vecdot(prediction, target) / length, 0)


def depth_errors(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """rmse (unit of the truth), abs_rel = mean(|error| / truth), delta1 = share of pixels within a factor of 1.25, r2.

    One-dimensional arrays over a person's pixels; truth > 0 and not flat.
    """
    error = prediction - truth
    spread = ((truth - truth.mean()) ** 2).sum()
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "abs_rel": float((np.abs(error) / truth).mean()),
        "delta1": float(((prediction < 1.25 * truth) & (truth < 1.25 * prediction)).mean()),
        "r2": float(1 - (error**2).sum() / spread),
    }


class DepthMetric:
    """Means over persons of `depth_errors` after the scale-shift fit, and of the trivial answer ("constant_...").

    The trivial answer is each person's mean depth; its r2 is 0 by definition. Truth is in the label's unit, meters in
    the synthetic data: compare abs_rel and delta1 with the constant's, since a person is thin compared with its
    distance.
    """

    region = "true mask"

    def __init__(self) -> None:
        self.totals = torch.zeros(len(FIGURES), 2, dtype=torch.float64)  # per figure: sum, persons

    def update(self, prediction_HW: np.ndarray, truth: Sample) -> dict[str, float]:
        """Add raw depth of the labels' size; a person who is flat, or has no label where it is finite, is left out."""
        depth, person = _depth_and_person(truth)
        if prediction_HW.shape != depth.shape:
            raise ValueError(f"prediction {prediction_HW.shape}, labels {depth.shape}")
        mask = person & np.isfinite(prediction_HW)
        target, nearest, extent = normalized_depth(depth, mask)
        if not extent > 0:
            return dict.fromkeys(FIGURES, float("nan"))
        exact = nearest + extent * target.astype(np.float64)
        predicted = prediction_HW.astype(np.float64)
        scale, shift = scale_shift_fit(predicted, exact, mask)
        figures = depth_errors(scale * predicted[mask] + shift, exact[mask])
        constant = depth_errors(np.full(mask.sum(), exact[mask].mean()), exact[mask])
        figures |= {f"constant_{name}": value for name, value in constant.items() if name != "r2"}
        self.totals += torch.tensor([[figures[name], 1.0] for name in FIGURES], dtype=torch.float64)
        return figures

    def compute(self) -> dict[str, float]:
        """Every figure of FIGURES."""
        return {name: float(total / persons) for name, (total, persons) in zip(FIGURES, self.totals, strict=True)}

    def report(self) -> dict[str, float]:
        """Also the trivial answer's r2."""
        return {**self.compute(), "constant_r2": 0.0}
