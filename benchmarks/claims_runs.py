"""The runs of claims.py: small models, synthetic people, pretraining against none and against objects."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from torch.utils.data import Subset

from opensapiens.data.label_kinds import PARTS
from opensapiens.data.mixture import Mixture, Source
from opensapiens.data.shards import ShardDataset
from opensapiens.labels.parts import SAPIENS_28, part_set_of_rows
from opensapiens.recipes.finetuning import FineTuning, one_task_run
from opensapiens.recipes.pose import pose
from opensapiens.recipes.pretrain import pretrain
from opensapiens.recipes.sizes import PretrainingSize, SizeName, head
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.training.run import OptimizerSettings, Run, SampleSource, Size

REGIONS = part_set_of_rows(
    "body_regions",
    [
        {"name": name, "mirror": "", "loss_weight": "1", "color": color}
        for name, color in (
            ("Background", "#323232"),
            ("head", "#ff006d"),
            ("trunk", "#008048"),
            ("arms", "#00a0cc"),
            ("legs", "#4800ff"),
        )
    ],
    "benchmarks/claims_runs.py",
)
"""What a short run can learn: it would not find most of the 28 parts at all."""
_REGION_OF_WORD = {
    "head": ("Face", "Hair", "Lip", "Teeth", "Tongue"),
    "trunk": ("Torso", "Upper_Clothing", "Apparel"),
    "arms": ("Arm", "Hand"),
    "legs": ("Leg", "Lower_Clothing", "Foot", "Shoe", "Sock"),
}
PRETRAINING_LR, PRETRAINING_BATCH = 1e-3, 64
FINETUNING_LR, FINETUNING_BATCH = 2e-3, 32


def random_share(source: SampleSource, share: float, seed: int) -> Subset:
    """A random share of a set's samples, at least one, another for each seed."""
    count = max(round(share * len(source)), 1)
    return Subset(source, np.random.default_rng([seed, 3]).permutation(len(source))[:count].tolist())  # type: ignore[arg-type]


def _regions_of(shards: Path) -> Mixture:
    """The people of a folder of shards, with the regions as their only labels."""
    renamed = {
        part: region
        for part in SAPIENS_28.names
        for region, words in _REGION_OF_WORD.items()
        if any(word in part for word in words)
    }
    return Mixture([Source(ShardDataset(shards, kinds=(PARTS,)), renamed_parts=renamed)], part_set=REGIONS)


def _regions_run(data: Path, output: Path, training: FineTuning, validation: Path | None) -> Run:
    """Segmentation of few classes, with one upsampling less in the head, which is three quarters of the work of a small
    model."""
    task = SegmentationTask(REGIONS)
    full = head(training.size, task)
    run = one_task_run(
        task,
        _regions_of(data),
        output,
        training,
        None if validation is None else _regions_of(validation),
        description=replace(full, deconv_channels=full.deconv_channels[:-1]),
    )
    return replace(run, label_stride=4)


def pretraining_run(
    data: Path,
    output: Path,
    size: PretrainingSize,
    steps: int,
    input_size: Size,
    batch_size: int = PRETRAINING_BATCH,
    workers: int = 0,
    seed: int = 0,
) -> Run:
    """Masked pretraining of a small backbone, which finetuning_run starts from."""
    run = pretrain(
        (data,),
        output,
        size,
        input_size=input_size,
        steps=steps,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
    )
    optimizer = replace(run.optimizer, lr=PRETRAINING_LR)
    return replace(run, optimizer=optimizer, picture_steps=max(steps // 4, 1))


def finetuning_run(
    data: Path,
    output: Path,
    task: Literal["pose", "segmentation"],
    pretrained: str | None,
    validation: Path | None,
    labels: float,
    size: SizeName,
    steps: int,
    input_size: Size,
    batch_size: int = FINETUNING_BATCH,
    workers: int = 0,
    seed: int = 0,
) -> Run:
    """Pose (17 points) or body regions (REGIONS) with a share of the labels, from a pretrained small backbone or from
    random weights.

    Steps, batches and learning rate are the same for every start. From random weights all layers learn at the full
    rate: decaying it towards the input would put that start at a disadvantage.
    """
    training = FineTuning(size, pretrained, input_size, steps=steps, batch_size=batch_size, workers=workers, seed=seed)
    if task == "pose":
        run = pose(data, output, training, keypoints="coco_17", validation=validation)
    else:
        run = _regions_run(data, output, training, validation)
    decay = 1.0 if pretrained is None else run.optimizer.layer_decay
    optimizer = OptimizerSettings(FINETUNING_LR, weight_decay=run.optimizer.weight_decay, layer_decay=decay)
    return replace(run, data=random_share(run.data, labels, seed), optimizer=optimizer, validation_steps=steps)
