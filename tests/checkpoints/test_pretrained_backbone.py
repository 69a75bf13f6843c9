"""A pretrained backbone in a model of another shape."""

from dataclasses import replace

import pytest
import torch

from opensapiens.backbones import BackboneConfig
from opensapiens.backbones.nano import NanoConfig
from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.pretrained_backbone import load_backbone
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.models.human_model import HumanModel


def config(size: tuple[int, int], class_token: bool = False, layers: int = 1) -> SapiensConfig:
    return SapiensConfig(size, 32, layers, 4, class_token=class_token)


def model(made: BackboneConfig) -> HumanModel:
    torch.manual_seed(sum(made.image_size))
    return HumanModel(made.build(), {}).eval()


def state(source: HumanModel) -> dict[str, torch.Tensor]:
    return source.get_submodule("backbone").state_dict()


def loaded(target: BackboneConfig, trained: BackboneConfig) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The tensors of a target into which a trained backbone was loaded, and those of the trained one."""
    made, source = model(target), model(trained)
    load_backbone(made, state(source), trained, "the source")
    return state(made), state(source)


def test_a_square_one_with_class_token_becomes_4x3() -> None:
    target, source = loaded(config((128, 96)), config((64, 64), class_token=True))
    patches = source["position_embedding"][:, 1:].view(1, 4, 4, 32).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(patches, (8, 6), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(target["position_embedding"], expected)
    assert torch.equal(target["blocks.0.mlp.fc1.weight"], source["blocks.0.mlp.fc1.weight"])


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("size", [(48, 80), (16, 80)], ids=["15 patches", "a square and one"])
def test_the_same_shape_loads_unchanged(size: tuple[int, int], class_token: bool) -> None:
    # An odd number of patches, which the published rule would take for a class token.
    made, source = model(config(size, class_token)), model(config(size, class_token))
    torch.nn.init.zeros_(made.get_parameter("backbone.position_embedding"))
    load_backbone(made, state(source), source.backbone.config, "the source")
    assert torch.equal(state(made)["position_embedding"], state(source)["position_embedding"])


def test_a_stem_stays_fresh_where_the_tensors_have_none() -> None:
    nano, plain = NanoConfig((64, 48), 32, 1, 4, (8, 16, 24)), config((64, 64), class_token=True)
    fresh = state(model(nano))["stem.projection.weight"]
    target, source = loaded(nano, plain)
    assert torch.equal(target["stem.projection.weight"], fresh)
    assert torch.equal(target["blocks.0.mlp.fc1.weight"], source["blocks.0.mlp.fc1.weight"])
    without = {name: tensor for name, tensor in target.items() if not name.startswith("decoder.")}
    with pytest.raises(CheckpointError, match="decoder"):
        load_backbone(model(nano), without, nano, "the source")
    with pytest.raises(CheckpointError, match="the source: a backbone of the family nano cannot start one of sapiens"):
        load_backbone(model(plain), target, nano, "the source")


def test_a_class_token_may_stay() -> None:
    target, source = loaded(config((96, 64), class_token=True), config((64, 64), class_token=True))
    assert target["position_embedding"].shape == (1, 25, 32)
    assert torch.equal(target["position_embedding"][:, 0], source["position_embedding"][:, 0])
    assert torch.equal(target["class_token"], source["class_token"])


def test_a_deeper_one_computes_the_same_at_first() -> None:
    deep, shallow = model(config((64, 48), layers=3)), model(config((64, 48), layers=2))
    load_backbone(deep, state(shallow), shallow.backbone.config, "the source")
    images = torch.randn(1, 3, 64, 48)
    torch.testing.assert_close(deep.backbone(images), shallow.backbone(images))
    assert torch.equal(state(deep)["blocks.2.mlp.fc1.weight"], state(shallow)["blocks.1.mlp.fc1.weight"])


def test_positions_of_another_shape_than_was_trained_are_an_error() -> None:
    made = config((64, 64))
    with pytest.raises(
        CheckpointError, match=r"position_embedding of 16 rows is needed, .* one of shape \(1, 48, 32\)"
    ):
        load_backbone(model(made), state(model(config((128, 96)))), made, "the source")
    with pytest.raises(CheckpointError, match="position_embedding of 16 rows is needed, and there is none"):
        load_backbone(model(made), {}, made, "the source")


def test_other_tensors_must_fit_exactly() -> None:
    trained, target = config((64, 64), layers=2), model(config((64, 64), layers=1))
    tensors = dict(state(model(trained)))
    del tensors["norm.weight"]
    before = {name: tensor.clone() for name, tensor in state(target).items()}
    with pytest.raises(CheckpointError, match=r"my\.pth .* 1 missing: norm\.weight; 12 unexpected: blocks\.1\.norm1"):
        load_backbone(target, tensors, trained, "my.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(target).items())
    wide = replace(trained, embed_dim=64)
    with pytest.raises(CheckpointError, match="of the wrong shape"):
        load_backbone(target, state(model(wide)), wide, "my.pth")
