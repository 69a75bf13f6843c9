"""Where every pixel lies in space, in meters in the camera's frame: x right, y down, z forward.

A picture does not show whether a person is small and near or large and far. So the network predicts points as a camera
of a fixed focal length would see them, and beside them one scale per image, by which they are divided. Losses and
metric are those of Sapiens2.
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

from opensapiens.data.label_kinds import POINTS, LabelKind
from opensapiens.data.sample import Sample
from opensapiens.drawing.dense import draw_depth
from opensapiens.geometry.cameras import PinholeCamera, fitted_camera
from opensapiens.geometry.view import View, resize_maps
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.models.upsampling_head import HeadShape, ScaleBranch
from opensapiens.tasks.depth import DepthMap, silog
from opensapiens.tasks.forward import FlipRule
from opensapiens.tasks.normals import LIMITS, angles_degrees
from opensapiens.tasks.saving import PNG_LEVEL, save_arrays, save_picture
from opensapiens.tasks.task import Targets, Writer, mean_over

FOCAL = 768.0
"""Focal length, in pixels of the network's input, of the camera that the points are predicted for."""
MOST = 4.0
"""Largest value that a term on normalized points takes in the sum, as published."""
NEAREST = 1e-4
SMOOTHINGS, SMOOTHING_SIGMA = 4, 0.8
"""How often, and by which Gaussian, points are smoothed before they are enlarged, as published."""
WITHIN = (0.05, 0.1, 0.2)  # meters
FIGURES = ("l2", "x_mae", "y_mae", "z_mae", "rmse", *(f"within_{limit * 100:02.0f}_cm" for limit in WITHIN))
ANGLES = ("normal_mean", "normal_rmse", *(f"normal_within_{limit:g}" for limit in LIMITS))
SOBEL_SMOOTH, SOBEL_SLOPE = (1, 4, 6, 4, 1), (-1, -2, 0, 2, 1)


@dataclass(frozen=True)
class PointmapTask:
    """Points in space, by the seven losses of Sapiens2 at their weights.

    Maps have a fourth channel, the scale, of one value per image: metric points are the first three divided by it.
    """

    name: ClassVar[str] = "pointmap"
    title: ClassVar[str] = "distance in meters (near is bright)"
    kind: ClassVar[LabelKind] = POINTS
    published: ClassVar[HeadShape] = HeadShape(
        (1536, 768, 512, 256), (64, 32, 16), kind="pointmap", scale=ScaleBranch((1536, 512, 128), 6144, (512, 128))
    )
    patch_padding: ClassVar[int] = 0
    everywhere: ClassVar[bool] = False
    labels: ClassVar[None] = None
    channels: ClassVar[int] = 3
    flip_rule: ClassVar[FlipRule] = FlipRule(negated=(0,))  # x turns its sign

    @classmethod
    def of_head(cls, labels: KeypointSet | PartSet | None, channels: int, kind: str = "pointmap") -> Self:
        """The task of a head with three channels and a scale. Raises ValueError for another."""
        if labels is not None or channels != 3 or kind != cls.published.kind:
            raise ValueError(f"a pointmap head has three output channels, a scale and no labels, not {channels}")
        return cls()

    def prepare_targets(self, samples: Sequence[Sample], label_stride: int = 1) -> Targets:
        """points (B, 3, H, W) float32 as the camera of FOCAL sees them, 0 outside; valid (B, 1, H, W) bool; scale (B,),
        by which metric points are multiplied; distance (B,), their mean z; cameras (B, 4): fx, fy, cx, cy in pixels of
        the targets; labeled (B,).

        The camera of a sample is the one that sees its points where they are. A sample whose points do not tell it has
        no label.
        """
        start = label_stride // 2
        points, scales, cameras = [], [], []
        for sample in samples:
            metric = _points(sample)
            camera = fitted_camera(metric)
            scale = 0.0 if camera is None else FOCAL / camera.fx
            picked = metric[start::label_stride, start::label_stride]
            points.append(np.where(np.isfinite(picked), picked * np.float32(scale), 0))
            scales.append(scale)
            fx, fy, cx, cy = (1.0,) * 4 if camera is None else (camera.fx, camera.fy, camera.cx, camera.cy)
            cameras.append(
                [fx / label_stride, fy / label_stride, (cx - start) / label_stride, (cy - start) / label_stride]
            )
        stacked = torch.from_numpy(np.stack(points)).movedim(-1, 1)
        scale_B, valid = torch.tensor(scales), stacked[:, 2:] > 0
        return {
            "points": stacked,
            "valid": valid,
            "distance": stacked[:, 2].flatten(1).sum(dim=1) / valid.flatten(1).sum(dim=1).clamp(min=1),
            "scale": scale_B,
            "cameras": torch.from_numpy(np.stack(cameras)),
            "labeled": scale_B > 0,
        }

    def count(self, targets: Targets) -> Tensor:
        """(2,): samples with points, and pixels of them."""
        return torch.stack([targets["labeled"].sum(), targets["valid"].sum()]).float()

    def losses(self, maps_B4hw: Tensor, targets: Targets, count: Tensor | None = None) -> dict[str, Tensor]:
        """l1, multiscale, shift_invariant, silog, camera, normal and scale, weighted as published.

        The first three are of points over their mean distance. The published code stops each at 4, and so does this, in
        the share of a rank or a piece of a batch.
        """
        target, valid, labeled = targets["points"], targets["valid"], targets["labeled"]
        maps = resize_maps(maps_B4hw, target.shape[-2:])
        points, scale_B = maps[:, :3], maps_B4hw[:, 3, 0, 0].float()
        samples, pixels = self.count(targets) if count is None else count
        mean_B111 = targets["distance"].clamp(min=NEAREST).view(-1, 1, 1, 1)
        near, near_target = points / mean_B111, target / mean_B111
        first = summed_l1(near, near_target, valid)
        doubled = summed_l1(_enlarged(near), _enlarged(near_target), _enlarged(valid))
        shifted = summed_l1(_centered(near, valid), _centered(near_target, valid), valid)
        return {
            "l1": (2 * mean_over(pixels, first)).clamp(max=MOST),
            "multiscale": mean_over(4 * pixels, doubled).clamp(max=MOST),
            "shift_invariant": mean_over(pixels, shifted).clamp(max=MOST),
            "silog": mean_over(samples, silog(points[:, 2], torch.where(valid, target[:, 2:], 0)[:, 0], NEAREST)),
            "camera": mean_over(pixels, off_rays(points, targets["cameras"], valid)),
            "normal": 2 * mean_over(pixels, normal_difference(points, target, targets["scale"], valid)),
            "scale": 4 * mean_over(samples, torch.where(labeled, (scale_B - targets["scale"]).abs(), 0)),
        }

    def decode(self, maps_4hw: Tensor, view: View) -> np.ndarray:
        """Maps -> points (H, W, 3) float32 in meters over the view's window, NaN outside the view.

        Where they are enlarged they are smoothed before, as published.
        """
        return view.to_window(metric_points(maps_4hw), between=smoothed if view.enlarges else None)

    def new_metric(self) -> "PointmapMetric":
        """Distances between points."""
        return PointmapMetric()

    def blank(self, size_hw: tuple[int, int]) -> "PointMap":
        """NaN everywhere."""
        return PointMap(np.full((*size_hw, 3), np.nan, np.float32))


