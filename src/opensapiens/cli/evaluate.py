"""`opensapiens evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro


def evaluate(
    task: Annotated[Literal["pose", "segmentation", "depth", "normals", "probe", "knn"], tyro.conf.Positional],
    /,
    images: Path,
    annotations: Path | None = None,
    model: tuple[str, ...] = ("nano",),
    json: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    protocol: Literal["coco", "wholebody", "sapiens308", "shared114", "hi4d", "thuman2"] | None = None,
    boxes: Path | None = None,
    masks: Path | None = None,
    depth_scale: float = 1.0,
    train: Path | None = None,
    per_person: Path | None = None,
    limit: int | None = None,
    detect: bool = False,
    flip: bool = False,
    no_flip: bool = False,
    device: str | None = None,
    batch_size: int = 8,
) -> int:
    """Measure a model against annotations, beside what a trivial answer would score.

    Pose is measured on COCO-style files (needs the extra "eval"): AP in 0 to 1, of the whole and of each part, mean OKS
    with its 95 % interval. The other tasks are measured on folders of label maps. Every task can be measured on a
    folder of synthetic shards, as `opensapiens synthesize` writes them.

    "probe" and "knn" measure frozen features: a linear probe or 20 nearest neighbours, fitted on --train and measured
    on --images, both with a subfolder of pictures per class, or both of synthetic shards (body parts).

    For example:
    $ opensapiens evaluate pose --annotations person_keypoints_val2017.json --images val2017 --boxes detections.json
    $ opensapiens evaluate pose --annotations coco_wholebody_val_v1.0.json --images val2017 --protocol wholebody
    $ opensapiens evaluate normals --images shards/test --json normals.json
    $ opensapiens evaluate depth --images hi4d/images --annotations hi4d/depth --masks hi4d/masks --protocol hi4d
    $ opensapiens evaluate probe --train classes/train --images classes/test

    Args:
        task: what to measure.
        images: the folder of the photos, or a folder of shards (*.tar).
        annotations: the COCO file of the photos; for other tasks than pose the folder of their label maps.
        model: names or folders of models.
        json: a file for the figures, a flat JSON object.
        protocol: the benchmark; for pose "coco" (17 points) by default. "shared114" are the points that 308 and 133
            have in common, by a table of our own.
        boxes: a detector's people, a COCO result file; by default the annotated boxes are given. Pose only.
        masks: a folder of masks of the people beside --annotations.
        depth_scale: depths of a folder are multiplied by it; 0.001 for PNG files in millimetres.
        train: what "probe" and "knn" learn from.
        per_person: a file for what is known of each person, one JSON object a line.
        limit: at most so many images (for "probe" and "knn": of a class, or people).
        detect: let the pipeline find the people; by default it is given the annotated boxes. Pose only.
        flip: also predict the mirrored image and average; by default only if the weights ask for it, as nano's do.
        no_flip: never do that.
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        batch_size: people per forward pass.
    """
    from opensapiens.evaluation.evaluate import evaluate as measure
    from opensapiens.evaluation.evaluate import lines
    from opensapiens.evaluation.frozen import evaluate_frozen
    from opensapiens.evaluation.people import EvaluationError
    from opensapiens.inference.loading import load
    from opensapiens.storage.files import write_json
    from opensapiens.storage.folders import check_output

    if flip and no_flip:
        raise EvaluationError("--flip and --no-flip exclude each other")
    failures: list[str] = []
    for output in filter(None, (json, per_person)):
        check_output(output, [images, annotations, boxes, masks, train])
    people = load(model, device=device, batch_size=batch_size)
    if task == "probe" or task == "knn":
        if train is None:
            raise EvaluationError(f"{task} learns from labelled data: name it with --train")
        figures = evaluate_frozen(task, people.models[0], train, images, limit)
    else:
        asked = True if flip else False if no_flip else None
        figures = measure(
            task, people, images, annotations, limit, detect, asked, protocol, boxes, masks, depth_scale, per_person,
            failures,
        )  # fmt: skip
    print("\n".join(lines(figures)))
    if json is not None:
        write_json(json, figures)
    if failures:
        print(f"{len(failures)} pictures were left out:", file=sys.stderr)
        print("\n".join(f"  {sentence}" for sentence in failures), file=sys.stderr)
    return 1 if failures else 0
