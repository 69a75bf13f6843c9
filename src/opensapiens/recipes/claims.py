"""The paper's claims in miniature: small models, synthetic people, pretraining against none and against objects.

`benchmarks/claims.py` makes the data, runs these and draws the table.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opensapiens.data.label_kinds import PARTS
from opensapiens.data.mixture import Mixture, Source
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardDataset
from opensapiens.labels.parts import SAPIENS_28, part_set_of_rows
from opensapiens.recipes.finetuning import one_task_run
from opensapiens.recipes.pose import pose
from opensapiens.recipes.pretrain import pretrain
from opensapiens.recipes.sizes import SizeName, head
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.training.run import OptimizerSettings, Run, SampleSource, Size

INPUT_SIZE = (192, 144)
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
    "recipes/claims.py",
)
"""What is asked of a short run: of the 28 parts most would not yet be found at all."""
_REGION_OF_WORD = {
    "head": ("Face", "Hair", "Lip", "Teeth", "Tongue"),
    "trunk": ("Torso", "Upper_Clothing", "Apparel"),
    "arms": ("Arm", "Hand"),
    "legs": ("Leg", "Lower_Clothing", "Foot", "Shoe", "Sock"),
}
PRETRAINING_LR, PRETRAINING_BATCH = 1e-3, 64
FINETUNING_LR, FINETUNING_BATCH = 2e-3, 32


@dataclass(frozen=True)
class Share:
    """A random share of a set's samples: another one for each seed."""

    source: SampleSource
    share: float
    seed: int

    def __post_init__(self) -> None:
        total = len(self.source)
        chosen = np.random.default_rng([self.seed, 3]).permutation(total)[: max(round(self.share * total), 1)]
        object.__setattr__(self, "chosen", chosen)

    def __len__(self) -> int:
        return max(round(self.share * len(self.source)), 1)

    def __getitem__(self, index: int, /) -> Sample:
        chosen: Any = self.chosen  # type: ignore[attr-defined]
        return self.source[int(chosen[index])]


def _regions_of(shards: Path) -> Mixture:
    """The people of a folder of shards; of their labels the regions alone."""
    renamed = {
        part: region
        for part in SAPIENS_28.names
        for region, words in _REGION_OF_WORD.items()
        if any(word in part for word in words)
    }
    return Mixture([Source(ShardDataset(shards, kinds=(PARTS,)), renamed_parts=renamed)], part_set=REGIONS)


def _regions_run(data: Path, output: Path, size: SizeName, validation: Path | None, **settings: Any) -> Run:
    """Segmentation of few classes, and a head with one upsampling less: of a small model's work that is three
    quarters."""
    task = SegmentationTask(REGIONS)
    full = head(size, task)
    run = one_task_run(
        task,
        _regions_of(data),
        output,
        size,
        validation=None if validation is None else _regions_of(validation),
        description=replace(full, deconv_channels=full.deconv_channels[:-1]),
        **settings,
    )
    return replace(run, label_stride=4)


def claims_pretraining(
    data: Path,
    output: Path,
    size: SizeName = "nano",
    steps: int = 20_000,
    batch_size: int = PRETRAINING_BATCH,
    input_size: Size = INPUT_SIZE,
    workers: int = 0,
    seed: int = 0,
) -> Run:
    """Masked pretraining of a small backbone on frames of 192x144.

    Command: `opensapiens train claims_pretraining --data frames --output runs/people`. Hardware: any.
    Result: a backbone for claims_finetuning.
    """
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


def claims_finetuning(
    data: Path,
    output: Path,
    task: Literal["pose", "segmentation"] = "pose",
    pretrained: str | None = None,
    validation: Path | None = None,
    labels: float = 1.0,
    size: SizeName = "nano",
    steps: int = 3000,
    batch_size: int = FINETUNING_BATCH,
    input_size: Size = INPUT_SIZE,
    workers: int = 0,
    seed: int = 0,
) -> Run:
    """Pose (17 points) or body regions (REGIONS) with a share of the labels, from a pretrained small backbone or at
    random.

    Command: `opensapiens train claims_finetuning --data shards/train --validation shards/validation --labels 0.01
    --pretrained runs/people/model --output runs/pose`. Hardware: any.
    Result: the table of docs/training.md.

    The number of steps, their batches and the learning rate are the same whatever the backbone starts from. Without a
    pretrained one the layers all learn at the full rate: slowing a random start down would make it lose.
    """
    shared: dict[str, Any] = {
        "size": size,
        "pretrained": pretrained,
        "validation": validation,
        "input_size": input_size,
        "steps": steps,
        "batch_size": batch_size,
        "workers": workers,
        "seed": seed,
    }
    if task == "pose":
        run = pose(data, output, keypoints="coco_17", **shared)
    else:
        run = _regions_run(data, output, **shared)
    decay = 1.0 if pretrained is None else run.optimizer.layer_decay
    optimizer = OptimizerSettings(FINETUNING_LR, weight_decay=run.optimizer.weight_decay, layer_decay=decay)
    return replace(run, data=Share(run.data, labels, seed), optimizer=optimizer, validation_steps=steps)