@dataclass(eq=False)
class PointMap:
    """values: H×W×3 float32 meters in the camera's frame, x right, y down, z forward; NaN outside the people."""

    values: np.ndarray

    def depth(self) -> DepthMap:
        """The distance along the camera's axis, in meters."""
        return DepthMap(self.values[..., 2], metric=True)

    def camera(self) -> PinholeCamera | None:
        """The camera that sees the points where they are, in pixels of the image; None where they do not tell."""
        return fitted_camera(self.values)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Distances as colors over the darkened image."""
        return draw_depth(image, self.values[..., 2])

    def legend(self) -> np.ndarray | None:
        """None: the title explains the colors."""
        return None

    def files(self) -> dict[str, Writer]:
        """points.npz: "points" float32, and "camera" (fx, fy, cx, cy), NaN where the points do not tell it. points.png:
        the distances with 16 bits, see `to_millimeters`."""
        return {"points.npz": self._save_arrays, "points.png": self._save}

    def frame_files(self) -> dict[str, Writer]:
        """points.png alone."""
        return {"points.png": self._save}

    def arrays(self) -> dict[str, np.ndarray]:
        """points: float32."""
        return {"points": self.values}

    def _save_arrays(self, path: Path) -> None:
        camera = self.camera()
        numbers = (np.nan,) * 4 if camera is None else (camera.fx, camera.fy, camera.cx, camera.cy)
        save_arrays(path, points=self.values, camera=np.array(numbers, np.float32))

    def _save(self, path: Path) -> None:
        save_picture(path, Image.fromarray(to_millimeters(self.values[..., 2])), compress_level=PNG_LEVEL)


def to_millimeters(depth_HW: np.ndarray) -> np.ndarray:
    """Meters as uint16 millimeters: 0 where there is none (NaN), else 1 to 65535, where farther ones end."""
    known = np.isfinite(depth_HW)
    return np.where(known, np.round(np.where(known, depth_HW, 0) * 1000).clip(1, 65535), 0).astype(np.uint16)


def _points(sample: Sample) -> np.ndarray:
    """(H, W, 3): NaN where there is no point, or outside the mask where there is one."""
    points = sample.labels.get(POINTS)
    if points is None:
        return np.full((*sample.image.shape[:2], 3), np.nan, np.float32)
    return points if sample.mask is None else np.where(sample.mask[..., None], points, np.float32(np.nan))


def metric_points(maps_4hw: Tensor) -> Tensor:
    """(3, h, w): the points of the maps divided by the scale in their last channel."""
    return maps_4hw[:3].float() / maps_4hw[3:].float()


def smoothed(points_3hw: Tensor) -> Tensor:
    """Points after four 3x3 Gaussians, mirrored at the edges. Source: the published demo."""
    offsets = torch.arange(-1, 2, device=points_3hw.device, dtype=points_3hw.dtype)
    weights = torch.exp(-0.5 * (offsets / SMOOTHING_SIGMA).square())
    weights = weights / weights.sum()
    kernel = torch.outer(weights, weights).expand(len(points_3hw), 1, 3, 3)
    points = points_3hw[None]
    for _ in range(SMOOTHINGS):
        points = functional.conv2d(functional.pad(points, (1, 1, 1, 1), mode="reflect"), kernel, groups=len(points_3hw))
    return points[0]


def summed_l1(prediction_B3HW: Tensor, target_B3HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """(B,) sum over valid pixels and the three channels of the absolute error; over the number of valid pixels in the
    batch: the published `L1Loss`."""
    return torch.where(valid_B1HW, (prediction_B3HW - target_B3HW).abs(), 0).flatten(1).sum(dim=1)


def _enlarged(maps: Tensor, times: int = 2) -> Tensor:
    """Maps of several times the size: bilinear, and of bool the nearest."""
    if maps.dtype == torch.bool:
        return maps.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
    return functional.interpolate(maps, scale_factor=times, mode="bilinear", align_corners=False)


def _centered(points_B3HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Points minus the mean of a sample's valid ones."""
    pixels = valid_B1HW.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return points_B3HW - torch.where(valid_B1HW, points_B3HW, 0).sum(dim=(2, 3), keepdim=True) / pixels


