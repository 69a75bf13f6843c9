"""Part maps -> class ids, kept at one byte a pixel until the loss."""

from collections.abc import Sequence

import numpy as np
import torch

from opensapiens.data.sample import Sample
from opensapiens.tasks.task import Targets

IGNORE = 255


def segmentation_targets(samples: Sequence[Sample], part_set: str, stride: int = 1) -> Targets:
    """labels (B, H, W) uint8 with 255 = ignore, labelled (B,) bool.

    `stride` keeps every stride-th pixel of every stride-th row, from the middle of the first block.

    Raises:
        ValueError: parts of another set.
    """
    maps = []
    for sample in samples:
        if sample.parts is None:
            parts = np.full(sample.image.shape[:2], IGNORE, np.uint8)
        elif sample.part_set.name != part_set:
            raise ValueError(f"{sample.key}: parts of {sample.part_set.name}; the segmentation task learns {part_set}")
        else:
            parts = sample.parts
        maps.append(parts[stride // 2 :: stride, stride // 2 :: stride])
    labelled = torch.tensor([sample.parts is not None for sample in samples])
    return {"labels": torch.from_numpy(np.stack(maps)), "labelled": labelled}
