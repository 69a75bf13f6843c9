"""The paper's claims in miniature, measured in one call that can be stopped and called again.

    python benchmarks/claims.py --folder /data/claims
    python benchmarks/claims.py --folder /tmp/claims --toy      # a smoke test of minutes

The script renders frames of synthetic people, and copies of them in which composed objects of equal area replace the
people. It pretrains small backbones on either set and fine-tunes them, and random weights, on five body regions
(`--plan.tasks pose segmentation` adds keypoints) with 1, 10 and 100 % of the labels and the same steps, batches and
learning rate. Backbones after the first of `--plan.sizes` are pretrained on people and fine-tuned on all labels, to
show what more parameters do. A run with a result.json in its folder is not repeated. `claims.md` holds the table: means
and standard deviations over the seeds.

This shows whether masked pretraining on people helps small models on people from the same generator. It says nothing
about pretraining on photos, nor about models of a billion parameters.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Literal

import tyro
from claims_objects import only_images, replace_people
from claims_runs import finetuning_run, pretraining_run

from opensapiens.recipes.sizes import PretrainingSize
from opensapiens.synthetic.synthesize import synthesize
from opensapiens.training.loop import train

TaskName = Literal["pose", "segmentation"]
STARTS = ("random", "objects", "people")
FIGURES = {"pose": "pose/oks", "segmentation": "segmentation/mIoU"}
TRAINING_SEED, VALIDATION_SEED = 1, 2_000_003


@dataclass(frozen=True)
class Plan:
    """How much is measured. The defaults are what two CPU cores can do; ten times the steps suit a GPU.

    Args:
        frames: for training; 16,000 show about 21,000 people.
        validation_frames: of other people, for the scores.
        batch_size: None for the default of each run.
    """

    frames: int = 16_000
    validation_frames: int = 300
    pretraining_steps: int = 500
    finetuning_steps: int = 120
    tasks: tuple[TaskName, ...] = ("segmentation",)
    sizes: tuple[PretrainingSize, ...] = ("tiny", "mini")
    labels: tuple[float, ...] = (0.01, 0.1, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    input_size: tuple[int, int] = (192, 144)
    batch_size: int | None = None


TOY = Plan(8, 4, 2, 2, ("pose", "segmentation"), ("toy",), (0.5, 1.0), (0, 1), (64, 48), 2)


@dataclass(frozen=True)
class Cell:
    """One fine-tuning run."""

    task: TaskName
    size: PretrainingSize
    start: str
    labels: float
    seed: int

    @property
    def folder(self) -> str:
        """Its path below the experiment's folder."""
        return f"finetuning/{self.task}_{self.size}_{self.start}_{100 * self.labels:g}percent_seed{self.seed}"


def cells(plan: Plan) -> Iterator[Cell]:
    """All fine-tuning runs, seed by seed."""
    for seed, size in product(plan.seeds, plan.sizes):
        first = size == plan.sizes[0]
        labels, starts = (plan.labels, STARTS) if first else ((max(plan.labels),), ("people",))
        for share, task, start in product(labels, plan.tasks, starts):
            yield Cell(task, size, start, share, seed)


def make_data(folder: Path, plan: Plan, workers: int) -> None:
    """Renders training and validation frames, and writes the images with people and with objects in their place."""
    synthesize(plan.frames, folder / "people", TRAINING_SEED, workers)
    synthesize(plan.validation_frames, folder / "validation", VALIDATION_SEED, workers)
    only_images(folder / "people", folder / "frames" / "people")
    replace_people(folder / "people", folder / "frames" / "objects")


def pretrained(folder: Path, plan: Plan, cell: Cell, device: str, workers: int) -> str | None:
    """The backbone that a fine-tuning run starts from, pretrained if it is not yet; None for random weights."""
    if cell.start == "random":
        return None
    output = folder / "pretraining" / f"{cell.size}_{cell.start}_seed{cell.seed}"
    if not (output / "done").exists():
        run = pretraining_run(
            folder / "frames" / cell.start, output, cell.size, plan.pretraining_steps, plan.input_size,
            workers=workers, seed=cell.seed, **({} if plan.batch_size is None else {"batch_size": plan.batch_size}),
        )  # fmt: skip
        train(replace(run, device=device))
        (output / "done").touch()
    return str(output / "model")


