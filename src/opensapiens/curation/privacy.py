"""Whose images must not be used: lists of hashes and of sources, and faces that are made unrecognisable."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from opensapiens.curation.duplicates import distances
from opensapiens.curation.sources import Item
from opensapiens.inference.forward import LoadedModel, predict
from opensapiens.tasks.segmentation import SegmentationTask

NEAR = 4  # bits of 64: closer perceptual hashes are taken for the same image
FACE = "Face_Neck"


class ListError(ValueError):
    """A list with a line that cannot be read; the message says which."""


@dataclass(frozen=True, eq=False)
class BlockList:
    """Images that must not be used: exact by the SHA-256 of their file, or near by their perceptual hash."""

    sha256: frozenset[str] = frozenset()
    phash: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))

    @classmethod
    def read(cls, paths: Iterable[Path]) -> BlockList:
        """From text files, one hash in hexadecimal a line: 64 digits of SHA-256 or 16 of a perceptual hash. Empty lines
        and what follows a # do not count. Raises ListError for anything else."""
        exact, near = set(), []
        for where, line in _lines(paths):
            if set(line) - set(string.hexdigits) or len(line) not in (16, 64):
                raise ListError(f"{where}: {line!r} is neither a SHA-256 (64 digits) nor a perceptual hash (16 digits)")
            if len(line) == 64:
                exact.add(line.lower())
            else:
                near.append(int(line, 16))
        return cls(frozenset(exact), np.array(near, np.uint64))

    def near(self, phash: int) -> bool:
        """Whether a perceptual hash is within NEAR bits of one of the list."""
        return bool((distances(np.uint64(phash), self.phash) <= NEAR).any())

    def names(self, sha256: str | None, phash: int | None) -> bool:
        """Whether an image of these hashes is on the list."""
        return sha256 in self.sha256 or (phash is not None and self.near(phash))


@dataclass(frozen=True)
class OptOutList:
    """Sources whose images must not be used: files, addresses, or whole domains."""

    lines: frozenset[str] = frozenset()

    @classmethod
    def read(cls, paths: Iterable[Path]) -> OptOutList:
        """From text files, one a line: a file or file::member as the manifest names it, an address (https://…), or a
        domain (example.org, which includes www.example.org)."""
        return cls(frozenset(line for _, line in _lines(paths)))

    def names(self, item: Item) -> bool:
        """Whether an image comes from one of the list."""
        if not self.lines:
            return False
        labels = (urlsplit(item.url).hostname or "").split(".")
        domains = {".".join(labels[start:]) for start in range(len(labels))}
        return not self.lines.isdisjoint({item.file, item.source, item.url} - {""} | domains - {""})


def _lines(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            text = line.partition("#")[0].strip()
            if text:
                yield f"{path}, line {number}", text


def blur_faces(image: np.ndarray, boxes: np.ndarray, loaded: LoadedModel) -> np.ndarray:
    """The H×W×3 uint8 image with the faces of the people in `boxes` (N×4 xyxy) blurred beyond recognition.

    Faces are where the model's part map says Face_Neck, and a margin around it. What the detector or the part map did
    not find stays as it is.
    """
    task = loaded.tasks.get(SegmentationTask.name)
    if len(boxes) == 0 or not isinstance(task, SegmentationTask):
        return image
    face = task.part_set.index(FACE)
    blurred = image.copy()
    for prediction in predict(loaded, [(image, view) for view in loaded.views(boxes, image.shape[:2])]):
        x1, y1, x2, y2 = prediction.view.window
        mask = (prediction.decoded[task.name] == face).astype(np.uint8)
        if not mask.any():
            continue
        margin = max(1, round(np.sqrt(mask.sum()) / 4))
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1)))
        window = image[y1:y2, x1:x2]
        # Mosaic, then blur: a blur alone can be undone in part.
        cells = max(1, round(min(mask.shape) / max(4, margin)))
        coarse = cv2.resize(
            window, (cells, max(1, round(cells * mask.shape[0] / mask.shape[1]))), interpolation=cv2.INTER_AREA
        )
        smooth = cv2.GaussianBlur(
            cv2.resize(coarse, window.shape[1::-1], interpolation=cv2.INTER_LINEAR), (0, 0), margin
        )
        np.copyto(blurred[y1:y2, x1:x2], smooth, where=mask[..., None] > 0)
    return blurred


def boxes_above(scores: Sequence[float], boxes: Sequence[float], threshold: float) -> np.ndarray:
    """The N×4 boxes, of a manifest's row, whose scores are above the threshold."""
    return np.asarray(boxes, np.float32).reshape(-1, 4)[np.asarray(scores, np.float32) > threshold]
