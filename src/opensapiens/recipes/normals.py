"""Fine-tuning for surface normals (the paper's section 4.4)."""

from pathlib import Path

from opensapiens.data.augment import PUBLISHED_POSE
from opensapiens.data.label_kinds import NORMALS
from opensapiens.data.scene_crop import PUBLISHED_NORMALS
from opensapiens.recipes.finetuning import Framing, ScheduleName, backgrounds_from, one_task_run
from opensapiens.recipes.labeled_people import people_with_maps
from opensapiens.recipes.sizes import SizeName, is_sapiens2
from opensapiens.tasks.normals import NormalsTask
from opensapiens.training.run import Run, Size

BACKGROUND_CHANCE = 0.5
SAPIENS2_NORMALS = NormalsTask(cosine_weight=10, l1_weight=1, gradient_weight=10, unit_first=True)


def normals(
    data: Path,
    output: Path,
    size: SizeName = "0.3b",
    pretrained: str | None = None,
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
    """Surface normals of a person per pixel, from a pretrained backbone and a fresh head.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train normals --size 0.3b --pretrained
    sapiens-0.3b-pretrain --data people --backgrounds scenery --output runs/normals --precision bfloat16`.
    Hardware of the published scripts: 8 to 32 A100.
    Result: scores were published on Hi4D and THuman2. Not reproduced here.

    Args:
        data: a folder with `images` and normals (.npy, +x right, +y up, +z to the camera) and optionally masks, or a
            folder of synthetic shards.
        output: folder for log, checkpoints, pictures and the trained model.
        size: the backbone's size, of Sapiens2 with its losses; nano is the network of the weights inside the package
            (--pretrained nano).
        pretrained: a model folder or a name, whose backbone the run starts with: nano, with --size nano, or a published
            one, with its size.
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
    return one_task_run(
        SAPIENS2_NORMALS if is_sapiens2(size) else NormalsTask(),
        people_with_maps(data, NORMALS),
        output,
        size,
        pretrained,
        None if validation is None else people_with_maps(validation, NORMALS),
        input_size,
        PUBLISHED_NORMALS if framing == "scene" else PUBLISHED_POSE,
        backgrounds_from(backgrounds, BACKGROUND_CHANCE),
        schedule=schedule,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
    )