def off_rays(points_B3HW: Tensor, cameras_B4: Tensor, valid_B1HW: Tensor) -> Tensor:
    """(B,) sum over valid pixels of how far a point lies beside the ray of its pixel at its distance, in x and in y;
    the published `PointmapIntrinsicsConsistencyLoss` over the valid pixels in the batch."""
    x, y, z = points_B3HW.unbind(dim=1)
    fx, fy, cx, cy = cameras_B4[..., None, None].unbind(dim=1)
    columns = torch.arange(x.shape[2], device=x.device)
    rows = torch.arange(x.shape[1], device=x.device)[:, None]
    beside = (x - (columns - cx) * z / fx).abs() + (y - (rows - cy) * z / fy).abs()
    return torch.where(valid_B1HW[:, 0], beside, 0).flatten(1).sum(dim=1)


def surface_normals(points_B3HW: Tensor) -> Tensor:
    """(B, 3, H, W) unit vectors across the steps from each pixel to the next on the right and below; at the last ones,
    to those before."""
    padded = functional.pad(points_B3HW, (0, 1, 0, 1), mode="reflect")
    right, below = padded[:, :, :-1, 1:] - points_B3HW, padded[:, :, 1:, :-1] - points_B3HW
    return functional.normalize(torch.linalg.cross(right, below, dim=1), dim=1)


def normal_difference(points_B3HW: Tensor, target_B3HW: Tensor, scale_B: Tensor, valid_B1HW: Tensor) -> Tensor:
    """(B,) sum over valid pixels of 1 - cos, plus the mean absolute difference of the components, of the normals of
    both surfaces; the published `PointmapNormalLoss` over the valid pixels in the batch.

    scale_B: of the target. In centimeters, by these two steps, as published: where neighbors are almost the same point,
    the direction from one to the other is rounding.
    """
    scale_B111 = scale_B.clamp(min=NEAREST).view(-1, 1, 1, 1)
    ours, theirs = (surface_normals(points / scale_B111 * 100) for points in (points_B3HW, target_B3HW))
    difference = 1 - (ours * theirs).sum(dim=1) + (ours - theirs).abs().mean(dim=1)
    return torch.where(valid_B1HW[:, 0], difference, 0).flatten(1).sum(dim=1)


