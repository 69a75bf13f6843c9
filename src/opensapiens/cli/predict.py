"""`opensapiens predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from opensapiens.cli.arguments import Flat
from opensapiens.cli.failures import exit_code
from opensapiens.inference.options import PredictOptions


def predict(
    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT [INPUT ...]")],
    /,
    output: Path,
    options: Flat[PredictOptions] = PredictOptions(),
) -> int:
    """Find the people in photos and videos and save keypoints, body parts, depth and normals.

    For each photo, the output folder gets, with NAME for the photo's name:
      NAME_keypoints.json                  COCO keypoints, with a score per point
      NAME_parts.png                       indexed PNG: pixel = class id
      NAME_depth.png, NAME_depth.npz       16 bits, 0 = nobody, 1 = nearest; and the raw values
      NAME_normals.png, NAME_normals.npz   to look at; and the unit vectors
      NAME_points.npz, .png, .ply          meters and the camera; millimeters; a colored point cloud
      NAME_cutout.png, NAME_alpha.png      RGBA; and alpha with 16 bits
      NAME_pose.jpg, ..., NAME_sheet.jpg   an overlay per task, and all of them on one sheet

    For each video: NAME_overlay.mp4 and NAME_keypoints.json, in which people keep a "person_id".
    Only what the models can do is saved. --format chooses other files, for other tools: docs/formats.md.
    Axes, units and polarity: docs/conventions.md.

    A file that cannot be read does not stop the others: it is named at the end, and the exit code is 1. Run an
    interrupted command again with --resume: files that are done with the same models and options are skipped, and a
    video continues where it stopped. Files in the output folder that this command did not write are never replaced.

    For example:
    $ opensapiens predict photo.jpg --output out
    $ opensapiens predict holiday/ clip.mp4 --output out --resume
    $ opensapiens predict photo.jpg --output out --model sapiens-1b-pose308 --model sapiens-1b-seg28
    $ opensapiens predict photo.jpg --output out --boxes boxes.json
    $ opensapiens predict crowd.jpg --output out --detector PekingU/rtdetr_v2_r18vd
    $ opensapiens predict clip.mp4 --output out --smooth --format default csv npz
    $ opensapiens predict cam1.mp4 cam2.mp4 --output pose --format openpose trc
    $ opensapiens predict photos/ --output out --devices cuda:0 cuda:1 --dtype bfloat16
    $ torchrun --nproc-per-node 8 -m opensapiens predict photos/ --output out

    Args:
        inputs: photos, videos (with the extra "video"), and folders of them.
        output: the folder to write to; created if missing.
    """
    if not inputs:
        print("opensapiens predict: name at least one photo, video or folder (see --help)", file=sys.stderr)
        return 2
    from opensapiens.inference.job import predict_files
    from opensapiens.storage.listing import counted, passed_over_sentence

    summary = predict_files(inputs, output, options)
    if summary.own:
        print(f"{counted(summary.own, 'file')} that an earlier run wrote {'is' if summary.own == 1 else 'are'} skipped")
    counts = {"photo": summary.photos, "video": summary.videos, "person": summary.people}
    done = [counted(count, noun) for noun, count in counts.items() if count or noun == "photo"]
    done += [f"{summary.skipped} done before"] if summary.skipped else []
    print(f"{', '.join(done)}; results are in {output}")
    if summary.empty:
        print(
            f"nobody was found in {counted(len(summary.empty), 'photo')}: {', '.join(summary.empty[:10])}"
            f"{', …' if len(summary.empty) > 10 else ''}. If there are people: try --box-threshold with a lower score, "
            "--boxes, --whole-image for portraits, or another --detector"
        )
    if summary.hidden and not summary.shown:
        print("no keypoint scores high enough to be drawn (0.3): overlays show none, NAME_keypoints.json has them all")
    if summary.passed_over:
        print(passed_over_sentence(summary.passed_over))
    failures = [sentence for _, sentence in summary.failures]
    return exit_code(failures, f"{len(failures)} of {counted(summary.files, 'file')} could not be processed")
