"""Optimizer groups, schedules and whole training steps of Sapiens2 give the published code's numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from opensapiens.checkpoints.model_folder import build_model
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS
from opensapiens.checkpoints.sapiens2_files import from_published, to_published
from opensapiens.labels.parts import SAPIENS_29
from opensapiens.models.human_model import HumanModel
from opensapiens.recipes.sapiens2_schedules import published_schedule
from opensapiens.tasks.normals import BACKGROUND, NormalsTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.training.optimizer import build_optimizer, set_learning_rate
from opensapiens.training.run import OptimizerSettings, ScheduleSettings
from opensapiens.training.schedule import learning_rate_factor

from .cases import Case, cases, name_of
from .sapiens2_models import model_of
from .test_sapiens2_images import TASK_OF_TAG

SIZE = "0.4b"


def settings_of(said: Mapping[str, Any]) -> OptimizerSettings:
    config = said["optimizer_cfg"]
    return OptimizerSettings(
        config["lr"],
        tuple(config["betas"]),
        config["weight_decay"],
        config["paramwise_cfg"]["layer_decay_rate"],
        said["clip_grad"]["max_norm"],
    )


@pytest.mark.parametrize("case", cases("optimizer groups by task"), ids=name_of)
def test_optimizer_groups(case: Case) -> None:
    for tag, said in case.description["tasks"].items():
        task = TASK_OF_TAG[tag]
        row = next(row for row in PUBLISHED_MODELS.values() if (row.size_name, row.task) == (f"sapiens2-{SIZE}", task))
        with torch.device("meta"):
            model = build_model(row.description())
        published = {name: list(tensor.shape) for name, tensor in to_published(model.state_dict(), task).items()}
        assert published == said["state_dict"], tag
        assert sum(parameter.numel() for parameter in model.parameters()) == said["total_params"]
        settings = settings_of(said)
        expected = {name: group for group in said["groups"] for name in group["params"]}
        ours = to_published({name: parameter for name, parameter in model.named_parameters()}, task)
        names = {id(parameter): name for name, parameter in ours.items()}
        groups = {
            names[id(p)]: group for group in build_optimizer(model, settings).param_groups for p in group["params"]
        }
        assert set(groups) == set(expected)
        for name, group in groups.items():
            assert group["lr"] == pytest.approx(expected[name]["lr"], rel=1e-9), name
            assert group["weight_decay"] == expected[name]["weight_decay"], name
            assert list(group["betas"]) == expected[name]["betas"] and group["eps"] == expected[name]["eps"]
        released = published_schedule(task, SIZE)
        assert released.optimizer() == settings
        for step, base, first in said["lr_schedule_[iter,lr_base_group,lr_layer0_group]"]:
            factor = learning_rate_factor(step, released.steps, released.schedule())
            assert factor * settings.lr == pytest.approx(base, rel=1e-6, abs=1e-15), (tag, step)
            assert factor * settings.lr * settings.layer_decay**25 == pytest.approx(first, rel=1e-6, abs=1e-18)


def losses(case: Case, maps: Tensor) -> Tensor:
    """The sum of the case's losses."""
    if case.description["task"] == "normal":
        mask = case.tensor("input.mask").bool()
        targets = {"normals": torch.where(mask, case.tensor("input.gt_normal"), BACKGROUND)}
        terms = NormalsTask(cosine_weight=10, l1_weight=1, gradient_weight=10).losses(maps, targets)
    else:
        given = [case.tensor(name) for name in case.arrays if name.startswith("input.")]
        (labels,) = (tensor for tensor in given if tensor.dtype == torch.int64)
        weights = case.description["head_cfg"]["loss_decode"][0].get("class_weight")
        assert weights is None or np.allclose(weights, SAPIENS_29.loss_weights)
        targets = {"labels": labels.to(torch.uint8).squeeze(1) if labels.ndim == 4 else labels.to(torch.uint8)}
        targets["labeled"] = torch.ones(len(labels), dtype=torch.bool)
        terms = SegmentationTask(SAPIENS_29, dice_weight=1.0).losses(maps, targets)
    return torch.stack(list(terms.values())).sum()


def schedule_of(case: Case) -> tuple[ScheduleSettings, int]:
    """The case's schedule, and the length of its run."""
    said = case.description["scheduler_cfg"]
    rise, fall = said["schedulers"]
    assert rise["total_iters"] == said["milestones"][0]
    schedule = ScheduleSettings(rise["total_iters"], "linear", 0.0, rise["start_factor"], full_at_warmup=True)
    return schedule, rise["total_iters"] + fall["total_iters"]


@pytest.mark.parametrize("case", cases("training steps"), ids=name_of)
def test_learning_rates_of_steps(case: Case) -> None:
    said = case.description
    task = TASK_OF_TAG[said["task"]]
    model = model_of(case)
    optimizer = build_optimizer(model, settings_of(said))
    ours = to_published({name: parameter for name, parameter in model.named_parameters()}, task)
    schedule, length = schedule_of(case)
    group_of = {name: number for number, group in enumerate(said["groups"]) for name in group["params"]}
    assert set(group_of) == set(ours)
    for step, logged in enumerate(said["log"]):
        set_learning_rate(optimizer, learning_rate_factor(step, length, schedule))
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in ours.items():
            assert rates[id(parameter)] == pytest.approx(logged["lr_per_group"][group_of[name]], rel=1e-6), name


@pytest.mark.parametrize("case", cases("training steps"), ids=name_of)
def test_train_steps(case: Case) -> None:
    said = case.description
    task, after = TASK_OF_TAG[said["task"]], case.under(f"output.after{len(said['log'])}.")
    if all(case.tensor(f"weights.{name}").equal(tensor) for name, tensor in after.items()):
        pytest.skip(f"{case.name}: its weights are those after the steps, so that the first cannot be taken")
    model: HumanModel = model_of(case, "float32" if said["rope_dtype"] == "fp32" else "bfloat16").train()
    optimizer = build_optimizer(model, settings_of(said))
    schedule, length = schedule_of(case)
    gradients = from_published(case.under("output.step0.grad."), task)
    for step, logged in enumerate(said["log"]):
        set_learning_rate(optimizer, learning_rate_factor(step, length, schedule))
        loss = losses(case, model(case.tensor("input.image"))[task])
        assert loss.item() == pytest.approx(logged["loss"], rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters() if step == 0 else ():
            scale = gradients[name].abs().max().item()
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=max(1e-3 * scale, 1e-5))
        norm = nn.utils.clip_grad_norm_(model.parameters(), said["clip_grad"]["max_norm"])
        assert norm.item() == pytest.approx(logged["grad_norm_before_clip"], rel=1e-3)
        optimizer.step()
    expected = from_published(after, task)
    for name, parameter in model.named_parameters():
        # Where the gradient is zero but for rounding, AdamW takes whole steps in directions of chance.
        certain = gradients[name].abs() > 1e-3 * gradients[name].abs().max()
        difference = (parameter.detach() - expected[name]).abs()[certain]
        assert difference.numel() == 0 or difference.max() < 1e-5, name
