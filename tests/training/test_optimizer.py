"""Which parameters decay, and how fast each layer learns."""

import pytest
import torch
from torch import nn

from opensapiens.backbones.sapiens import SapiensBackbone, SapiensConfig
from opensapiens.models.human_model import HumanModel
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.training.optimizer import MuonAdamW, build_optimizer, orthogonalized, set_learning_rate
from opensapiens.training.run import OptimizerSettings


@pytest.fixture
def model() -> HumanModel:
    vit = SapiensBackbone(SapiensConfig((32, 32), 8, 3, 2))
    return HumanModel(vit, {"pose": UpsamplingHead(8, 2, (4,), (4,))})


def groups(model: nn.Module, settings: OptimizerSettings) -> dict[str, tuple[float, float]]:
    """Name of each parameter -> (learning rate, weight decay)."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, settings)
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}


def test_what_decays(model: HumanModel) -> None:
    found = groups(model, OptimizerSettings(weight_decay=0.1))
    assert set(found) == {name for name, _ in model.named_parameters()}
    decayed = {name for name, (_, decay) in found.items() if decay == 0.1}
    assert decayed == {
        name
        for name, parameter in model.named_parameters()
        if name.endswith("weight") and parameter.ndim > 1 and "norm" not in name
    }
    assert found["backbone.position_embedding"][1] == 0 and "heads.pose.output.weight" in decayed


def test_layer_decay(model: HumanModel) -> None:
    """Embeddings are layer 0, block i is i + 1, the rest is layer 4 of 3 blocks: lr * 0.5 ** (4 - layer)."""
    found = {name: lr for name, (lr, _) in groups(model, OptimizerSettings(lr=1.0, layer_decay=0.5)).items()}
    expected = {
        "backbone.position_embedding": 1 / 16,
        "backbone.patch_embedding.projection.weight": 1 / 16,
        "backbone.blocks.0.norm1.weight": 1 / 8,
        "backbone.blocks.2.mlp.fc2.bias": 1 / 2,
        "backbone.norm.weight": 1,
        "heads.pose.output.weight": 1,
    }
    assert {name: found[name] for name in expected} == expected


def test_frozen_parameters_are_left_out(model: HumanModel) -> None:
    model.backbone.requires_grad_(False)
    assert all(name.startswith("heads.") for name in groups(model, OptimizerSettings()))


def test_the_learning_rate_keeps_the_layers_ratio(model: HumanModel) -> None:
    optimizer = build_optimizer(model, OptimizerSettings(lr=0.2, layer_decay=0.5))
    set_learning_rate(optimizer, 0.5)
    set_learning_rate(optimizer, 0.1)
    assert max(group["lr"] for group in optimizer.param_groups) == pytest.approx(0.02)
    assert min(group["lr"] for group in optimizer.param_groups) == pytest.approx(0.02 / 16)
    assert isinstance(optimizer, torch.optim.AdamW)


def test_muon_steps_the_matrices_between_patches_and_outputs(model: HumanModel) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, OptimizerSettings(muon=True))
    found = {names[id(p)] for g in optimizer.param_groups if g["muon"] for p in g["params"]}
    blocks = {n for n in names.values() if ".blocks." in n and n.endswith("weight") and "norm" not in n}
    assert found == blocks | {"heads.pose.deconvs.0.weight", "heads.pose.convs.0.weight"}


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_orthogonalized_keeps_the_singular_vectors(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalized(matrix, MuonAdamW.QUINTIC)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    diagonal = left.T @ result @ right.T
    assert torch.allclose(diagonal, torch.diag(diagonal.diagonal()), atol=1e-4)
    assert ((diagonal.diagonal() > 0.6) & (diagonal.diagonal() < 1.3)).all()


def test_a_muon_step_has_the_size_of_adamw(model: HumanModel) -> None:
    """Root mean square of a matrix's change: about 0.2 of the learning rate, whatever the gradient's size."""
    weight = model.get_parameter("backbone.blocks.1.mlp.fc1.weight")
    before = weight.detach().clone()
    optimizer = build_optimizer(model, OptimizerSettings(lr=0.01, weight_decay=0.0, muon=True))
    weight.grad = 1e4 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    assert 0.1 * 0.01 < (weight - before).square().mean().sqrt() < 0.3 * 0.01
