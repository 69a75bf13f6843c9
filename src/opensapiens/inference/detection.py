"""Where the people are: in the whole image, or where a detector finds them."""

from __future__ import annotations

from collections.abc import Sequence
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

SMALLEST_HALVED, LARGEST = 0.29, 0.39
"""Longer sides of boxes, in those of the picture: smaller ones are not taken from the picture at half size, larger ones
not from the large one."""


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
    """People found by a network with a detection head, such as the one inside this package; threads may share it.

    The network sees the picture large, for small people, and at half that size, for large ones: sizes of people then
    differ less than ten times in what it sees, which a small network learns better (SNIP, Singh and Davis, CVPR 2018).
    """

    def __init__(self, looks: Sequence[LoadedModel], threshold: float | None = None, nms: float | None = None) -> None:
        """looks: the same network for inputs of two sizes, the larger first, or for one. threshold: the least score of
        a box. nms: intersection over union above which the lower-scored of two boxes is dropped.

        Raises DetectorError without a detection head.
        """
        first = looks[0]
        if DetectionTask.name not in first.tasks:
            raise DetectorError(f"{first.description.name} has no detection head to find people with")
        self.looks, self.name = tuple(looks), first.description.name
        task = cast("DetectionTask", first.tasks[DetectionTask.name])
        self.task = task if nms is None else replace(task, nms=nms)
        self.threshold = task.threshold if threshold is None else threshold

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) float32 xyxy pixels within the H×W×3 uint8 image, and scores (N,), best first."""
        found = []
        for number, look in enumerate(self.looks):
            (view,) = look.views(NOBODY, image.shape[:2])
            (maps,) = raw_maps(look, [(image, view)], heads=[DetectionTask.name])
            boxes = self.task.decode(maps[DetectionTask.name], view)
            if len(self.looks) > 1:
                share = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1) / max(image.shape[:2])
                boxes = boxes[share >= SMALLEST_HALVED] if number else boxes[share < LARGEST]
            found.append(boxes)
        merged = self.task.distinct(np.concatenate(found)) if len(found) > 1 else found[0]
        merged = merged[merged[:, 4] >= self.threshold]
        return merged[:, :4], merged[:, 4]


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
    digest, patch = weights_digest(folder), description.backbone.patch_size
    looks = []
    for divisor in (1, 2):
        height, width = (max(side // divisor // patch, 1) * patch for side in description.preprocessing.input_size)
        preprocessing = replace(description.preprocessing, input_size=(height, width))
        running = start_runtime(runtime, network.eval(), preprocessing)
        looks.append(LoadedModel(running, replace(description, preprocessing=preprocessing), weights=digest))
    return PersonDetector(looks, threshold, nms)
