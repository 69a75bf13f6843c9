"""The task of masked pretraining, and the pictures it makes."""

import numpy as np
import pytest
import torch

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.data.sample import Sample
from opensapiens.geometry.view import Preprocessing
from opensapiens.models.masked_autoencoder import HEAD, MaskedAutoencoder
from opensapiens.tasks.masked_pretraining import (
    HIDDEN_GRAY,
    MaskedPretrainingTask,
    draw_reconstructions,
    reconstruct,
    reconstruction_error,
)

PREPROCESSING = Preprocessing((64, 64), resize="squash")


@pytest.fixture
def model() -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(SapiensConfig((64, 64), 16, 1, 2, class_token=True), 16, 1, 2).eval()


def test_hidden_patches_alone_count() -> None:
    prediction, target = torch.zeros(1, 3, 4), torch.tensor([[[1.0] * 4, [2.0] * 4, [9.0] * 4]])
    assert reconstruction_error(prediction, target, torch.tensor([[1.0, 1.0, 0.0]])).tolist() == [1 + 4]


def test_hidden_patches_are_counted_of_the_image_that_is_cropped() -> None:
    targets = MaskedPretrainingTask(16, 0.75).prepare_targets([Sample(np.zeros((32, 64, 3), np.uint8))] * 2)
    assert targets["masked"].tolist() == [6, 6] and targets["labeled"].all()


def test_pieces_with_the_whole_count_add_up_to_the_whole(model: MaskedAutoencoder) -> None:
    task = MaskedPretrainingTask(16, 0.75)
    samples = [Sample(np.zeros((64, 64, 3), np.uint8))] * 3
    images, seeds = torch.randn(3, 3, 64, 64), torch.tensor([1, 2, 3])
    targets = task.prepare_targets(samples)
    whole = task.losses(model(images, seeds_B=seeds)[HEAD], targets)["reconstruction"]
    count = task.count(targets)
    assert count == 3 * 12
    parts = [
        task.losses(model(images[p], seeds_B=seeds[p])[HEAD], task.prepare_targets(samples[p]), count)
        for p in (slice(0, 1), slice(1, 3))
    ]
    assert sum(part["reconstruction"] for part in parts).item() == pytest.approx(whole.item(), rel=1e-5)


def test_shown_patches_stay_as_they_are(model: MaskedAutoencoder) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    made = reconstruct(model, image, PREPROCESSING, 0.5, seed=3)
    blocks = made.hidden.reshape(4, 16, 4, 16)
    assert (blocks.all(axis=(1, 3)) == blocks.any(axis=(1, 3))).all()  # whole patches
    assert made.hidden.mean() == 0.5
    assert (made.image[~made.hidden] == image[~made.hidden]).all()
    assert (made.image[made.hidden] != image[made.hidden]).any(axis=-1).mean() > 0.9
    assert model.mask_ratio == 0.75
    for row in range(4):  # each hidden patch has the image's mean: the model says nothing of it
        patch = np.s_[16 * row : 16 * row + 16, :16]
        if made.hidden[patch].all():
            assert abs(made.image[patch].mean() - image[patch].mean()) < 60
    with pytest.raises(ValueError, match="keeps none"):
        reconstruct(model, image, PREPROCESSING, 0.99)


def test_the_sheet_has_two_pictures_more_for_each_ratio(model: MaskedAutoencoder) -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    made = [[reconstruct(model, image, PREPROCESSING, ratio)] for ratio in (0.5, 0.9)]
    one, two = (draw_reconstructions([image], rows, height=64) for rows in (made[:1], made))
    assert two.shape[0] == one.shape[0] and two.shape[1] > 1.5 * one.shape[1]
    assert (one == HIDDEN_GRAY).all(axis=-1).sum() >= 0.5 * 64 * 64
