"""Fine-tuning for body-part segmentation (the paper's section 4.2)."""

from pathlib import Path

from opensapiens.data.augment import PUBLISHED_POSE
from opensapiens.data.label_kinds import PARTS
from opensapiens.data.scene_crop import PUBLISHED_SEGMENTATION
from opensapiens.labels.own_labels import find_part_set
from opensapiens.recipes.finetuning import Framing, ScheduleName, backgrounds_from, one_task_run
from opensapiens.recipes.labeled_people import people_with_maps
from opensapiens.recipes.sizes import SizeName, is_sapiens2
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
    input_size: Size | None = None,
    schedule: ScheduleName = "paper",
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    seed: int = 0,
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
        size: the backbone's size, of Sapiens2 with its losses; nano is the network of the weights inside the package
            (--pretrained nano).
        pretrained: a model folder or a name, whose backbone the run starts with: nano, with --size nano, or a published
            one, with its size.
        parts: the set of body parts: sapiens_28, sapiens_29, or your own in a CSV file or a JSON with categories.
        validation: as data, to validate on.
        backgrounds: a folder of pictures without people, put behind the people.
        framing: scene cuts pieces of whole pictures, as published, and the model is then given whole pictures; person
            crops each person: for pictures of several people of whom only one has labels.
        input_size: height and width of the network's input; by default 1024 768, of nano 256 208.
        schedule: paper follows the paper's text, published the released config of the size.
        epochs: passes over the data, where steps does not say how long to train; by default the released config's.
        steps: length of the run; by default by the epochs.
        batch_size: samples per step, over all processes; by default the released config's.
        workers: processes that load samples, per training process; by default by the number of cores.
        seed: of weights, order and augmentation.
    """
    part_set = find_part_set(parts)
    return one_task_run(
        SegmentationTask(part_set, dice_weight=1.0 if is_sapiens2(size) else 0.0),
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
