"""COCO's masks: polygons, and plain or compressed run lengths.

In the coordinates of COCO's polygons pixel centers are at halves; ours are at whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

FIELD = "segmentation"  # of an annotation
SHIFT = 4  # cv2 fills polygons at 1/16 pixel
SMALLEST = 4  # pixels of a polygon; smaller specks are dropped
MOST_BITS = 60  # of a run length


def mask_in(annotation: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray | None:
    """The mask of a COCO annotation, of (height, width); None without one. Raises ValueError as `mask_of`."""
    shape = annotation.get(FIELD)
    return None if shape in (None, [], [[]]) else mask_of(shape, size)


def polygons_of(mask: np.ndarray) -> list[list[float]]:
    """The outlines of a mask (H, W), each x, y, x, y, …, without holes and pieces of fewer than 4 pixels."""
    outlines = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    outlines = [outline[:, 0] for outline in outlines if len(outline) >= 3]
    return [(outline + 0.5).ravel().tolist() for outline in outlines if cv2.contourArea(outline) >= SMALLEST / 2]


def run_lengths_of(mask: np.ndarray) -> dict[str, Any]:
    """COCO's plain run lengths: {"size": [height, width], "counts": lengths down the columns, starting with zeros}."""
    flat = mask.astype(bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


def mask_of(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of a COCO segmentation: polygons, or run lengths as a list or a compressed string.

    Raises ValueError for anything else, and for run lengths of another size.
    """
    if isinstance(segmentation, dict):
        if segmentation.get("size") != list(size):
            raise ValueError(f"run lengths of size {str(segmentation.get('size'))[:40]} in an image of {list(size)}")
        counts = segmentation.get("counts")
        return _filled(counts if isinstance(counts, list) else _decompressed(counts), size)
    if not isinstance(segmentation, list) or not all(isinstance(outline, list) for outline in segmentation):
        raise ValueError("a segmentation must be a list of polygons, or run lengths")
    mask = np.zeros(size, np.uint8)
    for outline in segmentation:
        if not all(type(value) in (int, float) for value in outline):
            raise ValueError("a polygon that is not made of numbers")
        points = np.array(outline, np.float64)
        if points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise ValueError(f"a polygon of {points.size} numbers")
        points = np.clip(points.reshape(-1, 2) - 0.5, -1e5, 1e5)
        cv2.fillPoly(mask, [np.rint(points * (1 << SHIFT)).astype(np.int32)], 1, cv2.LINE_8, SHIFT)
    return mask.astype(bool)


def _filled(counts: list[Any], size: tuple[int, int]) -> np.ndarray:
    total = size[0] * size[1]
    if not all(type(value) is int and 0 <= value <= total for value in counts) or sum(counts) != total:
        raise ValueError(f"run lengths do not add up to the {total} pixels of the image")
    lengths = np.array(counts, np.int64)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size, order="F")


def _decompressed(text: Any) -> list[int]:
    """COCO's compressed run lengths: characters, from "0" on, of five bits of a number and a continuation bit; from the
    fourth number on, differences to the second last one."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    if not isinstance(text, str) or not all(48 <= ord(letter) < 112 for letter in text):
        raise ValueError("run lengths must be a list or COCO's compressed text")
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if shift > MOST_BITS:
            raise ValueError("run lengths with a number that no picture has")
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts
