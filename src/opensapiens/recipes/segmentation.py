"""Fine-tuning for body-part segmentation (the paper's section 4.2)."""

from pathlib import Path

from opensapiens.data.augment import PUBLISHED_POSE
from opensapiens.data.label_kinds import PARTS
from opensapiens.data.scene_crop import PUBLISHED_SEGMENTATION
from opensapiens.labels.own_labels import find_part_set
from opensapiens.recipes.finetuning import Framing, ScheduleName, backgrounds_from, one_task_run
from opensapiens.recipes.labeled_people import people_with_maps
from opensapiens.recipes.sizes import SizeName
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.training.run import Run, Size

BACKGROUND_CHANCE = 0.8


def segmentation(
    data: Path,
    output: Path,
    size: SizeName = "0.3b",
    pretrained: str | None = None,
    parts: str = "sapiens_28",
    validation: Path | None = None,
    backgrounds: Path | None = None,
    framing: Framing = "scene",
    input_size: Size = (1024, 768),
    schedule: ScheduleName = "paper",
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    workers: int = 8,
    seed: int = 0,
) -> Run:
    """Body parts as a class per pixel, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train segmentation --size 0.3b --pretrained
    sapiens-0.3b-pretrain --data people --backgrounds scenery --output runs/segmentation --precision bfloat16`.
    Hardware of the published scripts: 8 to 32 A100.
    Result: Published scores are on data that are not public: mIoU 76.7 / 77.8 / 79.9 / 81.1 for 0.3b / 0.6b / 1b /
    2b.

    `--data` is a folder with `images` and parts, or one of synthetic shards. `--parts` names the set, or a CSV file
    or a JSON with categories. `--backgrounds` are pictures without people. `--framing scene` cuts pieces of whole
    pictures, as published, and the model is then given whole pictures; `person` crops each person, which pictures
    of several people need whose labels are of one. `--pretrained` is a model folder or a published name.
    """
    part_set = find_part_set(parts)
    return one_task_run(
        SegmentationTask(part_set),
        people_with_maps(data, PARTS, part_set),
        output,
        size,
        pretrained,
        None if validation is None else people_with_maps(validation, PARTS, part_set),
        input_size,
        PUBLISHED_SEGMENTATION if framing == "scene" else PUBLISHED_POSE,
        backgrounds_from(backgrounds, BACKGROUND_CHANCE),
        schedule=schedule,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
    )
