"""The recipe of the person detector inside the package: where people are, learned from synthetic people alone."""

from pathlib import Path

from opensapiens.backbones.nano import NanoConfig
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.data.scenes import FrameDataset, Scenes
from opensapiens.geometry.view import Preprocessing
from opensapiens.synthetic.style import Style
from opensapiens.tasks.detection import DetectionTask
from opensapiens.tasks.task import SeveralTasks
from opensapiens.training.run import OptimizerSettings, Run, ScheduleSettings, Size

CROWDS = Style(
    size=(384, 512),
    people=(0.16, 0.15, 0.14, 0.12, 0.1, 0.08, 0.07, 0.06, 0.04, 0.04, 0.02, 0.02),
    framing=(0.76, 0.14, 0.03, 0.07),
    height=(0.1, 0.95),
    off_center=0.8,
    occluders=1.2,
)
"""Frames of up to twelve people, far and near."""
CLOSE_UPS = Style(
    size=(416, 384),
    people=(0.6, 0.2, 0.1, 0.06, 0.04),
    framing=(0.34, 0.4, 0.14, 0.12),
    height=(0.4, 0.99),
    off_center=0.4,
    occluders=0.6,
)
"""Frames of one or a few people who fill them."""
PORTRAITS = Style(
    size=(416, 384),
    people=(0.75, 0.17, 0.08),
    framing=(0.12, 0.5, 0.33, 0.05),
    height=(0.5, 0.99),
    off_center=0.35,
    occluders=0.25,
)
"""Frames of faces and upper bodies."""


def detector(
    data: tuple[Path, ...],
    output: Path,
    photos: Path | None = None,
    things: Path | None = None,
    validation: tuple[Path, ...] = (),
    steps: int = 20_000,
    batch_size: int = 16,
    input_size: Size = (416, 416),
    stages: tuple[tuple[int, Size], ...] = (),
    start_from: str | Path | None = None,
    pretrained: str | Path | None = "nano",
    layers: int = 4,
    channels: tuple[int, ...] = (96, 96),
    lr: float = 1e-3,
    workers: int = 1,
    seed: int = 0,
) -> Run:
    """Boxes of people, from frames of synthetic people and photos without people.

    Commands: see docs/detector.md. Hardware: two CPU cores, `--precision bfloat16` where they have units for it.
    Result: the weights inside the package; their model card has the scores.

    Args:
        data: folders of synthetic shards.
        output: folder for log, checkpoints and the trained model.
        photos: a folder of photos without people, as surroundings; without them, real scenery gives false alarms.
        things: a folder of cut-out things (PNG with transparency) that are put before and behind people.
        validation: folders of synthetic shards to validate on.
        steps: length of the run.
        batch_size: pictures per step, over all processes.
        input_size: height and width of the pictures.
        stages: smaller, cheaper pictures at first: a step, and the height and width until then; several in rising
            order.
        start_from: a detector, by its folder or name, to continue from.
        pretrained: a model folder or a name, whose backbone's first blocks are taken; None starts from random weights.
        layers: blocks of the transformer.
        channels: channels of the head's convolutions.
        lr: learning rate at the end of the warm-up.
        workers: processes that compose pictures, per training process; 0 composes in the training process.
        seed: of weights and pictures.
    """
    backbone = NanoConfig(input_size, 192, layers, 6, (32, 64, 96), feature_stride=8)
    task = DetectionTask()
    return Run(
        model=ModelDescription(
            name="opensapiens-detector",
            backbone=backbone,
            heads={task.name: HeadDescription(task.channels, (), channels, kind="detection")},
            preprocessing=Preprocessing(input_size, resize="letterbox"),
            license="Apache-2.0",
            source="recipes.detector, synthetic people",
        ),
        tasks=SeveralTasks({task.name: task}),
        data=Scenes(data, photos, things, input_size, steps * batch_size, seed),
        validation=FrameDataset(*validation) if validation else None,
        output=Path(output),
        steps=steps,
        batch_size=batch_size,
        stages=stages,
        start_from=start_from,
        pretrained=None if start_from is not None else pretrained,
        augmentation=None,
        optimizer=OptimizerSettings(lr=lr, weight_decay=0.05, muon=True),
        schedule=ScheduleSettings(warmup_steps=min(300, steps // 10), decay="cosine", final_factor=0.02),
        ema_decay=0.998,
        workers=workers,
        seed=seed,
    )
