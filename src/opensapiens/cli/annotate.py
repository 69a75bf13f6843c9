"""`opensapiens annotate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

Models = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]


def annotate(
    images: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")],
    /,
    output: Path,
    model: Annotated[Models, tyro.conf.arg(metavar="NAME [NAME ...]")] = (),
    cameras: Path | None = None,
    corrected: tuple[Path, ...] = (),
    keypoints: str | None = None,
    masks: Literal["polygons", "rle"] = "polygons",
    up: Literal["y", "z", "-y"] = "z",
    unit: Literal["m", "mm"] = "m",
    rate: float = 30.0,
    whole_image: bool = False,
    detector: str | None = None,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    runtime: Literal["auto", "torch", "compiled", "openvino", "openvino-int8", "onnx"] = "auto",
    batch_size: int = 8,
    workers: int = 1,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Label images with a model, as files that labeling tools import, and read back what a person corrected.

    IMAGES is a folder of images, searched recursively. The output folder gets:
      keypoints.json     COCO keypoints, for CVAT, COCO Annotator, Label Studio, and for training
      parts.json         COCO instances of the body parts; parts/ and people/ are the same as indexed PNG
      cvat_labels.json   the labels of a CVAT project, with the skeleton of all points

    With --cameras the images are those of a calibrated rig, in one folder per camera, named after it, and images of the
    same name show the same moment. Points are triangulated robustly, projected back into all views, including those
    where the model missed them, and judged by how well the views agree; the views vote on body parts. This adds:
      review.html, review.csv   what a person should look at: images, and a table of points
      parts_review/             white where the views do not agree on the body part
      points_3d.json            points in space, with their uncertainty
      person_1.trc ...          the same for biomechanics tools (OpenSim)

    An image that cannot be read, a camera without images or a frame that lacks some does not stop the others: each is
    named at the end, and the exit code is 1. Formats, conventions and limits: docs/annotation.md.

    For example:
    $ opensapiens annotate photos --output labels
    $ opensapiens annotate photos --output labels --model sapiens-1b-pose308 sapiens-1b-seg28 --keypoints coco_17
    $ opensapiens annotate studio --output labels --cameras calibration.toml --up z
    $ opensapiens annotate studio --output final --cameras calibration.toml --corrected from_cvat.json

    Args:
        images: the folder of images; with --cameras it holds one folder per camera.
        output: the folder to write to; made if missing.
        model: names or folders of models, "nano" by default; each task is done by the first that has it.
        cameras: the calibration: .json (docs/annotation.md), .toml of Anipose, Pose2Sim or FreeMoCap, or a folder of
            OpenCV .yml files, of EasyMocap too.
        corrected: COCO files exported by a tool, in place of a model: points, parts, or one of each.
        keypoints: coco_17, wholebody_133, sapiens_308, or a .csv or COCO .json file: the points to write, by default
            those of the model; with --corrected also those to read, by default sapiens_308.
        masks: how parts.json stores masks; all tools read polygons, which have no holes; rle is exact.
        up: the axis of the calibration's world that points up; TRC files have y up.
        unit: of the calibration's translations, as recorded in the files; nothing is converted.
        rate: frames per second, for the TRC files.
        whole_image: treat each image as one person who fills it.
        detector: a DETR that finds the people, as for opensapiens predict; needs the extra "detect".
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        dtype: float32 as published; the others take half the memory and are faster on most GPUs.
        runtime: what runs the networks; see opensapiens predict --help.
        batch_size: people per forward pass.
        workers: processes for the votes on body parts; the result is the same.
        seed: of the random pairs of views, used from twelve cameras on.
        resume: skip images that a stopped run has finished.
    """
    if whole_image and detector is not None:
        return _misuse("--whole-image and --detector exclude each other")
    if corrected and (model or detector is not None or whole_image or resume):
        return _misuse(
            "--corrected takes the place of a model: it excludes --model, --detector, --whole-image, --resume"
        )
    if batch_size < 1 or workers < 1 or rate <= 0:
        return _misuse("--batch-size and --workers are at least 1, --rate is above 0")
    from opensapiens.annotation.annotate import Settings, prelabel, take_corrections
    from opensapiens.inference.detection import WholeImage
    from opensapiens.inference.detr import DetrDetector
    from opensapiens.inference.loading import load, torch_dtype, usable_device
    from opensapiens.labels.keypoints import SAPIENS_308
    from opensapiens.labels.own_labels import find_keypoint_set

    wanted = None
    if keypoints is not None:
        try:
            wanted = find_keypoint_set(keypoints)
        except ValueError as error:
            return _misuse(str(error))
    settings = Settings(wanted, masks, seed, up, unit, rate, workers)
    if corrected:
        summary = take_corrections(corrected, images, output, wanted or SAPIENS_308, settings, cameras)
    else:
        found = load(
            tuple(name for names in model for name in names) or ("nano",),
            device,
            dtype,
            batch_size=batch_size,
            runtime=runtime,
        )
        if whole_image:
            found.detector = WholeImage()
        elif detector is not None:
            found.detector = DetrDetector(detector, device=usable_device(device), dtype=torch_dtype(dtype))
        summary = prelabel(found, images, output, settings, cameras, resume)
    print(f"{summary.images} pictures, {summary.people} people; labels are in {output}")
    print("\n".join(summary.told))
    if summary.failures:
        print(f"{len(summary.failures)} things went wrong:", file=sys.stderr)
        print("\n".join(f"  {sentence}" for sentence in summary.failures), file=sys.stderr)
    return 1 if summary.failures else 0


def _misuse(sentence: str) -> int:
    print(f"opensapiens annotate: {sentence}", file=sys.stderr)
    return 2
