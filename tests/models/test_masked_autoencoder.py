"""The masked autoencoder beyond its parity cases."""

import pytest
import torch

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.models.masked_autoencoder import (
    HEAD,
    MaskedAutoencoder,
    draw_masking,
    patchify,
    unpatchify,
)

TINY = SapiensConfig((64, 48), 32, 2, 4, class_token=True)


def tiny_autoencoder() -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(TINY, decoder_dim=16, decoder_layers=1, decoder_heads=2)


def test_every_parameter_but_the_fixed_tables_gets_a_gradient() -> None:
    model = tiny_autoencoder()
    images = torch.randn(2, 3, 64, 48)
    output = model(images)[HEAD]
    (output.prediction_BNP - output.target_BNP).square().mean().backward()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"backbone.position_embedding", "decoder.position_embedding"}
    for name, parameter in model.named_parameters():
        if name not in frozen:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_hidden_pixels_cannot_reach_the_prediction() -> None:
    model = tiny_autoencoder().eval()
    images, noise = torch.randn(1, 3, 64, 48), torch.rand(1, 12)
    before = model.reconstruct(images, noise)
    patches = patchify(images, 16)
    patches[before.masking.mask_BN.bool()] += 5
    after = model.reconstruct(unpatchify(patches, (4, 3), 16), noise)
    assert torch.equal(after.prediction_BNP, before.prediction_BNP)


def test_masking_keeps_the_lowest_noise() -> None:
    masking = draw_masking(torch.tensor([[0.9, 0.1, 0.5, 0.3]]), 0.5)
    assert masking.kept_BK.tolist() == [[1, 3]]
    assert masking.mask_BN.tolist() == [[1, 0, 1, 0]]
    assert masking.restore_BN.tolist() == [[3, 0, 2, 1]]
    with pytest.raises(ValueError, match="keeps none of 4 patches"):
        draw_masking(torch.rand(1, 4), 0.8)


def test_patches_are_row_column_channel() -> None:
    images = torch.arange(2 * 3 * 8 * 4).view(2, 3, 8, 4).float()
    patches = patchify(images, 4)
    assert patches.shape == (2, 2, 48)
    assert torch.equal(patches[1, 1].view(4, 4, 3), images[1, :, 4:8].permute(1, 2, 0))
    assert torch.equal(unpatchify(patches, (2, 1), 4), images)


def test_the_encoder_never_computes_hidden_patches() -> None:
    model = tiny_autoencoder()
    lengths: list[int] = []
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda _block, _inputs, tokens: lengths.append(tokens.shape[1]))
    model(torch.randn(2, 3, 64, 48))
    assert lengths == [1 + 3] * 2  # the class token and a quarter of 12 patches


def test_seeds_decide_what_is_hidden() -> None:
    model, images = tiny_autoencoder(), torch.randn(3, 3, 64, 48)
    together = model(images, seeds_B=torch.tensor([5, 6, 5]))[HEAD]
    alone = model(images[2:], seeds_B=torch.tensor([5]))[HEAD]
    masks = together.masking.mask_BN
    assert torch.equal(masks[0], masks[2]) and not torch.equal(masks[0], masks[1])
    torch.testing.assert_close(together.prediction_BNP[2:], alone.prediction_BNP)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SapiensConfig((64, 48), 32, 2, 4), "set class_token=True"),
        (SapiensConfig((64, 50), 32, 2, 4, class_token=True), "not made of patches of 16"),
    ],
)
def test_unfit_encoders_are_refused(config: SapiensConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedAutoencoder(config)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(48, 48\) pixels given, the model is for \(64, 48\)"):
        tiny_autoencoder()(torch.randn(1, 3, 48, 48))
