"""The options of `opensapiens evaluate` and `opensapiens bench`, and of their functions. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opensapiens.inference.options import AUTO


@dataclass(frozen=True)
class EvaluateOptions:
    """How a model is measured.

    Args:
        protocol: the benchmark; for pose "coco" (17 points) by default, or the points of a model's own set. "shared114"
            are the points that 308 and 133 have in common, by a table of our own; "sapiens2" is for its dense tasks.
        boxes: detected people, a COCO result file; by default the annotated boxes are used. Pose only.
        masks: a folder of masks of the people, next to --annotations.
        depth_scale: depths of a folder are multiplied by it; 0.001 for PNG files in millimeters.
        parts: what the numbers in the label maps of body parts are: sapiens_28, sapiens_29, or your own set in a CSV
            file or a JSON with categories; by default the model's own. Labels of 28 and models of 29, and the other way
            round, are compared in 28 classes.
        train: the folder that "probe" and "knn" learn from.
        per_person: a file for the figures of each person (detection: of each picture), one JSON object per line.
        limit: the largest number of images (for "probe" and "knn": images per class, or people).
        detect: let the pipeline detect the people; by default it gets the annotated boxes. Pose only.
        detector: what finds the people, see opensapiens predict --help; for --detect and detection.
        flip: also predict the mirrored image and average; by default only if the weights ask for it, as nano's do.
    """

    protocol: Literal["coco", "wholebody", "sapiens308", "shared114", "hi4d", "thuman2", "sapiens2"] | None = None
    boxes: Path | None = None
    masks: Path | None = None
    depth_scale: float = 1.0
    parts: str | None = None
    train: Path | None = None
    per_person: Path | None = None
    limit: int | None = None
    detect: bool = False
    detector: str = AUTO
    flip: bool | None = None


@dataclass(frozen=True)
class BenchOptions:
    """How a model's speed is measured.

    Args:
        device: cpu, cuda, cuda:1, mps; by default the GPU if there is one.
        settings: RUNTIME or RUNTIME:TYPE, such as torch:bfloat16 or openvino; by default all that can run.
        batch_size: images that go through the network together: copies of the photo.
        rounds: how often everything is timed; the least of each time counts.
        data: a folder of synthetic shards, on which each setting is evaluated as well: quality beside speed.
        limit: the largest number of its frames.
    """

    device: str | None = None
    settings: tuple[str, ...] = ()
    batch_size: int = 1
    rounds: int = 3
    data: Path | None = None
    limit: int | None = None
