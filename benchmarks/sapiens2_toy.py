"""A tiny network of the Sapiens2 family on a few synthetic people, task by task: does each of its recipes learn?

    opensapiens synthesize --out shards/train --count 192 --seed 11 --all-labels
    opensapiens synthesize --out shards/val --count 48 --seed 12 --all-labels
    python benchmarks/sapiens2_toy.py shards/train shards/val

Loss and metric are of people that are not trained on, of random weights and after training. "trivial" is the answer
that each task's metric stands beside: the mean pose of the training people; background everywhere; a normal that faces
the camera; each pixel's ray at the person's true mean distance; nobody; the person's true mean color. Points are of
whole pictures: where the camera's axis is, a crop does not show. All else is of crops of people.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from opensapiens.backbones.sapiens2 import Sapiens2Config
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model, load_model
from opensapiens.data.augment import Augmentation
from opensapiens.data.sapiens2_augment import SAPIENS2_POINTMAP
from opensapiens.geometry.view import Preprocessing, crop_view
from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.parts import SAPIENS_29
from opensapiens.models.human_model import HumanModel
from opensapiens.models.pixel_shuffle_head import scale_branch
from opensapiens.recipes.labeled_people import people_with_keypoints, people_with_maps
from opensapiens.tasks.albedo import AlbedoTask
from opensapiens.tasks.forward import maps
from opensapiens.tasks.matting import MattingTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import PointmapTask
from opensapiens.tasks.pose import PosePrediction, PoseTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import HeadTask, SeveralTasks
from opensapiens.training.devices import Ranks
from opensapiens.training.loader import plain_crop, validation_batches
from opensapiens.training.loop import train
from opensapiens.training.run import OptimizerSettings, Run, SampleSource, ScheduleSettings

SIZE = (128, 96)
BACKBONE = Sapiens2Config(SIZE, embed_dim=96, layers=4, heads=4, key_value_heads=(4, 2, 2, 4), hidden_dim=256)
UP, CONVOLUTIONS = (64, 32, 32, 16), (16, 16)
SCALE_CHANNELS, SCALE_HIDDEN = (64, 32), (32,)
GENTLE = Augmentation(rotation_degrees=15, scale=(0.9, 1.1), half_body_chance=0.0, patches_chance=0.0, hue_degrees=20)
ALONE = Ranks(0, 1, torch.device("cpu"))


@dataclass(frozen=True)
class Row:
    """A task and its head; the figure of its metric that is shown, and that of the trivial answer (None: the mean
    pose)."""

    task: HeadTask
    head: str
    figure: str
    trivial: str | None
    better: str
    times: int = 1  # as many steps


NORMALS = NormalsTask(cosine_weight=10, l1_weight=1, gradient_weight=10, unit_first=True)
ROWS = (
    Row(PoseTask(COCO_17, mse_weight=10.0), "upsampling", "oks", None, "higher", 4),
    Row(SegmentationTask(SAPIENS_29, dice_weight=1.0), "upsampling", "mIoU", "background_mIoU", "higher", 4),
    Row(NORMALS, "pixel_shuffle", "mean", "frontal_mean", "lower"),
    Row(PointmapTask(), "pointmap", "l2", "plane_l2", "lower", 2),
    Row(MattingTask(), "pixel_shuffle", "l1_alpha", "nobody_l1_alpha", "lower", 3),
    Row(AlbedoTask(), "pixel_shuffle_rms", "mae", "constant_mae", "lower"),
)


def main(
    train_on: tyro.conf.Positional[Path],
    validate_on: tyro.conf.Positional[Path],
    steps: int = 250,
    batch_size: int = 12,
) -> None:
    """Prints the table.

    Args:
        train_on: a folder of shards with all labels.
        validate_on: another.
        steps: of a task; poses and parts take four times as many, alpha three times, points twice.
        batch_size: people in a step.
    """
    torch.set_num_threads(1)
    print("| task | loss before | after | metric | before | after | trivial | better | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            run = toy_run(row, train_on, validate_on, Path(folder), row.times * steps, batch_size)
            torch.manual_seed(run.seed)
            loss, report = measured(run, build_model(run.model))
            after, learned = measured(run, load_model(train(run))[0])
        trivial = report[row.trivial] if row.trivial else mean_pose_figure(run, row.figure)
        figures = (report[row.figure], learned[row.figure], trivial)
        cells = [row.task.name, f"{loss:.3g}", f"{after:.3g}", row.figure, *(f"{each:.3g}" for each in figures)]
        print("|", " | ".join([*cells, row.better, f"{time.perf_counter() - began:.0f}"]), "|", flush=True)


def toy_run(row: Row, data: Path, validation: Path, output: Path, steps: int, batch_size: int) -> Run:
    """The run of a task with the tiny network, all layers at one rate."""
    task, whole = row.task, isinstance(row.task, PointmapTask)
    scale = scale_branch(SCALE_CHANNELS, SCALE_HIDDEN, BACKBONE.grid()) if whole else None
    up = (UP[0], UP[1]) if isinstance(task, PoseTask) else UP
    labels = None if task.labels is None else task.labels.name
    head = HeadDescription(task.channels, up, CONVOLUTIONS, labels, kind=row.head, scale=scale)
    preprocessing = Preprocessing(SIZE, resize="zero_pad" if whole else "person_crop")
    return Run(
        model=ModelDescription("toy", BACKBONE, {task.name: head}, preprocessing),
        tasks=SeveralTasks({task.name: task}),
        data=people(task, data),
        validation=people(task, validation),
        validation_steps=steps + 1,
        output=output,
        steps=steps,
        batch_size=batch_size,
        augmentation=SAPIENS2_POINTMAP if whole else GENTLE,
        optimizer=OptimizerSettings(2e-3, weight_decay=0.05, layer_decay=1.0, clip_norm=4.0),
        schedule=ScheduleSettings(min(30, steps // 5), "linear", 0.0),
        ema_decay=0.0,
        threads=1,
        workers=0,
        device="cpu",
        log_steps=50,
    )


def people(task: HeadTask, shards: Path) -> SampleSource:
    """The people of a folder of shards with the labels of a task."""
    if isinstance(task, PoseTask):
        return people_with_keypoints(shards, None, COCO_17)
    return people_with_maps(shards, task.kind, SAPIENS_29)  # type: ignore[attr-defined]


@torch.no_grad()
def measured(run: Run, model: HumanModel) -> tuple[float, dict[str, float]]:
    """The loss, and the report of the metric, on the people of validation."""
    (name, task), losses, model = next(iter(run.head_tasks.items())), [], model.eval()
    metric = task.new_metric()
    for loaded in validation_batches(run, ALONE):
        assert loaded is not None
        batch, samples = loaded
        of_head = maps(model, run.model.preprocessing.normalize(batch.images), heads=[name], inputs=batch.inputs)
        losses.append(float(sum(run.tasks.losses(of_head, batch.targets, batch.counts).values())))
        for maps_Chw, sample in zip(of_head[name], samples, strict=True):
            metric.update(task.decode(maps_Chw, crop_view(SIZE)), sample)
    return float(np.mean(losses)), metric.report()


def mean_pose_figure(run: Run, figure: str) -> float:
    """What the mean place of each point in the crops of the training people scores on those of validation."""
    task = run.head_tasks[PoseTask.name]
    points = [plain_crop(run, run.data[number], SIZE).keypoints for number in range(len(run.data))]
    stacked = np.stack([each for each in points if each is not None])
    weights = (stacked[..., 2:] > 0).astype(np.float32)
    mean = (stacked[..., :2] * weights).sum(axis=0) / weights.sum(axis=0)
    metric, answer = task.new_metric(), PosePrediction(mean.astype(np.float32), np.ones(len(mean), np.float32))
    assert run.validation is not None
    for number in range(len(run.validation)):
        metric.update(answer, plain_crop(run, run.validation[number], SIZE))
    return metric.report()[figure]


if __name__ == "__main__":
    tyro.cli(main)
