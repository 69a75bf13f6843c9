"""Heads and the model that carries them."""

import pytest
import torch
import torch.nn.functional as F

from opensapiens.backbones.sapiens import SapiensBackbone, SapiensConfig
from opensapiens.models.heads import build_head
from opensapiens.models.human_model import HumanModel
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.tasks import TASKS


def tiny_model() -> HumanModel:
    torch.manual_seed(0)
    config = SapiensConfig((64, 48), 32, 2, 4)
    heads = {
        "pose": UpsamplingHead(32, 17, (16, 16), (16, 16)),
        "segmentation": UpsamplingHead(32, 28, (12, 12, 12), (12,), dropout=0.1),
        "depth": UpsamplingHead(32, 1, (8, 8, 8, 8), ()),
    }
    return HumanModel(SapiensBackbone(config), heads)


def test_every_head_has_its_own_stride() -> None:
    maps = tiny_model()(torch.randn(2, 3, 64, 48))
    assert {name: tuple(m.shape) for name, m in maps.items()} == {
        "pose": (2, 17, 16, 12),
        "segmentation": (2, 28, 32, 24),
        "depth": (2, 1, 64, 48),
    }


def test_only_the_named_heads_run() -> None:
    model, images = tiny_model().eval(), torch.randn(1, 3, 64, 48)
    model.heads["depth"].register_forward_pre_hook(lambda *_: pytest.fail("the depth head ran"))
    maps = model(images, ["pose"])
    assert list(maps) == ["pose"]
    with pytest.raises(KeyError, match="no head named nails; the model has pose, segmentation, depth"):
        model(images, ["pose", "nails"])


def test_every_parameter_gets_a_gradient() -> None:
    model = tiny_model()
    maps = model(torch.randn(2, 3, 64, 48))
    torch.stack([(m - torch.randn_like(m)).square().mean() for m in maps.values()]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # The instance norm after a convolution takes its bias out again: that one's gradient is only rounding.
        if ".convs." not in name or "bias" not in name:
            assert parameter.grad.abs().max() > 1e-8, name


def test_a_layer_is_followed_by_instance_norm_and_silu() -> None:
    torch.manual_seed(0)
    head = UpsamplingHead(6, 3, (5,), (4,))
    features = torch.randn(2, 6, 4, 3) * 7 + 2
    maps = F.silu(F.instance_norm(head.deconvs[0](features)))
    expected = head.output(F.silu(F.instance_norm(head.convs[0](maps))))
    torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=1e-5)


def test_an_image_does_not_depend_on_its_batch() -> None:
    model, images = tiny_model().eval(), torch.randn(3, 3, 64, 48)
    together, alone = model(images), model(images[1:2])
    for name in together:
        torch.testing.assert_close(together[name][1:2], alone[name], atol=1e-5, rtol=1e-5)


def test_channels_last_gives_the_same_maps() -> None:
    model, images = tiny_model().eval(), torch.randn(2, 3, 64, 48)
    before = model(images)
    model.to(memory_format=torch.channels_last)
    after = model(images.to(memory_format=torch.channels_last))
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=2e-5, rtol=1e-4)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head, features = UpsamplingHead(6, 3, (5,), (4,), dropout=0.5), torch.randn(2, 6, 4, 3)
    assert not torch.equal(head.train()(features), head(features))
    assert torch.equal(head.eval()(features), head(features))


def test_published_heads_start_as_published() -> None:
    torch.manual_seed(0)
    pose, dense = build_head(8, 17, TASKS["pose"].published), build_head(8, 28, TASKS["segmentation"].published)
    for layer in (*pose.deconvs, *pose.convs, pose.output):
        assert 0.0009 < layer.weight.std() < 0.0011
        assert layer.bias is None or (layer.bias == 0).all()
    assert 0.009 < dense.output.weight.std() < 0.011 and (dense.output.bias == 0).all()
    assert dense.convs[0].weight.std() > 0.015 and dense.dropout == 0.1
