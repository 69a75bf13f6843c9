"""Name maps beyond the weights of the parity cases: every tensor of real-size models, and names that do not belong."""

import pytest
import torch

from opensapiens.backbones.sapiens import SapiensBackbone, published_config
from opensapiens.checkpoints.sapiens_files import LAYOUTS, from_published, to_published
from opensapiens.checkpoints.tensor_names import UnmappedNamesError
from opensapiens.models.heads import build_head
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.tasks import TASKS

CHANNELS = {"pose": 308, "segmentation": 28, "depth": 1, "normals": 3}


def names_of(layout: str) -> set[str]:
    with torch.device("meta"):
        if layout == "masked_autoencoder":
            return set(MaskedAutoencoder(published_config("0.3b", (1024, 1024), class_token=True)).state_dict())
        if layout == "backbone":
            return set(SapiensBackbone(published_config("0.3b", (1024, 1024), class_token=True)).state_dict())
        head = build_head(1024, CHANNELS[layout], TASKS[layout].published)
        return set(HumanModel(SapiensBackbone(published_config("0.3b", (1024, 768))), {layout: head}).state_dict())


def block_of(prefix: str) -> set[str]:
    inner = ("ln1", "attn.qkv", "attn.proj", "ln2", "ffn.layers.0.0", "ffn.layers.1")
    return {f"{prefix}.{name}.{kind}" for name in inner for kind in ("weight", "bias")}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_names_of_a_model_go_there_and_back(layout: str) -> None:
    ours = dict.fromkeys(names_of(layout), 0)
    published = to_published(ours, layout)
    assert len(published) == len(ours)
    assert from_published(published, layout) == ours


def test_published_names_of_a_pose_model() -> None:
    published = set(to_published(dict.fromkeys(names_of("pose"), 0), "pose"))
    expected = {"backbone.pos_embed", "head.deconv_layers.0.weight", "head.deconv_layers.3.weight"}
    expected |= {
        f"{layer}.{kind}"
        for layer in ("backbone.patch_embed.projection", "backbone.ln1", "head.final_layer")
        + ("head.conv_layers.0", "head.conv_layers.3")
        for kind in ("weight", "bias")
    }
    expected |= {name for i in range(24) for name in block_of(f"backbone.layers.{i}")}
    assert published == expected


def test_published_names_of_a_depth_head_and_a_decoder() -> None:
    depth = set(to_published(dict.fromkeys(names_of("depth"), 0), "depth"))
    assert {name for name in depth if name.startswith("decode_head.")} == {
        *(f"decode_head.deconv_layers.{i}.weight" for i in (0, 3, 6, 9)),
        *(
            f"decode_head.{layer}.{kind}"
            for layer in ("conv_layers.0", "conv_layers.3", "conv_seg")
            for kind in ("weight", "bias")
        ),
    }
    autoencoder = set(to_published(dict.fromkeys(names_of("masked_autoencoder"), 0), "masked_autoencoder"))
    expected = {"neck.mask_token", "neck.decoder_pos_embed"}
    expected |= {
        f"neck.{layer}.{kind}" for layer in ("decoder_embed", "ln1", "decoder_pred") for kind in ("weight", "bias")
    }
    expected |= {name for i in range(8) for name in block_of(f"neck.decoder_blocks.{i}")}
    assert {name for name in autoencoder if name.startswith("neck.")} == expected
    assert "backbone.cls_token" in autoencoder


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("backbone.layers.0.ln3.weight", "pose"),
        ("backbone.layers.x.ln1.weight", "pose"),
        ("layers.0.ln1.weight", "pose"),
        ("backbone.layers.0.ln1.weight", "backbone"),
        ("head.deconv_layers.1.weight", "pose"),
        ("head.deconv_layers.0.bias", "pose"),
        ("head.final_layer.weight", "segmentation"),
        ("decode_head.conv_seg.weight", "pose"),
        ("neck.mask_token", "pose"),
        ("backbone.pos_embed.extra", "pose"),
        ("xbackbone.pos_embed", "pose"),
    ],
)
def test_names_of_another_layout_are_listed(name: str, layout: str) -> None:
    known = to_published(dict.fromkeys(names_of(layout), 0), layout)
    with pytest.raises(UnmappedNamesError, match=f"layout '{layout}'") as raised:
        from_published({**known, name: 0, "other": 0}, layout)
    assert raised.value.names == sorted([name, "other"])


def test_our_unknown_names_are_listed_too() -> None:
    with pytest.raises(UnmappedNamesError) as raised:
        to_published({"backbone.norm.weight": 0, "heads.depth.output.weight": 0}, "pose")
    assert raised.value.names == ["heads.depth.output.weight"]
