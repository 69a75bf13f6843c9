"""`opensapiens evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro


def evaluate(
    task: Annotated[Literal["pose", "segmentation", "depth", "normals"], tyro.conf.Positional],
    /,
    images: Path,
    annotations: Path | None = None,
    model: tuple[str, ...] = ("nano",),
    json: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    limit: int | None = None,
    detect: bool = False,
    flip: bool = False,
    device: str | None = None,
    batch_size: int = 8,
) -> int:
    """Measure a model against annotations, beside what a trivial answer would score.

    Pose is measured on COCO or COCO-WholeBody files (17 points; needs the extra "eval"): AP in 0 to 1, mean OKS with
    its 95 % interval. Every task can be measured on a folder of synthetic shards, as `opensapiens synthesize` writes
    them.

    For example:
    $ opensapiens evaluate pose --annotations person_keypoints_val2017.json --images val2017/ --json pose.json
    $ opensapiens evaluate normals --images shards/test --json normals.json

    Args:
        task: what to measure.
        images: the folder of the photos, or a folder of shards (*.tar).
        annotations: the COCO file of the photos.
        model: names or folders of models.
        json: a file for the figures, a flat JSON object.
        limit: at most so many images.
        detect: let the pipeline find the people; by default it is given the annotated boxes. Pose only.
        flip: also predict the mirrored image and average.
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        batch_size: people per forward pass.
    """
    from opensapiens.evaluation.evaluate import evaluate as measure
    from opensapiens.evaluation.evaluate import lines
    from opensapiens.inference.loading import load

    people = load(model, device=device, batch_size=batch_size)
    figures = measure(task, people, images, annotations, limit, detect, flip)
    print("\n".join(lines(figures)))
    if json is not None:
        _write(json, figures)
    return 0


def _write(path: Path, figures: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")
