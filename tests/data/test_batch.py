"""Crops as tensors."""

import numpy as np
import torch

from opensapiens.data.batch import stack_images
from opensapiens.geometry.view import Preprocessing


def test_images_are_stacked_and_normalized_by_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 4, 3), dtype=np.uint8)
    stacked = stack_images(list(images))
    assert stacked.dtype == torch.uint8 and stacked.shape == (2, 3, 6, 4)
    normalized = Preprocessing((6, 4), (10, 20, 30), (2, 4, 8)).normalize(stacked)
    expected = (images.astype(np.float32) - (10, 20, 30)) / (2, 4, 8)
    assert normalized.dtype == torch.float32
    np.testing.assert_allclose(normalized.permute(0, 2, 3, 1).numpy(), expected, rtol=1e-6)
