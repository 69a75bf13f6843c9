"""Keypoints -> UDP heatmaps. The loader ships points; the heatmaps are made where the loss is computed.

308 heatmaps of a sample are megabytes, its points are kilobytes, and a Gaussian is an outer product of two vectors.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from opensapiens.data.sample import Sample
from opensapiens.geometry.boxes import person_area
from opensapiens.tasks.task import Targets


def pose_targets(
    samples: Sequence[Sample],
    keypoint_set: str,
    keypoint_count: int,
    input_size_hw: tuple[int, int],
    heatmap_size_hw: tuple[int, int],
    sigma: float,
) -> Targets:
    """points (B, K, 2) in crop pixels, weights (B, K), area (B,) in crop pixels squared, labelled (B,) bool.

    A weight is 1 for a labelled point, hidden ones included, and 0 for one that is unlabelled or so far outside that
    its Gaussian does not reach into the crop. Unlabelled points are thereby unknown, not taught as absent.

    Raises:
        ValueError: a crop of another size, points of another set.
    """
    points = np.zeros((len(samples), keypoint_count, 2), np.float32)
    weights = np.zeros((len(samples), keypoint_count), np.float32)
    labelled = np.zeros(len(samples), bool)
    area = np.zeros(len(samples), np.float32)
    for i, sample in enumerate(samples):
        if sample.image.shape[:2] != tuple(input_size_hw):
            raise ValueError(f"{sample.key}: a crop of {sample.image.shape[:2]}, the pose task is for {input_size_hw}")
        if sample.keypoints is None:
            continue
        if sample.keypoint_set.name != keypoint_set or len(sample.keypoints) != keypoint_count:
            raise ValueError(
                f"{sample.key}: {len(sample.keypoints)} points of {sample.keypoint_set.name}; "
                f"the pose task learns the {keypoint_count} of {keypoint_set}"
            )
        known = (sample.keypoints[:, 2] > 0) & np.isfinite(sample.keypoints).all(axis=1)
        points[i] = np.where(known[:, None], sample.keypoints[:, :2], 0)
        weights[i] = known
        labelled[i] = True
        area[i] = _area(sample)
    tensors = {
        "points": torch.from_numpy(points),
        "weights": torch.from_numpy(weights),
        "area": torch.from_numpy(area),
        "labelled": torch.from_numpy(labelled),
    }
    tensors["weights"] *= window_inside(tensors["points"], input_size_hw, heatmap_size_hw, sigma)
    return tensors


def heatmap_points(points_BK2: Tensor, input_size_hw: tuple[int, int], heatmap_size_hw: tuple[int, int]) -> Tensor:
    """Crop pixels -> heatmap pixels: divided by (input - 1) / (heatmap - 1), so corner pixels' centres coincide."""
    (height, width), (map_height, map_width) = input_size_hw, heatmap_size_hw
    step = points_BK2.new_tensor([(width - 1) / (map_width - 1), (height - 1) / (map_height - 1)])
    return points_BK2 / step


def window_inside(
    points_BK2: Tensor, input_size_hw: tuple[int, int], heatmap_size_hw: tuple[int, int], sigma: float
) -> Tensor:
    """(B, K) bool: whether the 3-sigma window around a point (crop pixels) reaches into the heatmap, as published."""
    middle = (heatmap_points(points_BK2, input_size_hw, heatmap_size_hw) + 0.5).trunc()
    size, radius = middle.new_tensor([heatmap_size_hw[1], heatmap_size_hw[0]]), math.ceil(3 * sigma)
    return ((middle - radius < size) & (middle + radius + 1 >= 0)).all(dim=-1)


def gaussian_heatmaps(
    points_BK2: Tensor,
    weights_BK: Tensor,
    input_size_hw: tuple[int, int],
    heatmap_size_hw: tuple[int, int],
    sigma: float,
) -> Tensor:
    """(B, K, h, w) float32 heatmaps of points in crop pixels: geometry's `encode_heatmaps` on batches and any device.

    The Gaussian has its centre at the exact point and is cut to a square of 3 sigma around the pixel int(point + 0.5).
    Points of weight 0 get an empty heatmap. sigma is in heatmap pixels (published: 6 at 256 x 192).
    """
    along_y, along_x = gaussian_factors(points_BK2, weights_BK, input_size_hw, heatmap_size_hw, sigma)
    return along_y[..., :, None] * along_x[..., None, :]


def gaussian_factors(
    points_BK2: Tensor,
    weights_BK: Tensor,
    input_size_hw: tuple[int, int],
    heatmap_size_hw: tuple[int, int],
    sigma: float,
) -> tuple[Tensor, Tensor]:
    """(B, K, h) and (B, K, w) float32, whose outer products are the heatmaps of `gaussian_heatmaps`."""
    centers = heatmap_points(points_BK2, input_size_hw, heatmap_size_hw)
    along_x = _gaussian(centers[..., 0], heatmap_size_hw[1], sigma) * (weights_BK > 0)[..., None]
    return _gaussian(centers[..., 1], heatmap_size_hw[0], sigma), along_x


def _gaussian(centers_BK: Tensor, length: int, sigma: float) -> Tensor:
    """(B, K, length): exp(-(i - center)^2 / 2 sigma^2) for pixels i within 3 sigma of the rounded centre, else 0."""
    pixels = torch.arange(length, device=centers_BK.device, dtype=torch.float32)
    distance = pixels - centers_BK[..., None]
    in_window = (pixels - (centers_BK + 0.5).trunc()[..., None]).abs() <= math.ceil(3 * sigma)
    return torch.exp(distance.square() / (-2 * sigma**2)) * in_window


def _area(sample: Sample) -> float:
    """The person's area in the crop as COCO means it: of the mask, or from the box. NaN when there is neither."""
    if sample.mask is not None and sample.mask.any():
        return float(sample.mask.sum())
    if sample.box is not None:
        return float(person_area(sample.box))
    return float("nan")
