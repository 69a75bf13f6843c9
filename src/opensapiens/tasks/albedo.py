"""The color of a person's surface without light and shadow, RGB from 0 to 1. Losses and metric are Sapiens2's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from opensapiens.data.label_kinds import ALBEDO, LabelKind
from opensapiens.data.sample import Sample
from opensapiens.drawing.dense import color_bytes, draw_colors
from opensapiens.geometry.view import View, resize_maps
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.neighbors import absolute_differences, pixels_and_pairs, squared_differences
from opensapiens.tasks.saving import PNG_LEVEL, npz, save_picture
from opensapiens.tasks.task import Targets, Writer, mean_over

DARKEST = 1e-6
WINDOW, WINDOW_SIGMA = 11, 1.5  # of structural similarity, pixels
STABLE = (0.01**2, 0.03**2)  # its constants for values from 0 to 1


@dataclass(frozen=True)
class AlbedoTask:
    """Albedo of the person, by the three losses of Sapiens2 at their weights."""

    name: ClassVar[str] = "albedo"
    title: ClassVar[str] = "albedo"
    kind: ClassVar[LabelKind] = ALBEDO
    published: ClassVar[HeadShape] = HeadShape((768, 512, 256, 128), (64, 32, 16), kind="pixel_shuffle_rms")
    patch_padding: ClassVar[int] = 0
    everywhere: ClassVar[bool] = False
    labels: ClassVar[None] = None
    channels: ClassVar[int] = 3
    flip_rule: ClassVar[FlipRule] = FlipRule()

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str = "pixel_shuffle_rms") -> Self:
        """The task of a head with three channels. Raises ValueError for another."""
        if labels is not None or channels != 3:
            raise ValueError(f"an albedo head has three output channels and no labels, not {channels}")
        return cls()

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """albedo (B, 3, H, W) float32, 0 outside; valid (B, 1, H, W) bool; labeled (B,) bool."""
        picked = slice(label_stride // 2, None, label_stride)
        maps = torch.from_numpy(np.stack([_albedo(sample)[picked, picked] for sample in samples])).movedim(-1, 1)
        valid = maps.isfinite().all(dim=1, keepdim=True)
        labeled = torch.tensor([ALBEDO in sample.labels for sample in samples])
        return {"albedo": torch.where(valid, maps, 0), "valid": valid, "labeled": labeled}

    def count(self, targets: Targets) -> Tensor:
        """(3,): the number of pixels with albedo, of pairs of them side by side, and of pairs one below the other."""
        return pixels_and_pairs(targets["valid"])

    def losses(self, maps_B3hw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """l1, gradient and chromaticity, weighted as published."""
        target, valid = targets["albedo"], targets["valid"]
        prediction = resize_maps(maps_B3hw, target.shape[-2:])
        count = self.count(targets) if count is None else count
        error = torch.where(valid, (prediction - target).abs(), 0).flatten(1).sum(dim=1)
        colors = (chromaticity(prediction.clamp(0, 1)) - chromaticity(target)).abs()
        return {
            "l1": 2 * mean_over(count[0], error),
            "gradient": squared_differences(prediction - target, valid, count[1:]),
            "chromaticity": mean_over(count[0], torch.where(valid, colors, 0).flatten(1).sum(dim=1)),
        }

    def decode(self, maps_3hw: Tensor, view: View) -> np.ndarray:
        """Maps -> albedo (H, W, 3) float32 from 0 to 1 over the view's window, NaN outside the view."""
        return view.to_window(maps_3hw.clamp(0, 1))

    def new_metric(self) -> "AlbedoMetric":
        """Errors of color and structure."""
        return AlbedoMetric()

    def blank(self, size_hw: tuple[int, int]) -> "AlbedoMap":
        """NaN everywhere."""
        return AlbedoMap(np.full((*size_hw, 3), np.nan, np.float32))


