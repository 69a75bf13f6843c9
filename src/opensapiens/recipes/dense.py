"""Fine-tuning for dense tasks: the paper's sections 4.2 to 4.4, and those of Sapiens2 (arXiv 2604.21681)."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from opensapiens.data.augment import PUBLISHED_POSE
from opensapiens.data.background import Backgrounds
from opensapiens.data.images import ImageCollection
from opensapiens.data.scene_crop import PUBLISHED_DEPTH, PUBLISHED_NORMALS, PUBLISHED_SEGMENTATION, SceneCrop
from opensapiens.labels.own_labels import find_part_set
from opensapiens.labels.parts import SAPIENS_28, PartSet
from opensapiens.recipes.finetuning import SAPIENS, SAPIENS2, SAPIENS2_RELEASED, FineTuning, one_task_run
from opensapiens.recipes.labeled_people import people_with_maps
from opensapiens.recipes.sizes import is_sapiens2
from opensapiens.tasks.albedo import AlbedoTask
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.matting import MattingTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pointmap import PointmapTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import DenseTask
from opensapiens.training.run import Run

Framing = Annotated[
    Literal["scene", "person"],
    tyro.conf.arg(
        help="scene cuts pieces of whole pictures, as published, and the model is then given whole pictures; person "
        "crops each person: for pictures of several people of whom only one has labels."
    ),
]
SAPIENS2_NORMALS = NormalsTask(cosine_weight=10, l1_weight=1, gradient_weight=10, unit_first=True)


def segmentation(
    data: Path,
    output: Path,
    training: FineTuning = SAPIENS,
    parts: str = "sapiens_28",
    validation: Path | None = None,
    backgrounds: Path | None = None,
    framing: Framing = "scene",
) -> Run:
    """Body parts as a class per pixel, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train segmentation --size 0.3b --pretrained
    sapiens-0.3b-pretrain --data people --backgrounds scenery --output runs/segmentation --precision bfloat16`.
    Hardware of the published scripts: 8 to 32 A100.
    Result: Published scores are on data that are not public: mIoU 76.7 / 77.8 / 79.9 / 81.1 for 0.3b / 0.6b / 1b /
    2b.

    Args:
        data: a folder with `images` and parts, or a folder of synthetic shards.
        output: folder for log, checkpoints, pictures and the trained model.
        parts: the set of body parts: sapiens_28, sapiens_29, or your own in a CSV file or a JSON with categories.
        validation: as data, to validate on.
        backgrounds: a folder of pictures without people, put behind the people.
    """
    part_set = find_part_set(parts)
    task = SegmentationTask(part_set, dice_weight=1.0 if is_sapiens2(training.size) else 0.0)
    behind = _backgrounds(backgrounds, 0.8)
    return _dense_run(task, data, output, training, validation, framing, PUBLISHED_SEGMENTATION, behind, part_set)


def depth(
    data: Path,
    output: Path,
    training: FineTuning = SAPIENS,
    validation: Path | None = None,
    backgrounds: Path | None = None,
    framing: Framing = "scene",
) -> Run:
    """Relative depth of a person per pixel, small = near, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train depth --size 0.3b --pretrained
    sapiens-0.3b-pretrain --data people --backgrounds scenery --output runs/depth --precision bfloat16`. Hardware
    of the published scripts: 8 to 32 A100.
    Result: scores were published on Hi4D and THuman2. Not reproduced here.

    Args:
        data: a folder with `images` and depth (.npy, any unit) and optionally masks, or a folder of synthetic shards.
        output: folder for log, checkpoints, pictures and the trained model.
        validation: as data, to validate on.
        backgrounds: a folder of pictures without people, put behind the people.
    """
    behind = _backgrounds(backgrounds, 0.5)
    return _dense_run(DepthTask(), data, output, training, validation, framing, PUBLISHED_DEPTH, behind)


def normals(
    data: Path,
    output: Path,
    training: FineTuning = SAPIENS,
    validation: Path | None = None,
    backgrounds: Path | None = None,
    framing: Framing = "scene",
) -> Run:
    """Surface normals of a person per pixel, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train normals --size 0.3b --pretrained
    sapiens-0.3b-pretrain --data people --backgrounds scenery --output runs/normals --precision bfloat16`.
    Hardware of the published scripts: 8 to 32 A100.
    Result: scores were published on Hi4D and THuman2. Not reproduced here.

    Args:
        data: a folder with `images` and normals (.npy, +x right, +y up, +z to the camera) and optionally masks, or a
            folder of synthetic shards.
        output: folder for log, checkpoints, pictures and the trained model.
        validation: as data, to validate on.
        backgrounds: a folder of pictures without people, put behind the people.
    """
    task = SAPIENS2_NORMALS if is_sapiens2(training.size) else NormalsTask()
    behind = _backgrounds(backgrounds, 0.5)
    return _dense_run(task, data, output, training, validation, framing, PUBLISHED_NORMALS, behind)


def pointmap(
    data: Path,
    output: Path,
    training: FineTuning = SAPIENS2_RELEASED,
    validation: Path | None = None,
    framing: Framing = "scene",
) -> Run:
    """Points in meters for every pixel, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train pointmap --size sapiens2-0.4b --pretrained
    sapiens2-0.4b-pretrain --data people --output runs/pointmap --precision bfloat16`.
    Hardware of the published configs: up to 256 GPUs.
    Result: published scores are on data that are not public. Not reproduced here.

    Args:
        data: a folder with `images` and points (.npy, meters, x right, y down, z forward), and optionally masks, or
            a folder of synthetic shards with all labels.
        output: folder for log, checkpoints, pictures and the trained model.
        validation: as data, to validate on.
    """
    return _dense_run(PointmapTask(), data, output, training, validation, framing, PUBLISHED_NORMALS)


def matting(
    data: Path,
    output: Path,
    training: FineTuning = SAPIENS2,
    validation: Path | None = None,
    backgrounds: Path | None = None,
    framing: Framing = "scene",
) -> Run:
    """How much of each pixel is the person, and its color, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train matting --size sapiens2-0.4b --pretrained
    sapiens2-0.4b-pretrain --data people --output runs/matting --precision bfloat16`.
    Hardware of the published configs: up to 256 GPUs.
    Result: published scores are on data that are not public. Not reproduced here. No config of it was released.

    Args:
        data: a folder with `images` and alphas (.png), and optionally masks, or a folder of synthetic shards with all
            labels.
        output: folder for log, checkpoints, pictures and the trained model.
        validation: as data, to validate on.
        backgrounds: a folder of pictures without people, mixed in by alpha behind half of the people.
    """
    behind = _backgrounds(backgrounds, 0.5)  # how often is not described
    return _dense_run(MattingTask(), data, output, training, validation, framing, PUBLISHED_DEPTH, behind)


def albedo(
    data: Path,
    output: Path,
    training: FineTuning = SAPIENS2_RELEASED,
    validation: Path | None = None,
    framing: Framing = "scene",
) -> Run:
    """Colors without light, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train albedo --size sapiens2-0.4b --pretrained
    sapiens2-0.4b-pretrain --data people --output runs/albedo --precision bfloat16`.
    Hardware of the published configs: up to 256 GPUs.
    Result: published scores are on data that are not public. Not reproduced here.

    Args:
        data: a folder with `images` and albedos (.png), and optionally masks, or a folder of synthetic shards with all
            labels.
        output: folder for log, checkpoints, pictures and the trained model.
        validation: as data, to validate on.
    """
    return _dense_run(AlbedoTask(), data, output, training, validation, framing, PUBLISHED_NORMALS)


def _dense_run(
    task: DenseTask,
    data: Path,
    output: Path,
    training: FineTuning,
    validation: Path | None,
    framing: Framing,
    scene: SceneCrop,
    backgrounds: Backgrounds | None = None,
    parts: PartSet = SAPIENS_28,
) -> Run:
    """The run of a dense task on a folder of people who have its labels."""
    return one_task_run(
        task,
        people_with_maps(data, task.kind, parts),
        output,
        training,
        None if validation is None else people_with_maps(validation, task.kind, parts),
        scene if framing == "scene" else PUBLISHED_POSE,
        backgrounds,
    )


def _backgrounds(folder: Path | None, chance: float) -> Backgrounds | None:
    return None if folder is None else Backgrounds(ImageCollection(folder), chance)
