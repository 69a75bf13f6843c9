"""Masked-autoencoder pretraining of the backbone, as the paper's section 3.2 and its published configs have it."""

from pathlib import Path

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.data.images import ImageCollection
from opensapiens.data.square_crop import SquareCrop
from opensapiens.geometry.view import Preprocessing
from opensapiens.models.masked_autoencoder import HEAD
from opensapiens.recipes.sizes import PretrainingSize, backbone, decoder, is_sapiens2
from opensapiens.storage.listing import passed_over_sentence
from opensapiens.tasks.masked_pretraining import MaskedPretrainingTask
from opensapiens.tasks.task import SeveralTasks
from opensapiens.training.run import OptimizerSettings, Run, ScheduleSettings, Size

BASE_LR, BASE_BATCH = 1.5e-4, 256
WARMUP_SHARE = 40 / 1600


def pretrain(
    data: tuple[Path, ...],
    output: Path,
    size: PretrainingSize = "0.3b",
    validation: Path | None = None,
    input_size: Size = (1024, 1024),
    mask_ratio: float = 0.75,
    batch_size: int = 4096,
    epochs: float = 1600,
    steps: int | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> Run:
    """Masked-autoencoder pretraining of a backbone on images without labels.

    Command: `torchrun --nproc-per-node 8 -m opensapiens train pretrain --data shards --output runs/pretrain --size 0.3b
    --parallel fsdp --precision bfloat16 --recompute --micro-batch 64`. Hardware of the paper: 1024 A100 for 18 days,
    for 2b.
    Result: `model/` in the output, to fine-tune with `--pretrained`, and `pictures/` on the way.

    As published: AdamW (0.9, 0.95), weight decay 0.05, learning rate 1.5e-4 per 256 images of the batch, linear warm-up
    over a fortieth of the run, cosine to 0, squares of 1024 pixels cut by RandomResizedCrop and flipped. The paper's
    batches are 98,304 / 65,536 / 40,960 / 20,480 for 0.3b / 0.6b / 1b / 2b, at which that rule for the learning rate
    has not been published to hold. Images are read into RGB and the loss is averaged over all ranks; a loss of NaN
    stops the run (published: replaced by a constant).

    Args:
        data: folders of images, tar shards of images, and folders of shards.
        output: folder for log, checkpoints, pictures and the trained model.
        size: the backbone's size; nano is not among them, its convolutions would see the hidden patches.
        validation: a folder of images or shards to validate on.
        input_size: height and width of the network's input.
        mask_ratio: share of the patches that are hidden.
        batch_size: images per step, over all processes; the learning rate is proportional to it.
        epochs: passes over the data, where steps does not say how long to train.
        steps: length of the run; by default by the epochs.
        workers: processes that load images, per training process; by default by the number of cores.
        seed: of weights, order and crops.
    """
    images = ImageCollection(*data)
    if images.passed_over:
        print(passed_over_sentence(images.passed_over))
    steps = steps or max(round(epochs * len(images) / batch_size), 1)
    encoder = backbone(size, input_size, class_token=True)
    return Run(
        model=ModelDescription(
            name=f"{size}-pretrained" if is_sapiens2(size) else f"sapiens-{size}-pretrained",
            backbone=encoder,
            heads={},
            preprocessing=Preprocessing(input_size, resize="squash", interpolation="bicubic"),
            source="recipes.pretrain",
            decoder=decoder(size),
        ),
        tasks=SeveralTasks({HEAD: MaskedPretrainingTask(encoder.patch_size, mask_ratio)}),
        data=images,
        validation=None if validation is None else ImageCollection(validation),
        output=Path(output),
        steps=steps,
        batch_size=batch_size,
        mask_ratio=mask_ratio,
        augmentation=SquareCrop(),
        optimizer=OptimizerSettings(BASE_LR * batch_size / BASE_BATCH, betas=(0.9, 0.95), weight_decay=0.05),
        schedule=ScheduleSettings(round(steps * WARMUP_SHARE), "cosine", final_factor=0.0, warmup_from=1e-4),
        ema_decay=0.0,  # neither the paper nor the code averages
        workers=workers,
        seed=seed,
    )
