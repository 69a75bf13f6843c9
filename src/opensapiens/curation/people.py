"""People in images: the boxes of a detector, and the features that tell images apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from opensapiens.curation.picture import Picture, Scores
from opensapiens.geometry.view import whole_image_view
from opensapiens.inference.detection import Detector, PartMapDetector
from opensapiens.inference.features import encode_views
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.loading import load, model_folder

PAPER_SIDE = 300  # pixels: the paper's least side of a person's box
LOWEST_SCORE = 0.3  # what is kept of a detector's finds
DETR = "detr"


class PersonDetection:
    """Boxes and scores of people by a detector: a model's part map, a DETR, or any `Detector` of yours."""

    full_size, gpu = False, True
    columns: ClassVar = {
        "person_score": "float32",
        "person_min_side": "float32",
        "person_scores": "float32[]",
        "person_boxes": "float32[]",
    }
    name = "person"

    def __init__(self, detector: str | Detector = "nano", version: str = "1") -> None:
        """detector: the name or folder of a model with a segmentation head; "detr", or "detr:" and a name on the hub or
        a folder; or a detector of yours that can be pickled, with its version. Raises ModelNotFound."""
        self.detector = detector
        if not isinstance(detector, str):
            self.version = f"{type(detector).__name__} {version}"
        elif detector.partition(":")[0] == DETR:
            self.version = detector
        else:
            self.version = f"{detector} part map 2 {_weights_version(detector)}"

    def prepare(self) -> None:
        """Load the detector."""
        if not isinstance(self.detector, str):
            self._find: Detector = self.detector
        elif self.detector.partition(":")[0] == DETR:
            from opensapiens.inference.detr import DEFAULT_DETECTOR, DetrDetector
            from opensapiens.inference.loading import usable_device

            name = self.detector.partition(":")[2] or DEFAULT_DETECTOR
            self._find = DetrDetector(name, threshold=LOWEST_SCORE, device=usable_device())
        else:
            self._find = PartMapDetector(_model(self.detector), threshold=LOWEST_SCORE)

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """person_scores and person_boxes (4 numbers each, xyxy pixels of the original), best first; person_score and
        person_min_side (shorter side of the box) are those of the main person: the best of those whose box is larger
        than the paper's 300 pixels, else the best of all; 0 where nobody is."""
        return [self._scores(picture) for picture in pictures]

    def _scores(self, picture: Picture) -> Scores:
        boxes, scores = self._find(picture.image)
        order = np.argsort(-np.asarray(scores), kind="stable")
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)[order] * np.float32(picture.scale)
        scores = np.asarray(scores, np.float32)[order]
        sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
        main = _main_person(sides)
        return {
            "person_score": float(scores[main]) if main is not None else 0.0,
            "person_min_side": float(sides[main]) if main is not None else 0.0,
            "person_scores": scores.tolist(),
            "person_boxes": boxes.ravel().tolist(),
        }


def _main_person(sides: np.ndarray) -> int | None:
    if len(sides) == 0:
        return None
    return int(np.argmax(sides > PAPER_SIDE))  # the first, which is the best; 0 if all are smaller


class Embedding:
    """The embedded model's backbone features of the whole image: what near-duplicates and clusters go by."""

    full_size, gpu = False, True
    columns: ClassVar = {"embedding": "float32[]"}
    name = "embedding"

    def __init__(self, model: str = "nano") -> None:
        """model: the name or folder of a model. Raises ModelNotFound."""
        self.model = model
        self.version = f"{model} {_weights_version(model)}"

    def prepare(self) -> None:
        """Load the model."""
        self._loaded = _model(self.model)

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """A vector of length 1: mean and standard deviation of the features over the image, each of the same length."""
        size = self._loaded.input_size
        shown = [(picture.image, whole_image_view(picture.image.shape[:2], size)) for picture in pictures]
        tokens = encode_views(self._loaded, shown).tokens
        parts = [_unit(tokens.mean(axis=1)), _unit(tokens.std(axis=1))]
        return [{"embedding": vector.tolist()} for vector in np.concatenate(parts, axis=1) / np.sqrt(2)]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _model(name: str) -> LoadedModel:
    return load(name).models[0]


def _weights_version(name: str) -> str:
    """The first digits of the hash of a model's weights: other weights, other scores."""
    with open(model_folder(name) / "model.safetensors", "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
