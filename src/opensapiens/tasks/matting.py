"""How much of each pixel is the person, and the color of that part: cut-outs with hair and soft edges.

Four channels through a sigmoid: the foreground's RGB multiplied by alpha, and alpha. Losses and metric are those of
Sapiens2, of which only a description is known: how the terms average is ours.
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

from opensapiens.data.label_kinds import ALPHA, LabelKind
from opensapiens.data.sample import Sample
from opensapiens.drawing.dense import over_checkers
from opensapiens.geometry.view import View, resize_maps
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.models.upsampling_head import HeadShape
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.saving import PNG_LEVEL, save_picture
from opensapiens.tasks.task import Targets, Writer, mean_over

OPAQUE = 0.996
"""Alpha from which on a pixel of the picture is all foreground, and its color that of the foreground."""
LEVELS = 5  # of the Laplacian pyramid


@dataclass(frozen=True)
class MattingTask:
    """Alpha and foreground by absolute error, that of edges and that of a Laplacian pyramid, at equal weight."""

    name: ClassVar[str] = "matting"
    title: ClassVar[str] = "cut-out"
    kind: ClassVar[LabelKind] = ALPHA
    published: ClassVar[HeadShape] = HeadShape((768, 512, 256, 128), (64, 32, 16), kind="pixel_shuffle")
    patch_padding: ClassVar[int] = 0
    everywhere: ClassVar[bool] = True  # soft edges lie where no part map sees a person
    labels: ClassVar[None] = None
    channels: ClassVar[int] = 4
    flip_rule: ClassVar[FlipRule] = FlipRule()

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str = "pixel_shuffle") -> Self:
        """The task of a head with four channels. Raises ValueError for another."""
        if labels is not None or channels != 4:
            raise ValueError(f"a matting head has four output channels and no labels, not {channels}")
        return cls()

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """alpha (B, 1, H, W) and foreground (B, 3, H, W) float32, the picture's color times alpha; sure (B, 1, H, W)
        bool, where that is the foreground's color: where alpha is 0 or almost 1; labeled (B,) bool."""
        picked = slice(label_stride // 2, None, label_stride)
        alphas = torch.from_numpy(np.stack([_alpha(sample)[picked, picked] for sample in samples]))[:, None]
        images = torch.from_numpy(np.stack([sample.image[picked, picked] for sample in samples])).movedim(-1, 1)
        return {
            "alpha": alphas,
            "foreground": images / 255 * alphas,
            "sure": (alphas >= OPAQUE) | (alphas == 0),
            "labeled": torch.tensor([ALPHA in sample.labels for sample in samples]),
        }

    def count(self, targets: Targets) -> Tensor:
        """The number of samples with alpha."""
        return targets["labeled"].sum().float()

    def losses(self, maps_B4hw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """l1, edges and laplacian, each of alpha and of the foreground where that is sure ("..._foreground")."""
        maps = resize_maps(maps_B4hw, targets["alpha"].shape[-2:]).sigmoid()
        count = self.count(targets) if count is None else count
        everywhere = targets["labeled"].view(-1, 1, 1, 1).expand_as(targets["alpha"])
        sure = targets["sure"] & everywhere
        errors = {
            "": (maps[:, 3:] - targets["alpha"], everywhere),
            "_foreground": (maps[:, :3] - targets["foreground"], sure),
        }
        terms = {}
        for ending, (error, valid) in errors.items():
            error = torch.where(valid, error, 0)
            terms[f"l1{ending}"] = mean_over(count, _mean_absolute(error, valid))
            terms[f"edges{ending}"] = mean_over(count, _mean_absolute(sobel(error), valid))
            terms[f"laplacian{ending}"] = mean_over(count, laplacian_pyramid(error))
        return terms

    def decode(self, maps_4hw: Tensor, view: View) -> np.ndarray:
        """Maps -> (H, W, 4) float32 over the view's window: the foreground's RGB times alpha, and alpha, from 0 to 1; 0
        outside the view."""
        return np.nan_to_num(view.to_window(maps_4hw.sigmoid())).clip(0, 1)

    def new_metric(self) -> "MattingMetric":
        """Absolute errors."""
        return MattingMetric()

    def blank(self, size_hw: tuple[int, int]) -> "Matte":
        """Nobody anywhere."""
        return Matte(np.zeros((*size_hw, 4), np.float32))


@dataclass(eq=False)
class Matte:
    """values: H×W×4 float32 from 0 to 1: the foreground's RGB multiplied by alpha, and alpha."""

    values: np.ndarray

    @property
    def alpha(self) -> np.ndarray:
        """H×W float32, how much of a pixel is foreground."""
        return self.values[..., 3]

    def over(self, background: np.ndarray) -> np.ndarray:
        """The foreground before another background (H×W×3 uint8 RGB, or one color): H×W×3 uint8."""
        colors = self.values[..., :3] * 255 + (1 - self.alpha[..., None]) * np.asarray(background)
        return np.round(colors.clip(0, 255)).astype(np.uint8)

    def cutout(self) -> np.ndarray:
        """H×W×4 uint8 RGBA for image programs: colors that are not multiplied by alpha."""
        alpha = self.alpha[..., None]
        colors = np.where(alpha > 0, self.values[..., :3] / np.maximum(alpha, 1e-6), 0).clip(0, 1)
        return np.round(np.concatenate([colors, alpha], axis=-1) * 255).astype(np.uint8)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The foreground before a checkerboard."""
        return over_checkers(self.values)

    def legend(self) -> np.ndarray | None:
        """None: a checkerboard is usual."""
        return None

    def files(self) -> dict[str, Writer]:
        """cutout.png: 8-bit RGBA. alpha.png: 16 bits, 65535 = all foreground."""
        return {"cutout.png": self._save_cutout, "alpha.png": self._save_alpha}

    def frame_files(self) -> dict[str, Writer]:
        """cutout.png alone."""
        return {"cutout.png": self._save_cutout}

    def arrays(self) -> dict[str, np.ndarray]:
        """matting: float16, the values."""
        return {"matting": self.values.astype(np.float16)}

    def _save_cutout(self, path: Path) -> None:
        save_picture(path, Image.fromarray(self.cutout()), compress_level=PNG_LEVEL)

    def _save_alpha(self, path: Path) -> None:
        stored = np.round(self.alpha * 65535).astype(np.uint16)
        save_picture(path, Image.fromarray(stored), compress_level=PNG_LEVEL)


def _alpha(sample: Sample) -> np.ndarray:
    alpha = sample.labels.get(ALPHA)
    return np.zeros(sample.image.shape[:2], np.float32) if alpha is None else alpha


def _mean_absolute(error_BCHW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """(B,) mean over channels and valid pixels; 0 where there is none."""
    pixels = valid_B1HW.flatten(1).sum(dim=1).clamp(min=1) * error_BCHW.shape[1]
    return torch.where(valid_B1HW, error_BCHW.abs(), 0).flatten(1).sum(dim=1) / pixels


def sobel(maps_BCHW: Tensor) -> Tensor:
    """(B, 2 C, H, W): differences across and down by Sobel's kernels, edges repeated."""
    across = maps_BCHW.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    kernels = torch.stack([across, across.T])[:, None].repeat(maps_BCHW.shape[1], 1, 1, 1)
    padded = functional.pad(maps_BCHW, (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(padded, kernels, groups=maps_BCHW.shape[1])


def laplacian_pyramid(error_BCHW: Tensor) -> Tensor:
    """(B,) sum over levels of 2^level times the mean absolute value of what a level adds to the next coarser one (Hou
    and Liu, ICCV 2019). Of an error, since the pyramid is linear."""
    total = error_BCHW.new_zeros(len(error_BCHW))
    for level in range(LEVELS):
        if min(error_BCHW.shape[2:]) < 2:
            break
        coarse = functional.avg_pool2d(error_BCHW, 2, ceil_mode=True)
        back = functional.interpolate(coarse, size=error_BCHW.shape[2:], mode="bilinear", align_corners=False)
        total = total + 2**level * (error_BCHW - back).abs().flatten(1).mean(dim=1)
        error_BCHW = coarse
    return total


class MattingMetric:
    """Mean absolute errors of alpha and, where the picture shows it, of the foreground times alpha; over all pixels.

    "nobody_" figures are those of the trivial answer: no foreground anywhere.
    """

    region = "all pixels"

    def __init__(self) -> None:
        self.totals = torch.zeros(2, 4, dtype=torch.float64)  # error of alpha, pixels, of the foreground, sure values

    def update(self, prediction_HW4: np.ndarray, truth: Sample) -> dict[str, float]:
        """Add a prediction of the labels' size. A sample without a label is left out."""
        if ALPHA not in truth.labels:
            return dict.fromkeys(_figures(self.totals[0]), float("nan"))
        alpha = _alpha(truth)
        if prediction_HW4.shape[:2] != alpha.shape:
            raise ValueError(f"prediction {prediction_HW4.shape}, labels {alpha.shape}")
        sure = (alpha >= OPAQUE) | (alpha == 0)
        foreground = truth.image / np.float32(255) * alpha[..., None]
        added = torch.stack(
            [
                torch.tensor(
                    [
                        np.abs(answer[..., 3] - alpha).sum(dtype=np.float64),
                        alpha.size,
                        np.abs(answer[..., :3] - foreground)[sure].sum(dtype=np.float64),
                        3 * sure.sum(),
                    ],
                    dtype=torch.float64,
                )
                for answer in (prediction_HW4, np.zeros_like(prediction_HW4))
            ]
        )
        self.totals += added
        return _figures(added[0])

    def compute(self) -> dict[str, float]:
        """l1_alpha, l1_foreground."""
        return _figures(self.totals[0])

    def report(self) -> dict[str, float]:
        """Also the trivial answer's figures."""
        return self.compute() | {f"nobody_{name}": value for name, value in _figures(self.totals[1]).items()}


def _figures(totals: Tensor) -> dict[str, float]:
    return {"l1_alpha": float(totals[0] / totals[1]), "l1_foreground": float(totals[2] / totals[3])}
