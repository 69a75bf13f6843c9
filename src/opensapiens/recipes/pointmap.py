"""Fine-tuning for points in space (Sapiens2, arXiv 2604.21681)."""

from pathlib import Path

from opensapiens.data.augment import PUBLISHED_POSE
from opensapiens.data.label_kinds import POINTS
from opensapiens.data.scene_crop import PUBLISHED_NORMALS
from opensapiens.recipes.finetuning import Framing, ScheduleName, one_task_run
from opensapiens.recipes.labeled_people import people_with_maps
from opensapiens.recipes.sizes import SizeName
from opensapiens.tasks.pointmap import PointmapTask
from opensapiens.training.run import Run, Size


def pointmap(
    data: Path,
    output: Path,
    size: SizeName = "sapiens2-0.4b",
    pretrained: str | None = None,
    validation: Path | None = None,
    framing: Framing = "scene",
    input_size: Size | None = None,
    schedule: ScheduleName = "published",
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> Run:
    """Points in meters for every pixel, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train pointmap --size sapiens2-0.4b --pretrained
    sapiens2-0.4b-pretrain --data people --output runs/pointmap --precision bfloat16`.
    Hardware of the published configs: up to 256 GPUs.
    Result: published scores are on data that are not public. Not reproduced here.

    Args:
        data: a folder with `images` and points (.npy, meters, x right, y down, z forward), and optionally masks.
        output: folder for log, checkpoints, pictures and the trained model.
        size: the backbone's size.
        pretrained: a model folder or a name, whose backbone the run starts with, of the same size.
        validation: as data, to validate on.
        framing: scene cuts pieces of whole pictures, and the model is then given whole pictures; person crops each
            person: for pictures of several people of whom only one has labels.
        input_size: height and width of the network's input; by default 1024 768.
        schedule: published follows the released config of the size, paper the text of the first paper.
        epochs: passes over the data, where steps does not say how long to train.
        steps: length of the run; by default the released config's.
        batch_size: samples per step, over all processes; by default the released config's on 8 GPUs.
        workers: processes that load samples, per training process; by default by the number of cores.
        seed: of weights, order and augmentation.
    """
    return one_task_run(
        PointmapTask(),
        people_with_maps(data, POINTS),
        output,
        size,
        pretrained,
        None if validation is None else people_with_maps(validation, POINTS),
        input_size,
        PUBLISHED_NORMALS if framing == "scene" else PUBLISHED_POSE,
        schedule=schedule,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
    )
