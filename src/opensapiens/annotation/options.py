"""What can be asked of `opensapiens annotate` and of `annotate_images`. Imports no torch: --help reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opensapiens.inference.options import AUTO, DtypeName, Models, OptionsError, RuntimeName

MaskKind = Literal["polygons", "rle"]
Up = Literal["y", "z", "-y"]
Unit = Literal["m", "mm"]


@dataclass(frozen=True)
class AnnotateOptions:
    """How images are labeled, and how labels are written.

    Args:
        model: the name or folder of a model, "nano" by default; repeat the option for several. Each task is done by the
            first that has it.
        cameras: the calibration: .json (docs/annotation.md), .toml of Anipose, Pose2Sim or FreeMoCap, or a folder of
            OpenCV .yml files, of EasyMocap too.
        corrected: files exported by a tool, COCO or Label Studio's JSON, in place of a model: points, parts, or one of
            each.
        keypoints: coco_17, wholebody_133, sapiens_308, or a .csv or COCO .json file: the points to write, by default
            those of the model; with --corrected also those to read, by default sapiens_308.
        image_root: what image addresses in label_studio.json begin with, before the path of the image below the folder
            of images; by default for Label Studio's local storage.
        masks: how parts.json stores masks; all tools read polygons, which have no holes; rle is exact.
        up: the axis of the calibration's world that points up; TRC files have y up.
        unit: of the calibration's translations, as recorded in the files; nothing is converted.
        rate: frames per second, for the TRC and C3D files.
        c3d: also write the points in space as person_1.c3d, …, z up (extra "formats").
        whole_image: treat each image as one person who fills it.
        detector: what finds the people; see opensapiens predict --help.
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        dtype: float32 as published; the others take half the memory and are faster on most GPUs.
        runtime: what runs the networks; see opensapiens predict --help.
        batch_size: people per forward pass.
        workers: processes for the votes on body parts; the result is the same.
        seed: of the random pairs of views, used from twelve cameras on.
        resume: skip images that a stopped run has finished.

    Raises:
        OptionsError: options that exclude each other, or a number that is too small.
    """

    model: Models = ()
    cameras: Path | None = None
    corrected: tuple[Path, ...] = ()
    keypoints: str | None = None
    image_root: str = "/data/local-files/?d="
    masks: MaskKind = "polygons"
    up: Up = "z"
    unit: Unit = "m"
    rate: float = 30.0
    c3d: bool = False
    whole_image: bool = False
    detector: str = AUTO
    device: str | None = None
    dtype: DtypeName = "float32"
    runtime: Literal["auto", RuntimeName] = "auto"
    batch_size: int = 8
    workers: int = 1
    seed: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        if self.whole_image and self.detector != AUTO:
            raise OptionsError("--whole-image and --detector exclude each other")
        if self.corrected and (self.model or self.detector != AUTO or self.whole_image or self.resume):
            raise OptionsError(
                "--corrected takes the place of a model: it excludes --model, --detector, --whole-image and --resume"
            )
        if self.batch_size < 1 or self.workers < 1 or self.rate <= 0:
            raise OptionsError("--batch-size and --workers are at least 1, --rate is above 0")
        if self.c3d and self.cameras is None:
            raise OptionsError("--c3d needs --cameras: it holds points in space")
