"""The convolutional stem beside the patches, and the decoder behind the blocks."""

import pytest
import torch
import torch.nn.functional as F

from opensapiens.models.convolutional_pyramid import ConvolutionalDecoder, ConvolutionalStem
from opensapiens.models.vit import VisionTransformer, ViTConfig

CONFIG = ViTConfig((64, 48), 32, 2, 4, stem_channels=(8, 16, 24))


@pytest.fixture
def backbone() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(CONFIG)


def test_the_stem_halves_down_to_the_patches() -> None:
    maps, at_patches = ConvolutionalStem((8, 16, 24), 32)(torch.randn(2, 3, 64, 48))
    assert [tuple(m.shape) for m in maps] == [(2, 8, 32, 24), (2, 16, 16, 12), (2, 24, 8, 6)]
    assert at_patches.shape == (2, 32, 4, 3)


def test_what_the_stem_sees_at_a_patch_is_added_to_its_token(backbone: VisionTransformer) -> None:
    images = torch.randn(1, 3, 64, 48)
    expected = backbone.patch_embedding(images) + backbone.stem(images)[1]
    torch.testing.assert_close(backbone.patch_tokens(images)[0][0, 1 * 3 + 2], expected[0, :, 1, 2])


def test_features_have_stride_4_and_the_width_of_the_stem_there(backbone: VisionTransformer) -> None:
    assert (CONFIG.feature_stride, CONFIG.feature_channels) == (4, 16)
    assert backbone(torch.randn(2, 3, 64, 48)).shape == (2, 16, 16, 12)
    plain = ViTConfig((64, 48), 32, 2, 4)
    assert (plain.feature_stride, plain.feature_channels) == (16, 32)


def test_the_decoder_adds_the_stems_maps_before_it_normalises() -> None:
    torch.manual_seed(0)
    decoder, features = ConvolutionalDecoder((8, 16, 24), 32), torch.randn(1, 32, 4, 3)
    pyramid = [torch.randn(1, 8, 32, 24), torch.randn(1, 16, 16, 12), torch.randn(1, 24, 8, 6)]
    coarse = decoder.levels[0](decoder.ups[0](features) + pyramid[2])
    up = F.conv_transpose2d(coarse, decoder.ups[1].weight, stride=2, padding=1)
    maps = F.silu(F.group_norm(up + pyramid[1], 8))
    for block in decoder.levels[1][2:]:
        maps = maps + F.silu(F.group_norm(F.conv2d(maps, block.convolution.weight, padding=1), 8))
    torch.testing.assert_close(decoder(features, pyramid), maps, atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient(backbone: VisionTransformer) -> None:
    (backbone(torch.randn(2, 3, 64, 48)) - torch.randn(2, 16, 16, 12)).square().mean().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-8, name


def test_a_size_that_is_no_multiple_of_the_patch_is_padded_as_for_the_patches(backbone: VisionTransformer) -> None:
    images = torch.randn(1, 3, 50, 41)
    torch.testing.assert_close(backbone(images), backbone(F.pad(images, (0, 7, 0, 14))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_channels": (8, 16)}, "not 2 maps"),
        ({"stem_channels": (8, 16, 20)}, "multiples of 8"),
        ({"class_token": True}, "goes with neither"),
        ({"patch_padding": 2}, "goes with neither"),
    ],
)
def test_a_stem_that_does_not_fit_is_refused(change: dict, message: str) -> None:
    shape = {"image_size": (64, 48), "embed_dim": 32, "layers": 2, "heads": 4, "stem_channels": (8, 16, 24)}
    with pytest.raises(ValueError, match=message):
        ViTConfig(**{**shape, **change})
