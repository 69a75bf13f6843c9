"""Where the people are: in the whole image, or where a detector finds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, cast

import numpy as np
import torch

from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.model_folder import load_model, weights_digest
from opensapiens.geometry.boxes import image_box
from opensapiens.inference.boxes import NOBODY
from opensapiens.inference.forward import LoadedModel, raw_maps
from opensapiens.inference.options import EMBEDDED
from opensapiens.inference.runtimes import start_runtime
from opensapiens.tasks.detection import DetectionTask


class DetectorError(ValueError):
    """A detector that cannot be loaded or used; the message says which and why."""


class Detector(Protocol):
    """Anything that finds people: boxes (N, 4) float32 xyxy pixels and scores (N,) float32 of an H×W×3 uint8 image.

    If it has a `name`, results say it.
    """

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


def detector_name(detector: Detector) -> str:
    """What results call a detector."""
    return str(getattr(detector, "name", type(detector).__name__))


class WholeImage:
    """One person who fills the image; right for portraits and for crops made elsewhere."""

    name = "whole image"

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One box with score 1."""
        return image_box(image.shape[:2])[None], np.ones(1, np.float32)


class PersonDetector:
    """People found by a network with a detection head, such as the one inside this package; threads may share it."""

    def __init__(self, loaded: LoadedModel, threshold: float | None = None, nms: float | None = None) -> None:
        """threshold: the least score of a box. nms: intersection over union from which two boxes are one person.

        Raises DetectorError without a detection head.
        """
        if DetectionTask.name not in loaded.tasks:
            raise DetectorError(f"{loaded.description.name} has no detection head to find people with")
        self.loaded, self.name = loaded, loaded.description.name
        task = cast("DetectionTask", loaded.tasks[DetectionTask.name])
        self.task = task if nms is None else replace(task, nms=nms)
        self.threshold = task.threshold if threshold is None else threshold

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) float32 xyxy pixels within the H×W×3 uint8 image, and scores (N,), best first."""
        (view,) = self.loaded.views(NOBODY, image.shape[:2])
        (maps,) = raw_maps(self.loaded, [(image, view)], heads=[DetectionTask.name])
        found = self.task.decode(maps[DetectionTask.name], view)
        found = found[found[:, 4] >= self.threshold]
        return found[:, :4], found[:, 4]


def load_person_detector(
    name: str = EMBEDDED,
    threshold: float | None = None,
    nms: float | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    runtime: str = "torch",
) -> PersonDetector:
    """A detector by the name or folder of its model; the rest as for `load`. Raises DetectorError, CheckpointError."""
    folder = model_folder(name)
    network, description = load_model(folder, device, dtype)
    running = start_runtime(runtime, network.eval(), description.preprocessing)
    return PersonDetector(LoadedModel(running, description, weights=weights_digest(folder)), threshold, nms)
