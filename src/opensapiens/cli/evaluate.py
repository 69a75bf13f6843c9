"""`opensapiens evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from opensapiens.cli.arguments import Flat
from opensapiens.cli.failures import exit_code
from opensapiens.evaluation.options import EvaluateOptions
from opensapiens.inference.options import Models


def evaluate(
    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")],
    /,
    images: Path,
    annotations: Path | None = None,
    model: Models = ("nano",),
    json: Path | None = None,
    options: Flat[EvaluateOptions] = EvaluateOptions(),
    device: str | None = None,
    threads: int | None = None,
    batch_size: int = 8,
) -> int:
    """Measure a model against annotations, next to the score of a trivial baseline.

    Pose is measured on COCO-style files (needs the extra "eval"): AP from 0 to 1, overall and for each group of points,
    and mean OKS with its 95% interval. The other tasks are measured on folders of label maps. Every task can be
    measured on a folder of synthetic shards, as written by `opensapiens synthesize`.

    Detection is measured on COCO files or shards: AP over all boxes, recall and precision at the detector's own
    threshold, recall by the height of people, and wrong boxes in pictures without people.

    "probe" and "knn" measure frozen features: a linear probe or 20 nearest neighbors, fitted on --train and measured on
    --images. Both are folders with a subfolder of pictures per class, or folders of synthetic shards (body parts).

    A picture that cannot be read is left out and named at the end, and the exit code is 1.

    For example:
    $ opensapiens evaluate pose --annotations person_keypoints_val2017.json --images val2017 --boxes detections.json
    $ opensapiens evaluate pose --annotations coco_wholebody_val_v1.0.json --images val2017 --protocol wholebody
    $ opensapiens evaluate normals --images shards/test --json normals.json
    $ opensapiens evaluate detection --annotations instances_val2017.json --images val2017
    $ opensapiens evaluate depth --images hi4d/images --annotations hi4d/depth --masks hi4d/masks --protocol hi4d
    $ opensapiens evaluate pointmap --images rgb --annotations points --masks mask --protocol sapiens2
    $ opensapiens evaluate probe --train classes/train --images classes/test

    Args:
        task: pose, segmentation, depth, normals, pointmap, matting, albedo, detection, probe or knn.
        images: the folder of the photos, or a folder of shards (*.tar).
        annotations: the COCO file of the photos; for the other tasks the folder of their label maps.
        model: the name or folder of a model; repeat the option for several.
        json: a file for the figures, a flat JSON object.
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        threads: CPU threads of the networks; by default one per core.
        batch_size: people per forward pass.
    """
    import torch

    from opensapiens.evaluation.evaluate import MEASURED, lines
    from opensapiens.evaluation.evaluate import evaluate as measure
    from opensapiens.evaluation.people import EvaluationError
    from opensapiens.inference.loading import load
    from opensapiens.storage.files import write_json
    from opensapiens.storage.folders import check_output
    from opensapiens.storage.listing import counted

    if task not in MEASURED:
        raise EvaluationError(f"{task!r} cannot be measured; there are {', '.join(MEASURED)}")
    if threads is not None:
        torch.set_num_threads(max(threads, 1))
    for output in filter(None, (json, options.per_person)):
        check_output(output, [images, annotations, options.boxes, options.masks, options.train])
    people = load(model, device=device, detector=options.detector, batch_size=batch_size)
    failures: list[str] = []
    figures = measure(task, people, images, annotations, options, failures)
    print("\n".join(lines(figures)))
    if json is not None:
        write_json(json, figures)
    return exit_code(failures, f"{counted(len(failures), 'picture')} left out")
