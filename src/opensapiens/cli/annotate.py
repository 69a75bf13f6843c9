"""`opensapiens annotate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from opensapiens.annotation.options import AnnotateOptions
from opensapiens.cli.arguments import Flat
from opensapiens.cli.failures import exit_code


def annotate(
    images: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")],
    /,
    output: Path,
    options: Flat[AnnotateOptions] = AnnotateOptions(),
) -> int:
    """Label images with a model, as files that labeling tools import, and read back what a person corrected.

    IMAGES is a folder of images, searched recursively. The output folder gets:
      keypoints.json     COCO keypoints, for CVAT, COCO Annotator, Label Studio, and for training
      parts.json         COCO instances of the body parts; parts/ and people/ are the same as indexed PNG
      cvat_labels.json   the labels of a CVAT project, with the skeleton of all points
      label_studio.json, label_studio.xml   tasks with predictions for Label Studio, and the project's interface

    With --cameras the images are those of a calibrated rig, in one folder per camera, named after it, and images of the
    same name show the same moment. Points are triangulated robustly, projected back into all views, including those
    where the model missed them, and judged by how well the views agree; the views vote on body parts. This adds:
      review.html, review.csv   what a person should look at: images, and a table of points
      parts_review/             white where the views do not agree on the body part
      points_3d.json            points in space, with their uncertainty
      person_1.trc ...          the same for biomechanics tools (OpenSim); with --c3d also as C3D

    An image that cannot be read, a camera without images or a frame that lacks some does not stop the others: each is
    named at the end, and the exit code is 1. Formats, conventions and limits: docs/annotation.md.

    For example:
    $ opensapiens annotate photos --output labels
    $ opensapiens annotate photos --output labels --model sapiens-1b-pose308 --model sapiens-1b-seg28
    $ opensapiens annotate studio --output labels --cameras calibration.toml --up z
    $ opensapiens annotate studio --output final --cameras calibration.toml --corrected from_cvat.json

    Args:
        images: the folder of images; with --cameras it holds one folder per camera.
        output: the folder to write to; created if missing.
    """
    from opensapiens.annotation.annotate import annotate_images
    from opensapiens.storage.listing import counted

    summary = annotate_images(images, output, options)
    print(f"{counted(summary.images, 'picture')}, {counted(summary.people, 'person')}; labels are in {output}")
    for note in summary.notes:
        print(note)
    return exit_code(summary.failures, counted(len(summary.failures), "problem"))