def measure(folder: Path, plan: Plan, cell: Cell, device: str, workers: int) -> float:
    """The score of a fine-tuning run, from its result.json or by running it."""
    result = folder / cell.folder / "result.json"
    if not result.exists():
        run = finetuning_run(
            folder / "people", folder / cell.folder, cell.task, pretrained(folder, plan, cell, device, workers),
            folder / "validation", cell.labels, cell.size, plan.finetuning_steps, plan.input_size,
            workers=workers, seed=cell.seed, **({} if plan.batch_size is None else {"batch_size": plan.batch_size}),
        )  # fmt: skip
        train(replace(run, device=device))
        lines = [json.loads(line) for line in (folder / cell.folder / "log.jsonl").read_text().splitlines()]
        result.write_text(json.dumps(lines[-1]["validation"]) + "\n")
    return float(json.loads(result.read_text())[FIGURES[cell.task]])


def table(plan: Plan, scores: dict[Cell, float]) -> str:
    """Markdown: mean and standard deviation over the seeds, then the outcome of each claim."""
    rows = ["| task | model | labels | random | objects | people |", "|---|---|---|---|---|---|"]
    for task, size, labels in dict.fromkeys((cell.task, cell.size, cell.labels) for cell in scores):
        runs = [[Cell(task, size, start, labels, seed) for seed in plan.seeds] for start in STARTS]
        figures = [_spread([scores[cell] for cell in cells if cell in scores]) for cells in runs]
        rows.append(f"| {task} | {size} | {100 * labels:g} % | " + " | ".join(figures) + " |")
    return "\n".join([*rows, "", *verdicts(plan, scores)]) + "\n"


def verdicts(plan: Plan, scores: dict[Cell, float]) -> list[str]:
    """Each claim, and in how many comparisons of two runs with the same seed it held."""

    def held(claim: str, outcomes: list[bool]) -> str:
        return f"- {claim}: in {sum(outcomes)} of {len(outcomes)} comparisons."

    def gain(task: TaskName, labels: float, seed: int) -> float:
        pretrained, random = (Cell(task, plan.sizes[0], start, labels, seed) for start in ("people", "random"))
        return scores[pretrained] - scores[random]

    few, many = min(plan.labels), max(plan.labels)
    lines = [
        held(f"pretraining on people beats {other}", [
            scores[cell] > scores[opponent]
            for cell in scores
            if cell.start == "people" and (opponent := replace(cell, start=other)) in scores
        ])
        for other in ("random", "objects")
    ]  # fmt: skip
    lines.append(
        held(
            f"the gain over random is larger with {100 * few:g} % of the labels than with {100 * many:g} %",
            [gain(task, few, seed) > gain(task, many, seed) for task, seed in product(plan.tasks, plan.seeds)],
        )
    )
    for smaller, larger in pairwise(plan.sizes):
        outcomes = [
            scores[cell] > scores[opponent]
            for cell in scores
            if cell.size == larger and (opponent := replace(cell, size=smaller)) in scores
        ]
        lines.append(held(f"{larger} does better than {smaller}", outcomes))
    return lines


def _spread(figures: list[float]) -> str:
    if not figures:
        return "–"
    spread = statistics.stdev(figures) if len(figures) > 1 else float("nan")
    return f"{statistics.mean(figures):.3f} ± {spread:.3f}"


def main(folder: Path, plan: Plan = Plan(), toy: bool = False, device: str = "auto", workers: int = 2) -> None:
    """Measure the paper's claims in miniature.

    Args:
        folder: for data, runs and the table; a second call continues where the first stopped.
        plan: how much is measured.
        toy: toy size, a smoke test.
        device: "auto", "cpu", "cuda".
        workers: loader and renderer processes.
    """
    plan = TOY if toy else plan
    make_data(folder, plan, workers)
    scores = {}
    for cell in cells(plan):
        scores[cell] = measure(folder, plan, cell, device, 0 if toy else workers)
        print(f"{cell.folder}: {scores[cell]:.4f}", flush=True)
    (folder / "claims.md").write_text(table(plan, scores))
    print((folder / "claims.md").read_text())


if __name__ == "__main__":
    tyro.cli(main)
