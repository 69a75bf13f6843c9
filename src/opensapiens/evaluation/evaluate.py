"""One model, one task, one data set: a flat dictionary of figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from opensapiens.evaluation.dense import evaluate_dense
from opensapiens.evaluation.people import AnnotatedImage, EvaluationError, read_coco_images, read_shard_images
from opensapiens.evaluation.pose import evaluate_pose
from opensapiens.inference.pipeline import People

Task = Literal["pose", "segmentation", "depth", "normals"]


def evaluate(
    task: Task,
    people: People,
    images: str | Path,
    annotations: str | Path | None = None,
    limit: int | None = None,
    detect: bool = False,
    flip: bool = False,
) -> dict[str, Any]:
    """The figures of evaluate_pose() or evaluate_dense(), and what they were measured on.

    images: a folder of synthetic shards (*.tar), or of photos; then annotations is their COCO file (pose only: there
    are no public labels for the other tasks in that format). limit: at most so many images. A figure that does not
    exist is None. Raises EvaluationError, AnnotationError, ShardError, ImageError.
    """
    folder = Path(images)
    if not folder.is_dir():
        raise EvaluationError(f"no folder {folder}")
    source: Iterable[AnnotatedImage]
    if annotations is None:
        if not any(folder.glob("*.tar")):
            raise EvaluationError(
                f"{folder} holds no shards (*.tar); for photos name their COCO file with --annotations"
            )
        source = read_shard_images(folder, limit)
    elif task != "pose":
        raise EvaluationError(f"a COCO file has no labels for {task}; give a folder of synthetic shards as --images")
    else:
        source = read_coco_images(annotations, folder, limit)
    if detect and task != "pose":
        raise EvaluationError("detected boxes are evaluated for pose only")
    progress = tqdm(source, desc=f"evaluate {task}", unit=" images", disable=None)
    if task == "pose":
        figures = evaluate_pose(people, progress, detect, flip)
    else:
        figures = evaluate_dense(people, progress, task, flip)
    model = people.model_of_task[task].description.name
    about = {"task": task, "model": model, "flip": flip, "data": str(annotations or images)}
    return {name: _json_value(value) for name, value in {**about, **figures}.items()}


def _json_value(value: Any) -> Any:
    """NaN is not JSON."""
    return None if isinstance(value, float) and math.isnan(value) else value


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """A dictionary of figures for reading, one line each."""
    width = max(map(len, figures))
    for name, value in figures.items():
        yield f"{name:<{width}}  {value:.4f}" if isinstance(value, float) else f"{name:<{width}}  {value}"
