"""The paper's claims in miniature: small models, synthetic people, pretraining against none and against objects.

`benchmarks/claims.py` makes the data, runs these and draws the table.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opensapiens.data.sample import Sample
from opensapiens.recipes.pose import pose
from opensapiens.recipes.pretrain import pretrain
from opensapiens.recipes.segmentation import segmentation
from opensapiens.recipes.sizes import SizeName
from opensapiens.training.run import OptimizerSettings, Run, SampleSource, Size

INPUT_SIZE = (192, 144)
PRETRAINING_LR, PRETRAINING_BATCH = 1e-3, 64
FINETUNING_LR, FINETUNING_BATCH = 5e-4, 32


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


def _coarse(run: Run) -> Run:
    """With a head of one upsampling less, as pose has: of a small model's work the last one is three quarters."""
    model = run.model
    heads = {name: head | {"deconv_channels": head["deconv_channels"][:-1]} for name, head in model.heads.items()}
    return replace(run, model=replace(model, heads=heads), label_stride=4)


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
    """Pose (17 points) or body parts (28) with a share of the labels, from a pretrained small backbone or at random.

    Command: `opensapiens train claims_finetuning --data shards/train --validation shards/validation --labels 0.01
    --pretrained runs/people/model --output runs/pose`. Hardware: any.
    Result: the table of docs/training.md, once it has been run.

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
        run = _coarse(segmentation(data, output, framing="person", **shared))
    decay = 1.0 if pretrained is None else run.optimizer.layer_decay
    optimizer = OptimizerSettings(FINETUNING_LR, weight_decay=run.optimizer.weight_decay, layer_decay=decay)
    return replace(run, data=Share(run.data, labels, seed), optimizer=optimizer, validation_steps=steps)
