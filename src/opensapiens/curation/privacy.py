"""Images that must not be used, by lists of hashes and of sources, and faces made unrecognizable."""

from __future__ import annotations

import logging
import string
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from opensapiens.curation.sources import MAX_LIST_BYTES, Item
from opensapiens.inference.forward import LoadedModel, predict
from opensapiens.storage.listing import counted
from opensapiens.storage.text_files import read_text
from opensapiens.tasks.segmentation import SegmentationTask

NEAR = 4  # bits of 64: closer perceptual hashes are taken for the same image
FACE = "Face_Neck"

logger = logging.getLogger(__name__)


class ListError(ValueError):
    """A list with a line that cannot be read; the message says which."""


@dataclass(frozen=True, eq=False)
class BlockList:
    """Images that must not be used: exact by the SHA-256 of their file, or near by their perceptual hash."""

    sha256: frozenset[str] = frozenset()
    phash: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))

    @classmethod
    def read(cls, paths: Iterable[Path]) -> BlockList:
        """From text files with one hexadecimal hash a line: a SHA-256 (64 digits) or a perceptual hash (16 digits).
        Empty lines and what follows a # are ignored. Raises ListError for any other line, FileError."""
        exact, near = set(), []
        for where, text in _lines(paths):
            line = text.partition("#")[0].strip()
            if set(line) - set(string.hexdigits) or len(line) not in (16, 64):
                raise ListError(f"{where}: {line!r} is neither a SHA-256 (64 digits) nor a perceptual hash (16 digits)")
            if len(line) == 64:
                exact.add(line.lower())
            else:
                near.append(int(line, 16))
        return cls(frozenset(exact), np.array(near, np.uint64))

    def near(self, phash: int) -> bool:
        """Whether a perceptual hash is within NEAR bits of one of the list."""
        return bool((np.bitwise_count(np.uint64(phash) ^ self.phash) <= NEAR).any())

    def names(self, sha256: str | None, phash: int | None) -> bool:
        """Whether an image of these hashes is on the list."""
        return sha256 in self.sha256 or (phash is not None and self.near(phash))


@dataclass(frozen=True, eq=False)
class OptOutList:
    """Sources whose images must not be used: files, addresses, or whole domains. forms: each way to write a source ->
    the line of a list that names it."""

    forms: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> OptOutList:
        """From text files, one a line: a file or file::member as the manifest names it, an address (https://…), or a
        domain (example.org, which includes www.example.org; https://example.org/ and *.example.org are the same).
        Empty lines, and what follows a # at the start of a line or after a space, are ignored. Raises FileError."""
        forms: dict[str, str] = {}
        for _, line in _lines(paths):
            for text in {line, line.split(" #")[0].strip()}:
                host, rest = _host_and_rest(text)
                for form in {text, host + rest} - {""}:
                    forms.setdefault(form, line)
        return cls(forms)

    def lines_for(self, item: Item) -> set[str]:
        """The lines that an image's source is on."""
        if not self.forms:
            return set()
        host, rest = _host_and_rest(item.url)
        labels = host.split(".")
        domains = [".".join(labels[start:]) for start in range(len(labels))]
        return {self.forms[form] for form in (item.file, item.source, item.url, host + rest, *domains)
                if form and form in self.forms}  # fmt: skip

    def names(self, item: Item) -> bool:
        """Whether an image comes from one of the list."""
        return bool(self.lines_for(item))

    def log_unmatched(self, matched: Collection[str]) -> None:
        """Warn of lines that named no image, so that a list in the wrong form is noticed. matched: those that did."""
        lines = set(self.forms.values())
        unmatched = sorted(lines - set(matched))
        if unmatched:
            logger.warning(
                "%d of %s of the opt-out lists name no image, such as %s",
                len(unmatched), counted(len(lines), "line"), ", ".join(line[:80] for line in unmatched[:3]),
            )  # fmt: skip


def _host_and_rest(address: str) -> tuple[str, str]:
    """The host of an address in lower-case ASCII, and what follows it without a final slash; both empty for text that
    is not an address."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host = parts.hostname or ""
    except ValueError:  # such as http://[::1
        return "", ""
    labels = host.removeprefix("*.").strip(".").split(".")
    query = f"?{parts.query}" if parts.query else ""
    return ".".join(map(_ascii, labels)), parts.path.rstrip("/") + query


def _ascii(label: str) -> str:
    try:
        return label.encode("idna").decode()
    except UnicodeError:
        return label


def _lines(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """The place ("FILE, line 3") and the text of each line that is neither empty nor a comment."""
    for path in paths:
        for number, line in enumerate(read_text(path, limit=MAX_LIST_BYTES).splitlines(), 1):
            if line.strip() and not line.strip().startswith("#"):
                yield f"{path}, line {number}", line.strip()


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
        grid = (cells, max(1, round(cells * mask.shape[0] / mask.shape[1])))
        coarse = cv2.resize(window, grid, interpolation=cv2.INTER_AREA)
        mosaic = cv2.resize(coarse, window.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        smooth = cv2.GaussianBlur(mosaic, (0, 0), margin)
        np.copyto(blurred[y1:y2, x1:x2], smooth, where=mask[..., None] > 0)
    return blurred
