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
from opensapiens.labels.keypoints import KEYPOINT_SETS
from opensapiens.labels.parts import PART_SETS, PartSet
from opensapiens.synthetic.people import open_people
from opensapiens.tasks.depth.task import DepthTask
from opensapiens.tasks.normals.task import NormalsTask
from opensapiens.tasks.pose.task import PoseTask
from opensapiens.tasks.segmentation.task import SegmentationTask
from opensapiens.tasks.several import SeveralTasks
from opensapiens.training.run import OptimizerSettings, Run, ScheduleSettings, Size

KEYPOINTS, PARTS = "sapiens_308", "sapiens_28"
# Gentler than for photos: the generator varies framing, light and occlusion already, and the run is short.
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
    grey_chance=0.05,
    blur_chance=0.1,
    low_resolution_chance=0.2,
    noise_chance=0.15,
    noise_sigma=(2.0, 10.0),
    jpeg_chance=0.2,
    patches_chance=0.05,
)
# For the last parts of training: what the generator varies itself need not be varied again.
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
    grey_chance=0.02,
    blur_chance=0.05,
    low_resolution_chance=0.15,
    noise_chance=0.1,
    jpeg_chance=0.1,
    patches_chance=0.0,
)
# A mean over 308 nearly empty heatmaps is some hundredths of the other heads' losses. With these weights the gradients
# that the blocks get from pose, parts and depth are of one order; those of normals, learned soonest, are smaller.
WEIGHTS = {"pose": 300.0, "segmentation": 2.5, "depth": 3.0, "normals": 1.0}


def nano(
    data: Path,
    output: Path,
    validation: Path | None = None,
    steps: int = 4000,
    batch_size: int = 16,
    input_size: Size = (192, 144),
    stages: tuple[tuple[int, Size], ...] = (),
    start_from: Path | None = None,
    pretrained: Path | None = None,
    embed_dim: int = 192,
    layers: int = 14,
    heads: int = 6,
    stem_channels: tuple[int, ...] = (32, 64, 96),
    pose_channels: tuple[int, ...] = (128,),
    dense_channels: tuple[int, ...] = (48,),
    lr: float = 1.2e-3,
    gentle: bool = False,
    label_stride: int = 4,
    workers: int = 0,
    seed: int = 0,
) -> Run:
    """Pose (308), body parts (28), depth and normals for laptops, from folders of synthetic shards.

    Commands: `opensapiens synthesize --out frames --count 10240 --seed 1 --cutouts people` and `opensapiens train nano
    --data people --output nano --micro-batch 8`. Hardware: two CPU cores, where pieces of 8 are quicker, and with units
    for it `--precision bfloat16` as well; on a GPU `--device cuda --precision bfloat16 --workers 14 --batch-size 128`
    in place of the last option. `--data synthetic:SEED:COUNT` renders the people while training instead.
    Result: the scores in the card of the embedded weights, which had seen about 1,144,000 people; not yet the end of
    the curve.

    `start_from` is a folder with the weights of an earlier part (its crops may have been smaller, its `layers` fewer),
    `pretrained` one whose backbone alone is taken; `stages` starts a run at smaller crops, at less cost a step. Unlike
    the published models nano has convolutions around its transformer (`stem_channels`, from stride 2 on), since it sees
    few pictures; `--stem-channels --pose-channels 96 96 --dense-channels 48 48` leaves them out. The learning rate is
    high, since the network is small. `gentle` varies the pictures less, for the last parts of training.
    """
    backbone = (
        NanoConfig(input_size, embed_dim, layers, heads, stem_channels)
        if stem_channels
        else SapiensConfig(input_size, embed_dim, layers, heads)
    )
    return Run(
        model=describe(backbone, pose_channels, dense_channels),
        tasks=nano_tasks,
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
    """The nano recipe at toy size, to see that everything runs: seconds on one CPU core. Learns nothing of use."""
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


def point_weights() -> list[float]:
    """Weights of the 308 points, 1 on average: 238 of them are on the face and would drown the body's.

    Published: all 1.
    """
    keypoints = KEYPOINT_SETS[KEYPOINTS]
    body = set(source_indices(keypoints, KEYPOINT_SETS["coco_17"]).tolist())
    of_group = {"face": 0.3, "foot": 3.0}
    weights = [8.0 if i in body else of_group.get(group, 1.5) for i, group in enumerate(keypoints.groups)]
    return [weight * len(weights) / sum(weights) for weight in weights]


def gently_weighted_parts() -> PartSet:
    """The 28 parts with the square roots of the published class weights: a small model would paint rare parts over
    everything."""
    parts = PART_SETS[PARTS]
    return replace(parts, loss_weights=np.sqrt(parts.loss_weights))


def nano_tasks(input_size: Size, label_stride: int) -> SeveralTasks:
    """The four tasks at an input size."""
    return SeveralTasks(
        {
            "pose": PoseTask(
                KEYPOINT_SETS[KEYPOINTS],
                input_size,
                heatmap_stride=4,
                sigma=pose_sigma(input_size),
                location_weight=2 / WEIGHTS["pose"],
                point_weights=point_weights(),
            ),
            "segmentation": SegmentationTask(gently_weighted_parts(), label_stride=label_stride, dice_weight=1.0),
            "depth": DepthTask(l1_weight=2.0, correlation_weight=2.0, floor=0.05, label_stride=label_stride),
            "normals": NormalsTask(label_stride=label_stride),
        },
        WEIGHTS,
    )


def pose_sigma(input_size: Size) -> float:
    """Published: 6 for heatmaps 256 high. Not below 2: narrower peaks are hard to find from random weights."""
    return max(6.0 * (input_size[0] / 4) / 256, 2.0)


def describe(
    backbone: BackboneConfig, pose_channels: tuple[int, ...], dense_channels: tuple[int, ...]
) -> ModelDescription:
    """The nano model as its folder records it.

    Behind a backbone without convolutions each head's channels are of transposed convolutions, and one 1x1 convolution
    of the last width follows.
    """
    placed = isinstance(backbone, NanoConfig)

    def head(out_channels: int, channels: tuple[int, ...], labels: str | None, kind: str) -> HeadDescription:
        deconvs, convs = ((), channels) if placed else (channels, channels[-1:])
        return HeadDescription(out_channels, deconvs, convs, labels, kind=kind if placed else "upsampling")

    return ModelDescription(
        name="opensapiens-nano",
        backbone=backbone,
        heads={
            "pose": head(len(KEYPOINT_SETS[KEYPOINTS]), pose_channels, KEYPOINTS, "upsampling"),
            "segmentation": head(len(PART_SETS[PARTS]), dense_channels, PARTS, "upsampling"),
            "depth": head(1, dense_channels, None, "sloped"),
            "normals": head(3, dense_channels, None, "turned"),
        },
        # Averaged with the mirrored image by default: with little training each of the two errs on its own.
        preprocessing=Preprocessing(backbone.image_size, flip_test=True),
        licence="Apache-2.0",
        source="recipes.nano, synthetic people",
    )
