"""Parameters and FLOPs of every published model, to the unit and to the printed digit."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opensapiens.backbones import BackboneConfig
from opensapiens.backbones.nano import NanoConfig
from opensapiens.backbones.sapiens import (
    PUBLISHED_SIZES,
    SapiensBackbone,
    SapiensConfig,
    published_config,
)
from opensapiens.backbones.transformer import linear_multiply_adds
from opensapiens.models.cost import full_flops, parameters
from opensapiens.models.heads import build_head
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.tasks import TASKS

SIZES = ["0.3b", "0.6b", "1b", "2b"]
# Counted on the published code's own modules.
BACKBONE = [306_244_608, 634_597_120, 1_139_163_648, 2_131_943_040]
ENCODER = [307_295_232, 635_910_400, 1_140_739_584, 2_133_912_960]
ENCODER_WITHOUT_POSITIONS = [303_099_904, 630_666_240, 1_134_446_592, 2_126_046_720]
DECODER = [28_237_056, 28_368_128, 28_499_200, 28_695_808]
DECODER_TRAINABLE = [26_139_392, 26_270_464, 26_401_536, 26_598_144]
LAYER = [12_596_224, 19_677_440, 28_331_520, 44_261_760]
HEADS = {
    ("pose", 17): [23_214_353, 26_360_081, 29_505_809, 34_224_401],
    ("pose", 133): [23_303_557, 26_449_285, 29_595_013, 34_313_605],
    ("pose", 308): [23_438_132, 26_583_860, 29_729_588, 34_448_180],
    ("segmentation", 28): [33_250_588, 36_396_316, 39_542_044, 44_260_636],
    ("depth", 1): [13_665_409, 15_238_273, 16_811_137, 19_170_433],
    ("normals", 3): [33_231_363, 36_377_091, 39_522_819, 44_241_411],
}
FLOPS_IN_THE_PAPER = ["1.242", "2.583", "4.647", "8.709"]
TOTAL_IN_THE_PAPER = ["0.336", "0.664", "1.169", "2.163"]


def test_the_table_of_sizes_is_complete() -> None:
    assert list(PUBLISHED_SIZES) == SIZES


@pytest.mark.parametrize("index", range(4), ids=SIZES)
def test_backbone_and_decoder_parameters(index: int) -> None:
    with torch.device("meta"):
        backbone = SapiensBackbone(published_config(SIZES[index], (1024, 768), patch_padding=2))
        autoencoder = MaskedAutoencoder(published_config(SIZES[index], (1024, 1024), class_token=True))
    encoder, decoder = autoencoder.get_submodule("backbone"), autoencoder.decoder
    assert parameters(backbone) == BACKBONE[index]
    assert parameters(backbone.blocks[0]) == LAYER[index]
    assert parameters(encoder) == ENCODER[index]
    # The encoder's frozen tensor is its position embedding.
    assert parameters(encoder, trainable_only=True) == ENCODER_WITHOUT_POSITIONS[index]
    assert parameters(decoder) == DECODER[index]
    assert parameters(decoder, trainable_only=True) == DECODER_TRAINABLE[index]
    assert f"{parameters(autoencoder) / 1e9:.3f}" == TOTAL_IN_THE_PAPER[index]


@pytest.mark.parametrize(("task", "channels"), HEADS)
def test_head_parameters(task: str, channels: int) -> None:
    for index, size in enumerate(SIZES):
        with torch.device("meta"):
            head = build_head(PUBLISHED_SIZES[size]["embed_dim"], channels, TASKS[task].published)
        assert parameters(head) == HEADS[task, channels][index]


@pytest.mark.parametrize("index", range(4), ids=SIZES)
def test_multiply_adds_are_what_the_paper_counted(index: int) -> None:
    # Its tool counted no attention products, and five operations for each element that a layer norm touches.
    config, tokens = published_config(SIZES[index], (1024, 1024)), 64 * 64 + 1
    patches = (tokens - 1) * 3 * config.patch_size**2 * config.embed_dim
    norms = 5 * (2 * config.layers + 1) * tokens * config.embed_dim
    linear = config.layers * linear_multiply_adds(config.embed_dim, config.mlp_ratio, tokens)
    assert f"{(linear + patches + norms) / 1e12:.3f}" == FLOPS_IN_THE_PAPER[index]


@pytest.mark.parametrize(
    "config",
    [
        SapiensConfig((80, 48), 32, 3, 4),
        SapiensConfig((80, 48), 32, 3, 4, class_token=True),
        NanoConfig((80, 48), 32, 3, 4, (8, 16, 24)),
    ],
)
def test_full_flops_are_what_torch_counts(config: BackboneConfig) -> None:
    width = config.feature_channels
    heads = (UpsamplingHead(width, 17, (24, 12), (8,)), UpsamplingHead(width, 1, (6, 6, 6, 6), (5, 4)))
    model = HumanModel(config.build(), {"pose": heads[0], "depth": heads[1]}).eval()
    # torch counts attention in this form only, of those that a CPU has.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 80, 48))
    assert full_flops(config, heads) == counter.get_total_flops()


def test_full_flops_of_a_published_model_stand_beside_the_published_ones() -> None:
    config = published_config("0.3b", (1024, 768))
    with torch.device("meta"):
        head = build_head(config.embed_dim, 308, TASKS["pose"].published)
    assert f"{full_flops(config) / 1e12:.2f}" == "2.79"
    assert f"{full_flops(config, (head,)) / 1e12:.2f}" == "3.24"
