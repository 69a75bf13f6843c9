"""The backbone: parts that no parity case reaches, and the published sizes."""

import pytest
import torch
import torch.nn.functional as F

from opensapiens.backbones.position_embedding import sincos_2d
from opensapiens.backbones.sapiens import PUBLISHED_SIZES, SapiensBackbone, SapiensConfig, published_config
from opensapiens.backbones.transformer import PLAIN_UP_TO, Attention, attend

TINY = SapiensConfig((64, 48), embed_dim=32, layers=2, heads=4)


def test_attention_is_the_textbook_one() -> None:
    torch.manual_seed(0)
    attention = Attention(24, 3)
    tokens = torch.randn(2, 5, 24)
    query, key, value = (part.view(2, 5, 3, 8).transpose(1, 2) for part in attention.qkv(tokens).chunk(3, dim=-1))
    weights = (query @ key.transpose(-1, -2) / 8**0.5).softmax(-1)
    expected = attention.projection((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(tokens), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("length", [7, PLAIN_UP_TO + 1])
def test_attention_in_bfloat16_is_that_in_float32(length: int) -> None:
    query, key, value = torch.randn(3, 2, 3, length, 8, generator=torch.Generator().manual_seed(0)).unbind()
    expected = F.scaled_dot_product_attention(query, key, value)
    result = attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    torch.testing.assert_close(result.float(), expected, atol=0.03, rtol=0.03)


def test_patch_padding_shifts_every_patch() -> None:
    torch.manual_seed(0)
    backbone = SapiensBackbone(SapiensConfig((64, 48), 32, 1, 4, patch_padding=2))
    images = torch.randn(1, 3, 64, 48)
    patches, grid = backbone.patch_tokens(images)
    assert grid == (4, 3)
    # Row 1, column 2 sees the pixels [14, 30) x [30, 46).
    projection = backbone.patch_embedding.projection
    expected = F.conv2d(images[:, :, 14:30, 30:46], projection.weight, projection.bias).flatten()
    torch.testing.assert_close(patches[0, 1 * 3 + 2], expected)


def test_a_size_that_is_no_multiple_of_the_patch_is_padded_right_and_below() -> None:
    torch.manual_seed(0)
    backbone = SapiensBackbone(TINY).eval()
    images = torch.randn(1, 3, 50, 41)
    assert TINY.grid((50, 41)) == (4, 3)
    torch.testing.assert_close(backbone(images), backbone(F.pad(images, (0, 7, 0, 14))))


def test_class_token_is_first_and_left_out_of_the_map() -> None:
    torch.manual_seed(0)
    backbone = SapiensBackbone(SapiensConfig((64, 48), 32, 2, 4, class_token=True)).eval()
    images = torch.randn(2, 3, 64, 48)
    tokens = backbone.tokens(images)
    assert tokens.shape == (2, 13, 32)
    torch.testing.assert_close(backbone(images).flatten(2).transpose(1, 2), tokens[:, 1:])


def test_initialization_is_the_published_one_but_for_positions() -> None:
    torch.manual_seed(0)
    backbone = SapiensBackbone(SapiensConfig((256, 192), 128, 1, 4))
    block = backbone.blocks[0]
    assert 0 < block.mlp.fc1.bias.abs().max() < 1e-5
    assert block.attention.qkv.bias.abs().max() == block.attention.projection.bias.abs().max() == 0
    bound = (6 / (128 + 3 * 128)) ** 0.5
    assert bound * 0.98 < block.attention.qkv.weight.abs().max() <= bound
    patch_bound = (6 / (128 + 3 * 16 * 16)) ** 0.5
    assert patch_bound * 0.98 < backbone.patch_embedding.projection.weight.abs().max() <= patch_bound
    torch.testing.assert_close(backbone.position_embedding.detach(), sincos_2d(128, backbone.config.grid()))
    assert backbone.position_embedding.requires_grad


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 5}, "not divisible by 5 heads"),
        ({"image_size": (64,)}, "image_size must be"),
        ({"image_size": (64, 8)}, "image_size must be"),
    ],
)
def test_impossible_configs_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SapiensConfig(**{"image_size": (64, 48), "embed_dim": 32, "layers": 2, "heads": 4, **wrong})


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_published_sizes_run_on_the_meta_device(size: str) -> None:
    with torch.device("meta"):
        backbone = SapiensBackbone(published_config(size, (1024, 768)))
        features = backbone(torch.empty(1, 3, 1024, 768))
    assert features.shape == (1, PUBLISHED_SIZES[size]["embed_dim"], 64, 48)


def test_an_unknown_published_size_names_the_known() -> None:
    with pytest.raises(ValueError, match=r"0\.3b, 0\.6b, 1b, 2b"):
        published_config("3b", (1024, 768))
