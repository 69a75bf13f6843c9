"""Pretraining of a Sapiens2 backbone by masked reconstruction and self-distillation, as the paper describes it."""

from pathlib import Path
from typing import Literal

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.data.images import ImageCollection
from opensapiens.data.multi_crop import MultiCrop
from opensapiens.geometry.view import Preprocessing
from opensapiens.models.self_distillation import DISTILLATION, DistillationSettings
from opensapiens.recipes.sizes import backbone, decoder
from opensapiens.storage.listing import passed_over_sentence
from opensapiens.tasks.masked_pretraining import MaskedPretrainingTask
from opensapiens.tasks.self_distillation import SelfDistillationTask
from opensapiens.tasks.task import SeveralTasks
from opensapiens.training.run import OptimizerSettings, Run, ScheduleSettings, Size

LR, FINAL_LR = 1e-4, 1e-7
WARMUP_STEPS = 1000
TOY = DistillationSettings(prototypes=64, hidden=32, bottleneck=16, warmup_steps=20)


def self_distillation(
    data: tuple[Path, ...],
    output: Path,
    size: Literal[
        "sapiens2-toy", "sapiens2-0.1b", "sapiens2-0.4b", "sapiens2-0.8b", "sapiens2-1b", "sapiens2-5b"
    ] = "sapiens2-0.4b",
    validation: Path | None = None,
    input_size: Size = (1024, 768),
    mask_ratio: float = 0.75,
    batch_size: int = 1024,
    steps: int = 500_000,
    neighbors: int = 8,
    workers: int | None = None,
    seed: int = 0,
) -> Run:
    """Pretraining of Sapiens2: masked reconstruction and self-distillation on images without labels.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train self_distillation --data shards --output runs/pretrain
    --size sapiens2-0.4b --parallel fsdp --precision bfloat16 --recompute --micro-batch 16`. Hardware of the paper:
    A100, their number is not in it.
    Result: `model/` in the output, the teacher's backbone, to fine-tune with `--pretrained`, and `pictures/`.

    As in the paper (its code was not published): 2 global views of 0.5 to 1 of a picture's area, 4 local ones of 0.2 to
    0.7; 75 % of the patches of global views hidden, in 40 % of them block by block; squared error of the hidden
    patches, cross-entropy of the class tokens between the teacher's global and the student's other views, and KoLeo, at
    weights 1, 0.4 and 0.04; teacher with decay 0.992, center 0.9, temperatures 0.1 and 0.065 to 0.07 over 1000 steps;
    AdamW (0.9, 0.95), weight decay 0.05, learning rate 1e-4 after 1000 steps of warm-up, cosine to 1e-7, clipping at 5,
    500,000 steps; a decoder of 8 blocks of 512.

    Choices of ours, where the paper says nothing: the batch of 1024; the projection, with DINO's layers and 65,536
    prototypes; local views of 3/7 of the side, as DINO's; their colors distorted; blocks of 4 by 4 patches; the
    student's class token of a global view comes from its visible patches; KoLeo among 8 neighbors in the batch; the
    exported backbone is the teacher's.

    Args:
        data: folders of images, tar shards of images, and folders of shards.
        output: folder for log, checkpoints, pictures and the trained model.
        size: the backbone's size.
        validation: a folder of images or shards to validate the reconstruction on.
        input_size: height and width of the global views.
        mask_ratio: share of the patches that are hidden.
        batch_size: images per step, over all processes.
        steps: length of the run.
        neighbors: images among which each class token is kept away from the nearest; divides each process's share of
            the batch.
        workers: processes that load images, per training process; by default by the number of cores.
        seed: of weights, order and crops.

    Raises:
        ValueError: a batch that is not made of whole groups of neighbors.
    """
    if neighbors < 2 or batch_size % neighbors:
        raise ValueError(
            f"a batch of {batch_size} is not made of groups of {neighbors}: change --batch-size, --neighbors"
        )
    images = ImageCollection(*data)
    if images.passed_over:
        print(passed_over_sentence(images.passed_over))
    encoder = backbone(size, input_size, class_token=True)
    masked = MaskedPretrainingTask(encoder.patch_size, mask_ratio)
    return Run(
        model=ModelDescription(
            name=f"{size}-self-distilled",
            backbone=encoder,
            heads={},
            preprocessing=Preprocessing(input_size, resize="squash", interpolation="bicubic"),
            source="recipes.self_distillation",
            decoder=decoder(size),
        ),
        tasks=SeveralTasks({DISTILLATION: SelfDistillationTask(masked, neighbors=neighbors)}),
        data=images,
        validation=None if validation is None else ImageCollection(validation),
        output=Path(output),
        steps=steps,
        batch_size=batch_size,
        mask_ratio=mask_ratio,
        distillation=TOY if size == "sapiens2-toy" else DistillationSettings(),
        augmentation=MultiCrop(patch_size=encoder.patch_size),
        optimizer=OptimizerSettings(LR, betas=(0.9, 0.95), weight_decay=0.05, clip_norm=5.0),
        schedule=ScheduleSettings(min(WARMUP_STEPS, steps // 10), "cosine", final_factor=FINAL_LR / LR),
        ema_decay=0.0,  # the teacher is the average
        workers=workers,
        seed=seed,
    )
