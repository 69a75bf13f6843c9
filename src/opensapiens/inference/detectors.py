"""Which detector finds the people, by its name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from opensapiens.checkpoints.model_folder import read_description
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.inference.detection import Detector, load_person_detector
from opensapiens.inference.detr import DEFAULT_DETECTOR, DOWNLOAD, FILES, DetrDetector
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.options import AUTO, EMBEDDED
from opensapiens.inference.second_look import CANDIDATE_SCORE, SecondLook
from opensapiens.storage.hub import cached_folder
from opensapiens.tasks.detection import DetectionTask
from opensapiens.tasks.segmentation import SegmentationTask

logger = logging.getLogger(__name__)


def find_detector(
    name: str = AUTO,
    threshold: float | None = None,
    nms: float | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    runtime: str = "torch",
    models: Sequence[LoadedModel] = (),
) -> Detector:
    """A detector by its name.

    name: "auto" for a DETR whose weights are on this disk, with the extra "detect", else the one inside this package,
    whose boxes the first of `models` with parts of people in crops looks at again; "detector" for it alone; the folder
    of a model with a detection head; or a DETR by its name on the Hugging Face hub or its folder. threshold, nms: of
    the boxes, each detector's own by default. runtime: for detectors of our own.
    Raises DetectorError, CheckpointError.
    """
    if name == AUTO:
        name = automatic_detector()
        checkers = [model for model in models if model.takes_people and SegmentationTask.name in model.tasks]
        if name == EMBEDDED and checkers:
            first = find_detector(name, CANDIDATE_SCORE, nms, device, dtype, runtime)
            return SecondLook(first, checkers[0], threshold)
    if is_own_detector(name):
        # A calibration for 8-bit integers is for crops of people.
        exact = "openvino" if runtime == "openvino-int8" else runtime
        return load_person_detector(name, threshold, nms, device, dtype, exact)
    limits = {key: value for key, value in (("threshold", threshold), ("nms", nms)) if value is not None}
    return DetrDetector(name, device=device, dtype=dtype, **limits)


def is_own_detector(name: str) -> bool:
    """Whether a name is that of a detector of our own: the one inside this package, or a folder in its format."""
    if name == EMBEDDED:
        return True
    try:
        return Path(name).is_dir() and DetectionTask.name in read_description(name).heads
    except CheckpointError:
        return False


@cache
def automatic_detector() -> str:
    """The name of the detector that "auto" takes; says once what else there is."""
    if find_spec("transformers") is None:
        return EMBEDDED
    if cached_folder(DEFAULT_DETECTOR, FILES) is not None:
        return DEFAULT_DETECTOR
    logger.warning(
        "people are found by the detector inside this package; a larger one: --detector %s downloads %s once",
        DEFAULT_DETECTOR,
        DOWNLOAD,
    )
    return EMBEDDED
