"""A pretrained backbone in a model of another shape."""

import pytest
import torch

from opensapiens.checkpoints.pretrained_backbone import fit_backbone, load_backbone
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.models.vit import VisionTransformer, ViTConfig


def backbone(size: tuple[int, int], class_token: bool = False, layers: int = 1) -> VisionTransformer:
    torch.manual_seed(sum(size))
    return VisionTransformer(ViTConfig(size, 32, layers, 4, class_token=class_token)).eval()


def test_a_square_one_with_class_token_becomes_4x3() -> None:
    source, target = backbone((64, 64), class_token=True), backbone((128, 96))
    load_backbone(target, source.state_dict())
    patches = source.position_embedding[:, 1:].view(1, 4, 4, 32).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(patches, (8, 6), mode="bicubic").flatten(2).transpose(1, 2)
    torch.testing.assert_close(target.position_embedding, expected)
    assert torch.equal(target.blocks[0].mlp.fc1.weight, source.blocks[0].mlp.fc1.weight)
    assert target.position_embedding.requires_grad


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("size", [(48, 80), (16, 80)], ids=["15 patches", "a square and one"])
def test_the_same_shape_loads_unchanged(size: tuple[int, int], class_token: bool) -> None:
    # An odd number of patches, which the published rule would take for a class token.
    source, target = backbone(size, class_token), backbone(size, class_token)
    torch.nn.init.zeros_(target.position_embedding)
    load_backbone(target, source.state_dict())
    assert torch.equal(target.position_embedding, source.position_embedding)


def test_a_stem_stays_fresh_where_the_tensors_have_none() -> None:
    source = backbone((64, 64), class_token=True)
    target = VisionTransformer(ViTConfig((64, 48), 32, 1, 4, stem_channels=(8, 16, 24)))
    fresh = target.stem.projection.weight.clone()
    load_backbone(target, source.state_dict())
    assert torch.equal(target.stem.projection.weight, fresh)
    assert torch.equal(target.blocks[0].mlp.fc1.weight, source.blocks[0].mlp.fc1.weight)
    with pytest.raises(CheckpointError, match="decoder"):
        load_backbone(target, {name: t for name, t in target.state_dict().items() if not name.startswith("decoder.")})
    with pytest.raises(CheckpointError, match="stem"):
        load_backbone(backbone((64, 48)), target.state_dict())


def test_a_class_token_may_stay() -> None:
    source = backbone((64, 64), class_token=True)
    target = backbone((96, 64), class_token=True)
    load_backbone(target, source.state_dict())
    assert target.position_embedding.shape == (1, 25, 32)
    assert torch.equal(target.position_embedding[:, 0], source.position_embedding[:, 0])
    assert torch.equal(target.class_token, source.class_token)


def test_a_class_row_without_its_token_is_dropped() -> None:
    tensors = backbone((64, 64), class_token=True).state_dict()
    del tensors["class_token"]
    target = backbone((64, 64))
    load_backbone(target, tensors)
    assert torch.equal(target.position_embedding, tensors["position_embedding"][:, 1:])


def test_no_square_grid_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="48 patches is of no square grid, and the model's is 4x4"):
        fit_backbone(backbone((128, 96)).state_dict(), backbone((64, 64)).config)
    with pytest.raises(CheckpointError, match="position_embedding"):
        fit_backbone({}, backbone((64, 64)).config)


def test_other_tensors_must_fit_exactly() -> None:
    tensors = backbone((64, 64), layers=2).state_dict()
    del tensors["norm.weight"]
    target = backbone((64, 64), layers=1)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"my\.pth .* 1 missing: norm\.weight; 12 unexpected: blocks\.1\.norm1"):
        load_backbone(target, tensors, "my.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
