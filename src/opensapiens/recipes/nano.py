"""The small model that ships inside the package: one backbone, four heads, trained on our own synthetic people."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from opensapiens.backbones import BackboneConfig
from opensapiens.backbones.nano import NanoConfig
from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.data.augment import Augmentation
from opensapiens.data.shards import ShardDataset
from opensapiens.geometry.view import Preprocessing
from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import KEYPOINT_SETS, KeypointSet
from opensapiens.labels.parts import PART_SETS, PartSet
from opensapiens.recipes.sizes import NANO, NANO_DENSE_CHANNELS, NANO_POSE_CHANNELS, nano_head
from opensapiens.synthetic.people import open_people
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import HeadTask, SeveralTasks
from opensapiens.training.run import OptimizerSettings, Run, ScheduleSettings, Size

KEYPOINTS, PARTS = "sapiens_308", "sapiens_28"
# Weaker than for photos: the generator varies framing, light and occlusion already, and the run is short.
AUGMENTATION = Augmentation(
    scale=(0.85, 1.2),
    shift=0.08,
    rotation_degrees=25.0,
    rotation_chance=0.3,
    half_body_chance=0.05,
    brightness=25.0,
    contrast=(0.7, 1.3),
    saturation=(0.4, 1.5),
    hue_degrees=20.0,
    gain=(0.88, 1.14),
    gamma=(0.75, 1.4),
    color_chance=0.6,
    gray_chance=0.05,
    blur_chance=0.1,
    low_resolution_chance=0.2,
    noise_chance=0.15,
    noise_sigma=(2.0, 10.0),
    jpeg_chance=0.2,
    patches_chance=0.05,
)
# For the end of training, when weaker variation is enough.
GENTLE_AUGMENTATION = replace(
    AUGMENTATION,
    scale=(0.92, 1.1),
    shift=0.04,
    rotation_degrees=15.0,
    rotation_chance=0.15,
    half_body_chance=0.0,
    brightness=15.0,
    contrast=(0.8, 1.2),
    saturation=(0.6, 1.3),
    hue_degrees=10.0,
    gain=(0.93, 1.07),
    gamma=(0.85, 1.2),
    color_chance=0.4,
    gray_chance=0.02,
    blur_chance=0.05,
    low_resolution_chance=0.15,
    noise_chance=0.1,
    jpeg_chance=0.1,
    patches_chance=0.0,
)
# The mean over 308 nearly empty heatmaps is some hundredths of the other losses. With these weights the gradients that
# the blocks get from pose, parts and depth are of the same order; those of normals, learned first, are smaller.
POSE_WEIGHT = 300.0


def nano(
    data: Path,
    output: Path,
    validation: Path | None = None,
    steps: int = 4000,
    batch_size: int = 16,
    input_size: Size = (192, 144),
    stages: tuple[tuple[int, Size], ...] = (),
    start_from: str | Path | None = None,
    pretrained: str | Path | None = None,
    embed_dim: int = NANO.embed_dim,
    layers: int = NANO.layers,
    heads: int = NANO.heads,
    stem_channels: tuple[int, ...] = NANO.stem_channels,
    pose_channels: tuple[int, ...] = NANO_POSE_CHANNELS,
    dense_channels: tuple[int, ...] = NANO_DENSE_CHANNELS,
    lr: float = 1.2e-3,
    gentle: bool = False,
    label_stride: int = 4,
    workers: int = 0,
    seed: int = 0,
) -> Run:
    """Pose (308), body parts (28), depth and normals for laptops, from folders of synthetic shards.

    Commands: `opensapiens synthesize --out frames --count 10240 --seed 1 --cutouts people` and `opensapiens train nano
    --data people --output nano --micro-batch 8`. Hardware: two CPU cores, `--precision bfloat16` where they have
    units for it; on a GPU `--device cuda --precision bfloat16 --workers 14 --batch-size 128` for `--micro-batch 8`.
    Result: docs/nano_training.md has the scores against the number of people seen; those of the embedded weights are in
    their model card.

    Unlike the published models nano has convolutions around its transformer, since it sees few images;
    `--stem-channels --pose-channels 96 96 --dense-channels 48 48` removes them. The learning rate is high because the
    network is small.

    Args:
        data: a folder of synthetic shards, or synthetic:SEED:COUNT to render the people during training.
        output: folder for log, checkpoints, pictures and the trained model.
        validation: a folder of synthetic shards to validate on.
        steps: length of the run.
        batch_size: people per step, over all processes.
        input_size: height and width of the network's input.
        stages: smaller, cheaper crops at first: a step, and the height and width of the crops until then; several in
            rising order.
        start_from: a model folder or a name (nano: the weights inside the package) to continue from, which may have
            smaller crops and fewer layers.
        pretrained: a model folder or a name, of which only the backbone is taken.
        embed_dim: width of the transformer.
        layers: blocks of the transformer.
        heads: attention heads of a block.
        stem_channels: channels of the convolutions in front of the transformer, from stride 2 on; none for patches.
        pose_channels: channels of the convolutions of the pose head.
        dense_channels: channels of the convolutions of the other heads.
        lr: learning rate at the end of the warm-up.
        gentle: weaker augmentation, for the end of training.
        label_stride: train dense tasks on every n-th pixel of every n-th row.
        workers: processes that load samples, per training process; 0 loads in the training process.
        seed: of weights, order and augmentation.
    """
    backbone = (
        NanoConfig(input_size, embed_dim, layers, heads, stem_channels)
        if stem_channels
        else SapiensConfig(input_size, embed_dim, layers, heads)
    )
    return Run(
        model=describe(backbone, pose_channels, dense_channels),
        tasks=nano_tasks(),
        data=open_people(data),
        validation=None if validation is None else ShardDataset(validation),
        output=Path(output),
        steps=steps,
        batch_size=batch_size,
        stages=stages,
        start_from=start_from,
        pretrained=pretrained,
        label_stride=label_stride,
        augmentation=GENTLE_AUGMENTATION if gentle else AUGMENTATION,
        optimizer=OptimizerSettings(lr=lr, weight_decay=0.05, muon=True),
        schedule=ScheduleSettings(warmup_steps=min(200, steps // 10), decay="cosine", final_factor=0.01),
        ema_decay=0.999,
        workers=workers,
        seed=seed,
    )


def nano_smoke(data: Path, output: Path, steps: int = 4, batch_size: int = 2, input_size: Size = (64, 48)) -> Run:
    """The nano recipe at toy size: a smoke test of seconds on one CPU core, which learns nothing useful.

    Args:
        data: a folder of synthetic shards.
        output: folder for log, checkpoints, pictures and the trained model.
        steps: length of the run.
        batch_size: people per step.
        input_size: height and width of the network's input.
    """
    return nano(
        data,
        output,
        steps=steps,
        batch_size=batch_size,
        input_size=input_size,
        embed_dim=24,
        layers=2,
        heads=2,
        stem_channels=(8, 8, 8),
        pose_channels=(8,),
        dense_channels=(8,),
    )


def point_weights() -> tuple[float, ...]:
    """Weights of the 308 points, 1 on average: the 238 on the face would outweigh the body.

    Published: all 1.
    """
    keypoints = KEYPOINT_SETS[KEYPOINTS]
    body = set(source_indices(keypoints, KEYPOINT_SETS["coco_17"]).tolist())
    of_group = {"face": 0.3, "foot": 3.0}
    weights = [8.0 if i in body else of_group.get(group, 1.5) for i, group in enumerate(keypoints.groups)]
    return tuple(weight * len(weights) / sum(weights) for weight in weights)


def gently_weighted_parts() -> PartSet:
    """The 28 parts with the square roots of the published class weights; with the published ones a small model predicts
    rare parts everywhere."""
    parts = PART_SETS[PARTS]
    return replace(parts, loss_weights=np.sqrt(parts.loss_weights))


def nano_pose_task(points: KeypointSet, weights: tuple[float, ...] | None = None) -> PoseTask:
    """Pose on nano's small maps. The published sigma shrinks with the crop, not below 2: narrower peaks are hard to
    find from random weights."""
    return PoseTask(points, least_sigma=2.0, location_weight=2 / POSE_WEIGHT, point_weights=weights)


def nano_tasks() -> SeveralTasks:
    """The four tasks."""
    pose = nano_pose_task(KEYPOINT_SETS[KEYPOINTS], point_weights())
    weighted: list[tuple[HeadTask, float]] = [
        (pose, POSE_WEIGHT),
        (SegmentationTask(gently_weighted_parts(), dice_weight=1.0), 2.5),
        (DepthTask(l1_weight=2.0, correlation_weight=2.0, floor=0.05), 3.0),
        (NormalsTask(), 1.0),
    ]
    return SeveralTasks({task.name: task for task, _ in weighted}, {task.name: weight for task, weight in weighted})


def describe(
    backbone: BackboneConfig, pose_channels: tuple[int, ...], dense_channels: tuple[int, ...]
) -> ModelDescription:
    """The description of a nano model. Behind a backbone without convolutions, the channels of a head are those of
    transposed convolutions, and one 1x1 convolution of the last width follows."""
    tasks: list[HeadTask] = [
        PoseTask(KEYPOINT_SETS[KEYPOINTS]), SegmentationTask(PART_SETS[PARTS]), DepthTask(), NormalsTask()
    ]  # fmt: skip

    def head(task: HeadTask) -> HeadDescription:
        channels = pose_channels if isinstance(task, PoseTask) else dense_channels
        if isinstance(backbone, NanoConfig):
            return nano_head(task, channels)
        return HeadDescription(
            task.channels, channels, channels[-1:], None if task.labels is None else task.labels.name
        )

    return ModelDescription(
        name="opensapiens-nano",
        backbone=backbone,
        heads={task.name: head(task) for task in tasks},
        # Averaging with the mirrored image is the default: it reduces the errors of a model with little training.
        preprocessing=Preprocessing(backbone.image_size, flip_test=True),
        license="Apache-2.0",
        source="recipes.nano, synthetic people",
    )
