"""What the loader says of images without labels. The patches to predict are made on the device, from the input."""

import torch

from opensapiens.tasks.task import Targets


def masked_counts(images: int, masked: int) -> Targets:
    """masked (B,) int64: how many patches are hidden of each image; labelled (B,): all of them."""
    return {"masked": torch.full((images,), masked), "labelled": torch.ones(images, dtype=torch.bool)}
