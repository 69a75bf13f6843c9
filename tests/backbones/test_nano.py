"""The convolutional stem beside the patches, the decoder behind the blocks, and the place of a crop in its picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from opensapiens.backbones.nano import PLACE, ConvolutionalDecoder, ConvolutionalStem, NanoBackbone, NanoConfig
from opensapiens.geometry.location import moved_picture, whole_picture

CONFIG = NanoConfig((64, 48), 32, 2, 4, (8, 16, 24))


@pytest.fixture
def backbone() -> NanoBackbone:
    torch.manual_seed(0)
    return NanoBackbone(CONFIG)


def test_the_stem_halves_down_to_the_patches() -> None:
    maps, at_patches = ConvolutionalStem((8, 16, 24), 32)(torch.randn(2, 3, 64, 48))
    assert [tuple(m.shape) for m in maps] == [(2, 8, 32, 24), (2, 16, 16, 12), (2, 24, 8, 6)]
    assert at_patches.shape == (2, 32, 4, 3)


def test_what_the_stem_sees_at_a_patch_is_added_to_its_token(backbone: NanoBackbone) -> None:
    images = torch.randn(1, 3, 64, 48)
    expected = backbone.patch_embedding(images) + backbone.stem(images)[1]
    token = backbone.embed(images)[0][0, 1 * 3 + 2] - backbone.position_embedding[0, 1 * 3 + 2]
    torch.testing.assert_close(token, expected[0, :, 1, 2], atol=1e-6, rtol=1e-5)


def test_features_have_stride_4_and_the_width_of_the_stem_there(backbone: NanoBackbone) -> None:
    assert (CONFIG.feature_stride, CONFIG.feature_channels) == (4, 16)
    assert backbone(torch.randn(2, 3, 64, 48)).shape == (2, 16, 16, 12)


def test_the_decoder_adds_the_stems_maps_before_it_normalizes() -> None:
    torch.manual_seed(0)
    decoder, features = ConvolutionalDecoder((24, 16), 32), torch.randn(1, 32, 4, 3)
    pyramid = [torch.randn(1, 8, 32, 24), torch.randn(1, 16, 16, 12), torch.randn(1, 24, 8, 6)]
    coarse = decoder.levels[0](decoder.ups[0](features) + pyramid[2])
    up = F.conv_transpose2d(coarse, decoder.ups[1].weight, stride=2, padding=1)
    maps = F.silu(F.group_norm(up + pyramid[1], 8))
    for block in decoder.levels[1][2:]:
        maps = maps + F.silu(F.group_norm(F.conv2d(maps, block.convolution.weight, padding=1), 8))
    torch.testing.assert_close(decoder(features, pyramid), maps, atol=1e-5, rtol=1e-5)


def test_coarser_features_are_the_first_steps_of_the_decoder(backbone: NanoBackbone) -> None:
    coarse = replace(CONFIG, feature_stride=8, layers=1).build()
    assert coarse.config.feature_channels == 24
    fitted = coarse.fitted(backbone.state_dict(), CONFIG)
    coarse.load_state_dict(fitted)
    assert fitted.keys() < backbone.state_dict().keys(), "the first block and the coarse maps are taken"
    del backbone.blocks[1:]
    images = torch.randn(2, 3, 64, 48)
    tokens, grid, pyramid = backbone.embed(images)
    features = backbone.encode(tokens).transpose(1, 2).unflatten(2, grid)
    expected = backbone.decoder.levels[0](backbone.decoder.ups[0](features) + pyramid[2])
    torch.testing.assert_close(coarse(images), expected)


def test_every_parameter_gets_a_gradient(backbone: NanoBackbone) -> None:
    (backbone(torch.randn(2, 3, 64, 48)) - torch.randn(2, 16, 16, 12)).square().mean().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-8, name


def test_a_size_that_is_no_multiple_of_the_patch_is_padded_as_for_the_patches(backbone: NanoBackbone) -> None:
    images = torch.randn(1, 3, 50, 41)
    torch.testing.assert_close(backbone(images), backbone(F.pad(images, (0, 7, 0, 14))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_channels": (8, 16)}, "not 2 maps"),
        ({"stem_channels": (8, 16, 20)}, "multiples of 8"),
        ({"stem_channels": (8, 16, 10**6)}, "stem_channels must be between 1 and 65,536"),
        ({"feature_stride": 2}, "a power of two from 4 to 8"),
        ({"layers": 10**9}, "layers must be between 1 and 1,024"),
    ],
)
def test_a_stem_that_does_not_fit_is_refused(change: dict, message: str) -> None:
    shape = {"image_size": (64, 48), "embed_dim": 32, "layers": 2, "heads": 4, "stem_channels": (8, 16, 24)}
    with pytest.raises(ValueError, match=message):
        NanoConfig(**{**shape, **change})


def place(picture: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return CONFIG.view_inputs(picture, size_hw)[PLACE]


def test_a_picture_lies_in_the_middle_of_itself_and_a_corner_half_a_diagonal_away() -> None:
    np.testing.assert_allclose(place(whole_picture((30, 40)), (30, 40)), 0)
    corner = moved_picture(whole_picture((30, 40)), np.array([[1.0, 0, -35], [0, 1, -25]]))  # its last 5 x 5 pixels
    np.testing.assert_allclose(place(corner, (5, 5)), [17.5 / 50, 12.5 / 50], atol=1e-6)


def test_a_zoomed_crop_lies_where_it_did_and_a_turned_one_along_its_own_axes() -> None:
    zoomed = moved_picture(whole_picture((30, 40)), np.array([[3.0, 0, -90], [0, 3.0, -60]]))  # of 10 x 10 pixels
    np.testing.assert_allclose(place(zoomed, (31, 31)), [15.5 / 50, 10.5 / 50], atol=1e-6)
    # The content turns clockwise by 90 degrees: what is right of the middle is below it then.
    turned = moved_picture(np.array([0.0, 0, 100]), np.array([[0.0, -1, 4], [1, 0, -20]]))
    np.testing.assert_allclose(place(turned, (9, 9)), [0, 0.24], atol=1e-6)


def test_a_mirrored_crop_is_as_far_on_the_other_side() -> None:
    places = torch.tensor([[0.2, -0.1], [-0.3, 0.2]])
    assert torch.equal(CONFIG.mirrored({PLACE: places})[PLACE], torch.tensor([[-0.2, -0.1], [0.3, 0.2]]))