@dataclass(eq=False)
class AlbedoMap:
    """values: H×W×3 float32 RGB from 0 to 1, NaN outside the people."""

    values: np.ndarray

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The colors over the darkened image."""
        return draw_colors(image, self.values)

    def legend(self) -> np.ndarray | None:
        """None: the colors are the answer."""
        return None

    def files(self) -> dict[str, Writer]:
        """albedo.png: 8 bits, black outside the people. albedo.npz: "albedo" float16."""
        return {"albedo.png": self._save, "albedo.npz": npz(**self.arrays())}

    def frame_files(self) -> dict[str, Writer]:
        """albedo.png alone."""
        return {"albedo.png": self._save}

    def arrays(self) -> dict[str, np.ndarray]:
        """albedo: float16."""
        return {"albedo": self.values.astype(np.float16)}

    def _save(self, path: Path) -> None:
        save_picture(path, Image.fromarray(color_bytes(self.values)), compress_level=PNG_LEVEL)


def _albedo(sample: Sample) -> np.ndarray:
    """(H, W, 3): NaN where there is none, or outside the mask where there is one."""
    albedo = sample.labels.get(ALBEDO)
    if albedo is None:
        return np.full((*sample.image.shape[:2], 3), np.nan, np.float32)
    return albedo if sample.mask is None else np.where(sample.mask[..., None], albedo, np.float32(np.nan))


def low_frequency_l1(prediction_B3HW: Tensor, target_B3HW: Tensor, valid_B1HW: Tensor, pixels: int = 4) -> Tensor:
    """(B,) sum over valid pixels and channels of the absolute difference between both maps after they were averaged
    over squares of `pixels` and enlarged again; over the number of valid pixels: the published `AlbedoLowFreqL1Loss`,
    which no released config has."""
    share = valid_B1HW.to(prediction_B3HW.dtype)

    def coarse(values: Tensor) -> Tensor:
        small = functional.avg_pool2d(values, pixels)
        return functional.interpolate(small, scale_factor=pixels, mode="bilinear", align_corners=False)

    weight = coarse(share) + DARKEST
    error = (coarse(prediction_B3HW * share) / weight - coarse(target_B3HW * share) / weight).abs()
    return torch.where(valid_B1HW, error, 0).flatten(1).sum(dim=1)


def chromaticity(colors_B3HW: Tensor) -> Tensor:
    """Colors divided by the sum of their channels, without their brightness."""
    return colors_B3HW / (colors_B3HW.sum(dim=1, keepdim=True) + DARKEST)


def structural_similarity(prediction_B3HW: Tensor, target_B3HW: Tensor, valid_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of SSIM (Wang et al., 2004) over channels and places, and the number of these.

    Means and variances are of valid pixels in a Gaussian window; places count where more than half of it is valid.
    """
    offsets = torch.arange(WINDOW, dtype=prediction_B3HW.dtype) - WINDOW // 2
    weights = torch.exp(-0.5 * (offsets / WINDOW_SIGMA).square())
    weights = weights / weights.sum()
    kernel = torch.outer(weights, weights)[None, None]

    def blurred(values: Tensor) -> Tensor:
        flat = functional.conv2d(values.flatten(0, 1)[:, None], kernel, padding=WINDOW // 2)
        return flat[:, 0].unflatten(0, values.shape[:2])

    share = blurred(valid_B1HW.to(prediction_B3HW.dtype))

    def mean(values: Tensor) -> Tensor:
        return blurred(torch.where(valid_B1HW, values, 0)) / share.clamp(min=1e-6)

    ours, theirs = mean(prediction_B3HW), mean(target_B3HW)
    variances = mean(prediction_B3HW.square()) - ours.square() + mean(target_B3HW.square()) - theirs.square()
    covariance = mean(prediction_B3HW * target_B3HW) - ours * theirs
    first, second = STABLE
    above = (2 * ours * theirs + first) * (2 * covariance + second)
    similarity = above / ((ours.square() + theirs.square() + first) * (variances + second))
    counted = (share > 0.5).expand_as(similarity)
    return similarity[counted].sum(), counted.sum()


class AlbedoMetric:
    """mae, rmse, psnr in decibels, ssim, and the mean absolute error of differences between neighbors; over all
    persons' pixels.

    "constant_" figures are those of the trivial answer: each person's mean color.
    """

    region = "true mask"

    def __init__(self) -> None:
        # Of the prediction and of the trivial answer, pairs of sum and count: absolute, squared, similarity,
        # differences across and down.
        self.totals = torch.zeros(2, 5, 2, dtype=torch.float64)

    def update(self, prediction_HW3: np.ndarray, truth: Sample) -> dict[str, float]:
        """Add albedo of the labels' size; pixels where it is not finite are left out."""
        albedo = _albedo(truth)
        if prediction_HW3.shape != albedo.shape:
            raise ValueError(f"prediction {prediction_HW3.shape}, labels {albedo.shape}")
        known = np.isfinite(albedo).all(axis=-1) & np.isfinite(prediction_HW3).all(axis=-1)
        if not known.any():
            return dict.fromkeys(_figures(self.totals[0]), float("nan"))
        exact, given = (np.where(known[..., None], values, 0) for values in (albedo, prediction_HW3))
        mean = np.broadcast_to(albedo[known].mean(axis=0), albedo.shape)
        target, valid = _batch(exact), torch.from_numpy(known)[None, None]
        added = torch.stack([_sums(_batch(answer), target, valid) for answer in (given, mean)])
        self.totals += added
        return _figures(added[0])

    def compute(self) -> dict[str, float]:
        """mae, rmse, psnr, ssim, grad_l1."""
        return _figures(self.totals[0])

    def report(self) -> dict[str, float]:
        """Also the trivial answer's figures."""
        return self.compute() | {f"constant_{name}": value for name, value in _figures(self.totals[1]).items()}


def _batch(values_HW3: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values_HW3, dtype=np.float32)).movedim(-1, 0)[None]


def _sums(prediction_B3HW: Tensor, target_B3HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    error = prediction_B3HW - target_B3HW
    known = error[valid_B1HW.expand_as(error)].double()
    pairs = absolute_differences(error, valid_B1HW)
    sums = [
        (known.abs().sum(), torch.tensor(len(known))),
        (known.square().sum(), torch.tensor(len(known))),
        structural_similarity(prediction_B3HW, target_B3HW, valid_B1HW),
        *((total, 3 * count) for total, count in pairs),
    ]
    return torch.stack([torch.stack([total.double(), count.double()]) for total, count in sums])


def _figures(totals_52: Tensor) -> dict[str, float]:
    mae, square, ssim, across, down = (float(total / count) for total, count in totals_52)
    psnr = -10 * float(np.log10(square)) if square > 0 else float("nan" if np.isnan(square) else "inf")
    return {"mae": mae, "rmse": square**0.5, "psnr": psnr, "ssim": ssim, "grad_l1": (across + down) / 2}
