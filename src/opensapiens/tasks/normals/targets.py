"""Surface normals -> unit vectors, with a mark where there is no person."""

from collections.abc import Sequence

import numpy as np
import torch

from opensapiens.data.sample import Sample
from opensapiens.tasks.task import Targets

BACKGROUND = -1000.0
VALID_ABOVE = -100.0


def normal_target(normals_HW3: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """(3, H, W) float32: normals divided by their length + 1e-6 inside the mask (the published rule), -1000 outside."""
    length = np.linalg.norm(normals_HW3, axis=-1, keepdims=True) + 1e-6
    target = np.where(mask_HW[..., None], normals_HW3 / length, np.float32(BACKGROUND))
    return np.ascontiguousarray(target.transpose(2, 0, 1), dtype=np.float32)


def normals_targets(samples: Sequence[Sample], stride: int = 1) -> Targets:
    """normals (B, 3, H, W) float16 (half the traffic from the loader; 0.03 degrees), labelled (B,) bool.

    The person is where the normal is finite, and inside the mask where there is one. `stride` as for body parts.
    """
    maps = []
    for sample in samples:
        picked = slice(stride // 2, None, stride)
        if sample.normals is None:
            height, width = np.zeros(sample.image.shape[:2], bool)[picked, picked].shape
            maps.append(np.full((3, height, width), BACKGROUND, np.float16))
            continue
        normals = sample.normals[picked, picked]
        person = np.isfinite(normals).all(axis=-1)
        if sample.mask is not None:
            person &= sample.mask[picked, picked]
        maps.append(normal_target(normals, person).astype(np.float16))
    labelled = torch.tensor([sample.normals is not None for sample in samples])
    return {"normals": torch.from_numpy(np.stack(maps)), "labelled": labelled}
