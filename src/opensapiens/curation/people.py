"""People in images: the boxes of a detector, and the features that tell images apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opensapiens.curation.picture import Picture, Scores
from opensapiens.curation.stage import Score, Stage, one_by_one
from opensapiens.geometry.view import whole_image_view
from opensapiens.inference.detection import Detector
from opensapiens.inference.detectors import find_detector, is_own_detector
from opensapiens.inference.features import encode_views
from opensapiens.inference.loading import load, model_folder, usable_device
from opensapiens.inference.options import AUTO, EMBEDDED
from opensapiens.inference.second_look import CANDIDATE_SCORE, SecondLook
from opensapiens.storage.files import sha256_of

PAPER_SIDE = 300  # pixels: the paper's least side of a person's box
LOWEST_SCORE = 0.3  # of the detections that are kept
CHECKER = "nano"
EMBEDDING_MODEL = "nano"


def person_stage(detector: str | Detector = AUTO, version: str = "1") -> Stage:
    """Boxes and scores of people, see `person_scores`.

    detector: a name as `find_detector` takes it, but "auto" is always the detector inside the package, whose boxes nano
    checks; or your own detector, which can be pickled, with its version. Raises CheckpointError.
    """
    if not isinstance(detector, str):
        version = f"{type(detector).__name__} {version}"
    elif detector == AUTO:
        version = f"{EMBEDDED} {_weights_version(EMBEDDED)}, {CHECKER} {_weights_version(CHECKER)}"
    elif is_own_detector(detector):
        version = f"{detector} {_weights_version(detector)}"
    else:
        version = detector

    def make() -> Score:
        if not isinstance(detector, str):
            find = detector
        elif detector == AUTO:  # whatever else is on this machine: scores of one collection are of one detector
            first = find_detector(EMBEDDED, CANDIDATE_SCORE, device=usable_device())
            find = SecondLook(first, load(CHECKER).models[0], LOWEST_SCORE)
        else:
            find = find_detector(detector, LOWEST_SCORE, device=usable_device())
        return one_by_one(lambda picture: person_scores(find, picture))

    columns = {
        "person_score": "float32",
        "person_min_side": "float32",
        "person_scores": "float32[]",
        "person_boxes": "float32[]",
    }
    return Stage("person", version, columns, make, gpu=True)


def person_scores(find: Detector, picture: Picture) -> Scores:
    """person_scores and person_boxes (4 numbers each, xyxy pixels of the original), best first; person_score and
    person_min_side (shorter side of the box) of the main person: the best of those whose box is larger than the paper's
    300 pixels, else the best of all; 0 where nobody is found."""
    boxes, scores = find(picture.image)
    order = np.argsort(-np.asarray(scores), kind="stable")
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)[order] * np.float32(picture.scale)
    scores = np.asarray(scores, np.float32)[order]
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    main = int(np.argmax(sides > PAPER_SIDE)) if len(sides) else None  # the first, which is the best; 0 if none is
    return {
        "person_score": 0.0 if main is None else float(scores[main]),
        "person_min_side": 0.0 if main is None else float(sides[main]),
        "person_scores": scores.tolist(),
        "person_boxes": boxes.ravel().tolist(),
    }


def embedding_stage() -> Stage:
    """Features of the whole image from the backbone inside the package, for near-duplicates and clusters.

    A vector of length 1: mean and standard deviation of the features over the image, each scaled to the same length.
    """

    def make() -> Score:
        loaded = load(EMBEDDING_MODEL).models[0]

        def score(pictures: Sequence[Picture]) -> list[Scores]:
            images = [picture.image for picture in pictures]
            views = [(image, whole_image_view(image.shape[:2], loaded.input_size)) for image in images]
            tokens = encode_views(loaded, views).tokens
            parts = [_unit(tokens.mean(axis=1)), _unit(tokens.std(axis=1))]
            return [{"embedding": vector.tolist()} for vector in np.concatenate(parts, axis=1) / np.sqrt(2)]

        return score

    version = f"{EMBEDDING_MODEL} {_weights_version(EMBEDDING_MODEL)}"
    return Stage("embedding", version, {"embedding": "float32[]"}, make, gpu=True)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _weights_version(name: str) -> str:
    """The first digits of the hash of a model's weights: other weights, other scores."""
    return sha256_of(model_folder(name) / "model.safetensors")[:12]
