"""What the tests of several processes run: `torchrun two_ranks.py SHARDS FOLDER`, and `uneven_run` in one process."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from opensapiens.data.label_kinds import NORMALS, PARTS
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardDataset
from opensapiens.recipes.nano import nano_smoke
from opensapiens.training.loop import train
from opensapiens.training.run import Run


def without_some_labels(number: int, sample: Sample) -> Sample:
    """Every second sample lacks points, every third normals, one in four parts: ranks have unequal counts."""
    if number % 2:
        sample = replace(sample, keypoints=None)
    missing = {NORMALS: number % 3 == 0, PARTS: number % 4 == 0}
    labels = {kind: values for kind, values in sample.labels.items() if not missing.get(kind)}
    return replace(sample, labels=labels)


def uneven_run(shards: Path, output: Path, **changes: Any) -> Run:
    """Four steps of the toy recipe with dropout in its heads, on samples with unequal labels."""
    source = ShardDataset(shards)
    samples = [without_some_labels(number, source[number]) for number in range(len(source))]
    run = nano_smoke(shards, output, steps=4, batch_size=4)
    heads = {name: replace(head, dropout=0.25) for name, head in run.model.heads.items()}
    run = replace(run, model=replace(run.model, heads=heads), data=samples, validation=samples, device="cpu")
    return replace(run, checkpoint_steps=2, validation_steps=4, **changes)


if __name__ == "__main__":
    shards, folder = map(Path, sys.argv[1:])
    train(uneven_run(shards, folder / "ddp", micro_batch=1))
    train(uneven_run(shards, folder / "fsdp", parallel="fsdp", recompute=True))
    train(uneven_run(shards, folder / "one_then_two", parallel="fsdp"))
