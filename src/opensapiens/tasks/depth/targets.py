"""Depth -> 0 (nearest) to 1 (farthest) within the person in the crop; background -1, never supervised."""

from collections.abc import Sequence

import numpy as np
import torch

from opensapiens.data.sample import Sample
from opensapiens.tasks.task import Targets

BACKGROUND = -1.0


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


def depth_targets(samples: Sequence[Sample], stride: int = 1) -> Targets:
    """depth (B, H, W) float32, nearest and range (B,) in the label's unit, labelled (B,) bool.

    The person is where the depth is finite, and inside the mask where there is one. `stride` as for body parts.
    """
    maps, nearest, extent = [], [], []
    for sample in samples:
        depth = sample.depth if sample.depth is not None else np.full(sample.image.shape[:2], np.nan, np.float32)
        person = np.isfinite(depth) if sample.mask is None else np.isfinite(depth) & sample.mask
        target, *span = normalized_depth(depth, person)
        maps.append(target[stride // 2 :: stride, stride // 2 :: stride])
        nearest.append(span[0])
        extent.append(span[1])
    return {
        "depth": torch.from_numpy(np.stack(maps)),
        "nearest": torch.tensor(nearest),
        "range": torch.tensor(extent),
        "labelled": torch.tensor([sample.depth is not None for sample in samples]),
    }
