"""The Sapiens2 backbone: its published sizes to the unit, and what no parity case reaches."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opensapiens.backbones.rotary import rotary_periods
from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.backbones.sapiens2 import PUBLISHED_SIZES, Sapiens2Backbone, Sapiens2Config, published_config
from opensapiens.models.cost import full_flops, parameters
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder

TINY = Sapiens2Config((64, 48), embed_dim=32, layers=3, heads=4, key_value_heads=(4, 2, 4), hidden_dim=48)
WINDOWED = replace(TINY, image_size=(128, 192), patch_size=64, window=4, tokenizer_layers=2)

# Counted on the published code's own modules: parameters, tensors, the published TFLOPs.
PUBLISHED = {
    "0.1b": (113_993_472, 210, 0.342),
    "0.4b": (395_450_368, 414, 1.260),
    "0.8b": (814_283_520, 550, 2.592),
    "1b": (1_455_474_176, 686, 4.715),
    "1b-4k": (1_606_588_928, 744, None),
    "5b": (5_066_902_976, 958, 15.722),
}


def image_size(size: str) -> tuple[int, int]:
    return (4096, 3072) if size == "1b-4k" else (1024, 768)


def backbone_of(config: Sapiens2Config, seed: int = 0) -> Sapiens2Backbone:
    """A network with random weights, also where they start at constants."""
    torch.manual_seed(seed)
    backbone = config.build().eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1 if parameter.ndim == 1 else 0))
    return backbone


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_published_sizes_to_the_unit(size: str) -> None:
    assert list(PUBLISHED) == list(PUBLISHED_SIZES)
    config = published_config(size, image_size(size))
    with torch.device("meta"):
        backbone = config.build()
        features = backbone(torch.empty(1, 3, *config.image_size))
    assert (parameters(backbone), len(backbone.state_dict())) == PUBLISHED[size][:2]
    assert features.shape == (1, config.embed_dim, 64, 48)


@pytest.mark.parametrize("size", [size for size, row in PUBLISHED.items() if row[2] is not None])
def test_flops_stand_beside_the_published_ones(size: str) -> None:
    # The published tool is not known; without attention products and with a multiply-add as one, it comes within 6 %.
    config = published_config(size, image_size(size))
    tokens = 64 * 48 + config.prefix_tokens
    linear = config.multiply_adds() - config.layers * 2 * tokens**2 * config.embed_dim
    assert linear / 1e12 == pytest.approx(PUBLISHED[size][2], rel=0.06)


@pytest.mark.parametrize("config", [TINY, WINDOWED])
def test_flops_are_what_torch_counts(config: Sapiens2Config) -> None:
    model = HumanModel(config.build(), {}).eval()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model.backbone(torch.zeros(1, 3, *config.image_size))
    assert full_flops(config) == counter.get_total_flops()


def test_periods_are_the_published_ones_where_rounding_matters() -> None:
    of_76 = [1, 1.2734, 1.625, 2.0781, 2.6406, 3.375, 4.2812, 5.4688, 6.9688, 8.875]
    of_76 += [11.3125, 14.3125, 18.375, 23.25, 30, 37.75, 48.75, 61.5, 79]
    torch.testing.assert_close(rotary_periods(76, "bfloat16"), torch.tensor(of_76), atol=5.1e-5, rtol=0)
    exact = torch.tensor([100 ** (4 * j / 76) for j in range(19)])
    torch.testing.assert_close(rotary_periods(76, "float32"), exact)
    assert (rotary_periods(76, "bfloat16") != exact.bfloat16().float()).sum() == 9


def test_bfloat16_rotation_uses_the_stored_periods() -> None:
    backbone, images = backbone_of(TINY), torch.randn(1, 3, 64, 48)
    before = backbone(images)
    backbone.periods.mul_(2)
    assert (backbone(images) - before).abs().max() > 1e-3
    assert backbone.state_dict()["periods"].equal(2 * rotary_periods(8, "bfloat16"))


def test_what_a_token_is_turned_by_does_not_depend_on_the_type_of_the_weights() -> None:
    backbone = backbone_of(TINY)
    expected = backbone.rotation((4, 3))
    assert backbone.half().rotation((4, 3)).equal(expected) and expected.dtype == torch.bfloat16


def test_kept_patches_are_encoded_as_if_there_were_no_others() -> None:
    backbone, images = backbone_of(TINY), torch.randn(2, 3, 64, 48)
    kept = torch.tensor([[7, 0, 3], [1, 11, 2]])
    tokens = backbone.tokens(images, kept)
    assert tokens.shape == (2, 9 + 3, 32)
    # A patch turns by its own place: each image alone, its rotation picked by hand.
    for index in range(2):
        whole, rotation, _ = backbone.embed(images[index : index + 1])
        picked = torch.cat([whole[:, :9], whole[:, 9:][:, kept[index]]], dim=1)
        torch.testing.assert_close(tokens[index : index + 1], backbone.encode(picked, rotation[:, kept[index]]))
    torch.testing.assert_close(backbone.tokens(images, torch.arange(12).expand(2, -1)), backbone.tokens(images))


def test_queries_share_neighboring_keys() -> None:
    backbone, images = backbone_of(TINY), torch.randn(1, 3, 64, 48)
    full = replace(TINY, key_value_heads=(4, 4, 4))
    tensors = backbone.state_dict()
    for layer in ("key", "value"):
        for kind in ("weight", "bias"):
            name = f"blocks.1.attention.{layer}.{kind}"
            tensors[name] = tensors[name].unflatten(0, (2, 8)).repeat_interleave(2, dim=0).flatten(0, 1)
    copied = full.build().eval()
    copied.load_state_dict(tensors)
    torch.testing.assert_close(copied(images), backbone(images))


def test_windows_are_pooled_in_pieces_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, images = backbone_of(WINDOWED), torch.randn(1, 3, 128, 192)
    at_once = backbone(images)
    assert at_once.shape == (1, 32, 2, 3)
    monkeypatch.setattr("opensapiens.backbones.sapiens2.WINDOWS_AT_ONCE", 4)
    torch.testing.assert_close(backbone(images), at_once)
    torch.testing.assert_close(backbone(torch.nn.functional.pad(images, (0, 9, 0, 63))), at_once)


def test_masked_pretraining_runs_and_gives_every_parameter_a_gradient() -> None:
    torch.manual_seed(0)
    for config in (TINY, WINDOWED):
        model = MaskedAutoencoder(config, 16, 1, 2, mask_ratio=0.5)
        output = model(torch.randn(2, 3, *config.image_size))["masked_pretraining"]
        output.prediction_BNP.square().mean().backward()
        # The class token of the last block is not decoded.
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_layers_and_weight_decay_are_the_published_ones() -> None:
    backbone = WINDOWED.build()
    assert backbone.layer_of("tokenizer.blocks.1.norm1.weight") == backbone.layer_of("registers") == 0
    assert backbone.layer_of("blocks.2.attention.scale") == 3 and backbone.layer_of("norm.weight") == 4
    assert set(backbone.no_decay()) == {"tokenizer.position_embedding"} <= dict(backbone.named_parameters()).keys()
    assert not TINY.build().no_decay()


def test_initialization_is_the_published_one() -> None:
    torch.manual_seed(0)
    backbone = replace(TINY, embed_dim=128, hidden_dim=256).build()
    block = backbone.blocks[0]
    assert block.attention.scale.eq(1e-4).all() and block.norm1.weight.eq(1).all()
    assert block.mlp.fc1.bias.eq(0).all() and backbone.patch_embedding.projection.bias.eq(0).all()
    for weight in (block.mlp.fc1.weight, backbone.patch_embedding.projection.weight, backbone.registers):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"key_value_heads": (4, 4)}, "of 2 blocks, and there are 3"),
        ({"key_value_heads": (4, 3, 4)}, "not divisible by each"),
        ({"heads": 16, "key_value_heads": (16, 8, 16)}, "2 channels is not divisible by 4"),
        ({"window": 4}, "a tokenizer has layers"),
        ({"tokenizer_layers": 1}, "a tokenizer has layers"),
        ({"hidden_dim": 0}, "hidden_dim must be"),
    ],
)
def test_impossible_configs_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **wrong)


def test_starts_from_its_own_shape_only() -> None:
    backbone = backbone_of(TINY)
    assert (
        backbone.fitted(backbone.state_dict(), replace(TINY, image_size=(128, 96))).keys()
        == backbone.state_dict().keys()
    )
    with pytest.raises(ValueError, match="of the family sapiens cannot start"):
        backbone.fitted({}, SapiensConfig((64, 48), 32, 3, 4))
    with pytest.raises(ValueError, match=r"3 blocks with 12 heads .* one of 3 with 10"):
        backbone.fitted({}, replace(TINY, key_value_heads=(4, 4, 4)))


def test_an_unknown_published_size_names_the_known() -> None:
    with pytest.raises(ValueError, match=r"0\.1b, 0\.4b, 0\.8b, 1b, 1b-4k, 5b"):
        published_config("2b", (1024, 768))


def test_a_block_is_what_the_paper_describes() -> None:
    backbone = backbone_of(replace(TINY, rope_dtype="float32"))
    block, tokens = backbone.blocks[1], torch.randn(1, 9 + 12, 32)
    attention = block.attention

    def rms(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return values / (values.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * weight

    normed = rms(tokens, block.norm1.weight)[0]
    query, key, value = (layer(normed).view(21, -1, 8) for layer in (attention.query, attention.key, attention.value))
    query, key = rms(query, attention.query_norm.weight), rms(key, attention.key_norm.weight)
    # Channels j and j + 4 of a head turn together: two pairs with the row, two with the column, periods 1 and 10.
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(3), indexing="ij")
    places = torch.stack([(2 * rows + 1) / 4 - 1, (2 * columns + 1) / 3 - 1], dim=-1).view(12, 2, 1)
    angles = (2 * torch.pi * places / torch.tensor([1.0, 10.0])).flatten(1)
    turn = torch.polar(torch.ones(12, 4), angles)[:, None]
    for heads in (query, key):
        pairs = torch.complex(heads[9:, :, :4], heads[9:, :, 4:]) * turn
        heads[9:] = torch.cat([pairs.real, pairs.imag], dim=-1)
    mixed = torch.empty(21, 4, 8)
    for head in range(4):  # heads 0 and 1 of the queries share head 0 of the keys
        shared = head // 2
        weights = (query[:, head] @ key[:, shared].T / 8**0.5).softmax(dim=-1)
        mixed[:, head] = weights @ value[:, shared]
    after = tokens[0] + attention.projection(mixed.flatten(1)) * attention.scale
    first = block.mlp.fc1(rms(after, block.norm2.weight))
    gate, values = first[:, :48], first[:, 48:]
    expected = after + block.mlp.fc2(gate * gate.sigmoid() * values)
    torch.testing.assert_close(block(tokens, backbone.rotation((4, 3)))[0], expected, atol=1e-5, rtol=1e-5)


def test_rounded_positions_are_close_to_exact_ones_and_not_equal() -> None:
    backbone, images = backbone_of(TINY), torch.randn(1, 3, 64, 48)
    exact = replace(TINY, rope_dtype="float32").build().eval()
    exact.load_state_dict(backbone.state_dict())
    difference = (backbone(images) - exact(images)).abs()
    assert 1e-4 < difference.max() < 0.2
