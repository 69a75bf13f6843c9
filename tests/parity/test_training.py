"""Optimizer groups, schedules and whole training steps give the published code's numbers."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from opensapiens.backbones.sapiens import SapiensBackbone, SapiensConfig
from opensapiens.checkpoints.sapiens_files import from_published
from opensapiens.checkpoints.strict_loading import load_strictly
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import MaskedAutoencoder
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.recipes.published_schedules import PUBLISHED_DENSE, published_pose_schedule
from opensapiens.tasks.pose import heatmap_mse
from opensapiens.training.optimizer import build_optimizer
from opensapiens.training.run import OptimizerSettings
from opensapiens.training.schedule import learning_rate_factor

from .cases import Case, cases, name_of
from .test_models import vit_config

TASK_OF_FOLDER = {"sapiens_pose": "pose", "sapiens_seg": "segmentation", "sapiens_depth": "depth"}
TASK_OF_FOLDER |= {"sapiens_normal": "normals", "sapiens_mae": "masked_autoencoder"}
LABELS_OF_FOLDER = {"coco": "coco_17", "coco_wholebody": "wholebody_133", "goliath": "sapiens_308"}


def config_of(case: Case) -> tuple[str, str, str]:
    """Task, label folder and size that a released config's path names."""
    _, _, tasks, labels, file = case.description["golden"]["config_file"].split("/")
    found = re.search(r"sapiens_(\d(?:\.\d)?b)", file)
    assert found is not None
    return TASK_OF_FOLDER[tasks], labels, found[1]


def settings_of(case: Case) -> OptimizerSettings:
    """The case's optimizer as our settings."""
    golden = case.description["golden"]
    decay = golden["paramwise_cfg"].get("layer_decay_rate", 1.0)
    clip = golden["clip_grad"]["max_norm"]
    return OptimizerSettings(
        golden["base_lr"], tuple(golden["optimizer"]["betas"]), golden["base_weight_decay"], decay, clip
    )


def model_of_shapes(task: str, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """A network with parameters of these names (ours) and shapes, on the meta device."""
    backbone = "backbone"

    def depth(prefix: str) -> int:
        return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in shapes if name.startswith(prefix))

    width = shapes[f"{backbone}.norm.weight"][0]
    token = f"{backbone}.class_token" in shapes
    patches = shapes[f"{backbone}.position_embedding"][1] - int(token)
    config = SapiensConfig((16 * 64, 16 * (patches // 64)), width, depth(f"{backbone}.blocks."), 1, class_token=token)
    with torch.device("meta"):
        if task == "masked_autoencoder":
            inner = shapes["decoder.norm.weight"][0]
            return MaskedAutoencoder(config, inner, depth("decoder.blocks."), 1)
        heads = f"heads.{task}"
        deconvs = [shapes[f"{heads}.deconvs.{i}.weight"][1] for i in range(depth(f"{heads}.deconvs."))]
        convs = [shapes[f"{heads}.convs.{i}.weight"][0] for i in range(depth(f"{heads}.convs."))]
        outputs = shapes[f"{heads}.output.weight"][0]
        return HumanModel(SapiensBackbone(config), {task: UpsamplingHead(width, outputs, deconvs, convs)})


@pytest.mark.parametrize("case", cases("optimizer_groups"), ids=name_of)
def test_optimizer_groups(case: Case) -> None:
    task = config_of(case)[0]
    published: dict[str, dict[str, Any]] = from_published(case.description["golden"]["params"], task)
    model = model_of_shapes(task, {name: tuple(entry["shape"]) for name, entry in published.items()})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {name: list(parameter.shape) for name, parameter in model.named_parameters()} == {
        name: entry["shape"] for name, entry in published.items()
    }
    ours: dict[str, dict[str, Any]] = {
        names[id(parameter)]: group
        for group in build_optimizer(model, settings_of(case)).param_groups
        for parameter in group["params"]
    }
    # The published optimizer lists the frozen tables of pretraining too, which then get no step.
    assert set(ours) == {name for name, entry in published.items() if entry["requires_grad"]}
    for name, group in ours.items():
        assert group["lr"] == pytest.approx(published[name]["lr"], rel=1e-9), name
        assert group["weight_decay"] == published[name]["weight_decay"], name
        assert list(group["betas"]) == published[name]["betas"] and group["eps"] == published[name]["eps"], name


@pytest.mark.parametrize("case", cases("optimizer_groups"), ids=name_of)
def test_published_schedule(case: Case) -> None:
    task, labels, size = config_of(case)
    if task == "masked_autoencoder" or labels in ("lip", "cihp", "seg_face"):
        pytest.skip("pretraining has a test of its own recipe; sets of 20 classes have no recipe")
    ours = published_pose_schedule(size, LABELS_OF_FOLDER[labels]) if task == "pose" else PUBLISHED_DENSE
    assert ours.optimizer() == settings_of(case)
    warmup, decay = case.description["golden"]["param_scheduler"]
    steps_an_epoch = 1000
    schedule = ours.schedule(decay["end"] * steps_an_epoch)
    assert ours.epochs == decay["end"]
    for step in (0, 1, warmup["end"] // 2, warmup["end"] - 1, warmup["end"], 170_500, 199_999, 200_000):
        if step >= decay["end"] * steps_an_epoch:
            continue
        start, last = warmup["start_factor"], warmup["end"] - 1
        expected = start + (1 - start) * min(step / last, 1.0)
        epoch = step // steps_an_epoch
        if decay["type"] == "MultiStepLR":
            expected *= decay["gamma"] ** sum(epoch >= milestone for milestone in decay["milestones"])
        else:
            expected *= (1 - epoch / decay["end"]) ** decay["power"]
        found = learning_rate_factor(step, decay["end"] * steps_an_epoch, schedule)
        assert found == pytest.approx(expected, rel=1e-6), step


@pytest.mark.parametrize("case", cases("train_step"), ids=name_of)
def test_train_step(case: Case) -> None:
    config = case.config
    backbone = SapiensBackbone(vit_config(case))
    head = UpsamplingHead(config["embed"], config["K"], [config["head_ch"]] * 2, [config["head_ch"]] * 2)
    model = HumanModel(backbone, {"pose": head}).train()
    load_strictly(model, from_published(case.under("weights."), "pose"), case.name)
    settings = OptimizerSettings(5e-4, layer_decay=0.85)  # as the case's note has them
    optimizer = build_optimizer(model, settings)
    gradients = from_published(case.under("output.grad1."), "pose")

    for step in range(len(case.array("output.loss"))):
        maps = model(case.tensor("input.image"))["pose"]
        loss = heatmap_mse(maps, case.tensor("input.target"), case.tensor("input.target_weights")).mean()
        optimizer.zero_grad()
        loss.backward()
        assert loss.item() == pytest.approx(case.array("output.loss")[step], rel=1e-4)
        if step == 0:
            for name, parameter in model.named_parameters():
                scale = gradients[name].abs().max().item()
                torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=max(1e-4 * scale, 1e-6))
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        assert norm.item() == pytest.approx(case.array("output.grad_norm")[step], rel=1e-4)
        optimizer.step()
        expected = from_published(case.under(f"output.step{step + 1}."), "pose")
        for name, parameter in model.named_parameters():
            # Where the gradient is zero but for rounding, AdamW takes whole steps in directions of chance.
            certain = gradients[name].abs() > 1e-5
            difference = (parameter.detach() - expected[name]).abs()[certain]
            assert difference.numel() == 0 or difference.max() < 1e-5, f"step {step + 1}: {name}"