def smoothed_normals(points_HW3: np.ndarray) -> Tensor:
    """(H, W, 3) float64 normals of a surface, not of unit length, from its slopes across 5 by 5 pixels (Sobel); NaN
    where a point of these is not known. Source: the published evaluation, mirrored edges included."""
    points = torch.from_numpy(np.ascontiguousarray(points_HW3, dtype=np.float64)).movedim(-1, 0)[:, None]
    smooth, slope = points.new_tensor(SOBEL_SMOOTH), points.new_tensor(SOBEL_SLOPE)
    padded = functional.pad(points, (2, 2, 2, 2), mode="reflect")
    across, down = (
        functional.conv2d(padded, kernel[None, None])[:, 0].movedim(0, -1)
        for kernel in (torch.outer(smooth, slope), torch.outer(slope, smooth))
    )
    return torch.linalg.cross(across, down, dim=-1)


class PointmapMetric:
    """Distances in meters between predicted and true points, without any alignment: mean and root mean square, mean
    absolute error in x, y and z, share of points within 5, 10 and 20 cm; and angles in degrees between the normals of
    both surfaces, see `smoothed_normals`; over all persons' pixels.

    "scaled_" figures are those after each person's points are multiplied by the best factor, "plane_" figures those of
    the trivial answer: each pixel's ray at the person's mean distance.
    """

    region = "true mask"

    def __init__(self) -> None:
        # Of the prediction, the scaled prediction and the plane, sums of FIGURES and ANGLES; pixels and those with
        # normals.
        self.totals = torch.zeros(3, len(FIGURES) + 1 + len(ANGLES) + 1, dtype=torch.float64)

    def update(self, prediction_HW3: np.ndarray, truth: Sample) -> dict[str, float]:
        """Add points of the labels' size; pixels where they are not finite are left out."""
        points = _points(truth)
        if prediction_HW3.shape != points.shape:
            raise ValueError(f"prediction {prediction_HW3.shape}, labels {points.shape}")
        known = np.isfinite(points).all(axis=-1) & np.isfinite(prediction_HW3).all(axis=-1)
        if not known.any():
            return _figures(torch.zeros_like(self.totals[0]))
        exact, given = points[known].astype(np.float64), prediction_HW3[known].astype(np.float64)
        # The surface goes on outside the mask.
        around = truth.labels[POINTS]
        plane = around / around[..., 2:] * exact[:, 2].mean()
        factor = (exact * given).sum() / max((given * given).sum(), NEAREST)
        answers = (prediction_HW3, prediction_HW3 * factor, plane)
        true_normals = smoothed_normals(around)[known]
        added = torch.stack(
            [
                torch.cat(
                    [_sums(torch.from_numpy(a[known] - exact)), _angles(smoothed_normals(a)[known], true_normals)]
                )
                for a in answers
            ]
        )
        self.totals += added
        return _figures(added[0])

    def compute(self) -> dict[str, float]:
        """l2, rmse, x_mae, y_mae, z_mae in meters; within_05_cm, within_10_cm, within_20_cm in 0-1; normal_mean and
        normal_rmse in degrees; normal_within_5, _11.25, _22.5 and _30 in 0-1."""
        return _figures(self.totals[0])

    def report(self) -> dict[str, float]:
        """Also the figures after scaling, and those of the trivial answer."""
        figures = self.compute()
        for name, totals in zip(("scaled", "plane"), self.totals[1:], strict=True):
            figures |= {f"{name}_{figure}": value for figure, value in _figures(totals).items()}
        return figures


def _sums(error_N3: Tensor) -> Tensor:
    distance = error_N3.double().norm(dim=-1)
    within = [(distance < limit).sum().double() for limit in WITHIN]
    sums = [distance.sum(), *error_N3.double().abs().sum(dim=0), distance.square().sum(), *within]
    return torch.stack([*sums, torch.tensor(float(len(error_N3)), dtype=torch.float64)])


def _angles(normals_N3: Tensor, target_N3: Tensor) -> Tensor:
    known = normals_N3.isfinite().all(dim=-1) & target_N3.isfinite().all(dim=-1)
    angles = angles_degrees(normals_N3[known], target_N3[known])
    within = [(angles < limit).sum().double() for limit in LIMITS]
    return torch.stack([angles.sum(), angles.square().sum(), *within, known.sum().double()])


def _figures(totals: Tensor) -> dict[str, float]:
    distances, angles = totals.split([len(FIGURES) + 1, len(ANGLES) + 1])
    means = {name: float(total / distances[-1]) for name, total in zip(FIGURES, distances[:-1], strict=True)}
    of_angles = {name: float(total / angles[-1]) for name, total in zip(ANGLES, angles[:-1], strict=True)}
    for figures, name in ((means, "rmse"), (of_angles, "normal_rmse")):
        figures[name] = figures[name] ** 0.5
    return {**means, **of_angles}
