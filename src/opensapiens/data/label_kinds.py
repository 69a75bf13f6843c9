"""The kinds of label that have a value for every pixel. Readers, crops, shards and cut-outs loop over them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from opensapiens.data.label_maps import read_depth, read_mask, read_normals, read_parts
from opensapiens.labels.parts import IGNORED, PartSet


@dataclass(frozen=True)
class Move:
    """What was done to a picture, beside moving its pixels: turned clockwise by `degrees`, then mirrored or not."""

    degrees: float = 0.0
    flip: bool = False


@dataclass(frozen=True)
class Pixels:
    """How a kind is stored as a PNG in a shard; scale: meters per unit, for those that have one.

    pack: (values, scale) -> (H, W) or (H, W, 3) uint8 or uint16. unpack: (those, the person's mask (H, W) bool, scale)
    -> values of this person alone.
    """

    pack: Callable[[np.ndarray, float], np.ndarray]
    unpack: Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _unchanged(values: np.ndarray, _move: Move, _part_set: PartSet) -> np.ndarray:
    return values


@dataclass(frozen=True, eq=False)
class LabelKind:
    """One kind of dense label: (H, W) or (H, W, C) arrays of one dtype. Kinds of one name are the same.

    name: in shards ("depth.png") and as an option. folders: where data sets keep it, the first is ours. outside: its
    value where nothing is known. known: values -> (H, W) bool, where they say that the person is. move: what turning
    and mirroring the picture does to the values, beside moving them. read: a file of label maps -> values; it takes the
    part set of the ids and a factor on lengths. pixels: how shards store it, None: they do not.
    """

    name: str
    folders: tuple[str, ...]
    outside: float
    known: Callable[[np.ndarray], np.ndarray]
    read: Callable[[Path, PartSet, float], np.ndarray]
    move: Callable[[np.ndarray, Move, PartSet], np.ndarray] = _unchanged
    pixels: Pixels | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelKind) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _swap_parts(values: np.ndarray, move: Move, part_set: PartSet) -> np.ndarray:
    if not move.flip:
        return values
    table = np.arange(256, dtype=np.uint8)
    swapped = part_set.flip_indices
    table[: len(swapped)] = swapped
    return table[values]


def _turn_normals(normals: np.ndarray, move: Move, _part_set: PartSet) -> np.ndarray:
    """Turns normals with the picture. Their y points up and the picture's down, so the picture's clockwise turn
    (x, y) -> (x cos - y sin, x sin + y cos) is (x cos + y sin, y cos - x sin) for them."""
    if not (move.degrees or move.flip):
        return normals
    cos, sin = np.cos(np.deg2rad(move.degrees)), np.sin(np.deg2rad(move.degrees))
    side = -1 if move.flip else 1
    return cv2.transform(normals, np.array([[side * cos, side * sin, 0], [-sin, cos, 0], [0, 0, 1]]))


def _pack_depth(depth: np.ndarray, scale: float) -> np.ndarray:
    """uint16 units of `scale` meters, 0 where depth is not known."""
    units, known = np.zeros(depth.shape, np.uint16), np.isfinite(depth) & (depth > 0)
    units[known] = np.clip(np.rint(depth[known] / scale), 1, 65535)  # most of a picture is unknown
    return units


def _unpack_depth(stored: np.ndarray, mask: np.ndarray, scale: float) -> np.ndarray:
    depth = stored * np.float32(scale)
    depth[~mask | (stored == 0)] = np.nan
    return depth


def _pack_normals(normals: np.ndarray, _scale: float) -> np.ndarray:
    """uint8 RGB (n + 1) / 2 · 255, (0, 0, 0) where no normal is known."""
    stored = np.zeros(normals.shape, np.uint8)
    length = sum(np.abs(normals[..., axis]) for axis in range(3))
    known = np.isfinite(length) & (length > 0)
    stored[known] = np.rint((normals[known] + 1) * 127.5).clip(0, 255)
    return stored


_COMPONENT = (np.arange(256) / 127.5 - 1).astype(np.float32)


def _unpack_normals(stored: np.ndarray, mask: np.ndarray, _scale: float) -> np.ndarray:
    """OpenCV throughout: along an axis of three channels it takes a fifth of NumPy's time, and every sample passes
    here."""
    normals = cv2.LUT(stored, _COMPONENT)
    factor = cv2.pow(cv2.transform(cv2.multiply(normals, normals), np.ones((1, 3))), -0.5)
    factor[~mask | ((stored[..., 0] | stored[..., 1] | stored[..., 2]) == 0)] = np.nan
    return cv2.multiply(normals, cv2.merge([factor, factor, factor]))


def _keep(values: np.ndarray, _scale: float) -> np.ndarray:
    return values


def _of_person(stored: np.ndarray, mask: np.ndarray, _scale: float) -> np.ndarray:
    return stored * mask


def _finite(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values)


def _all_finite(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values).all(axis=-1)


def _is_part(values: np.ndarray) -> np.ndarray:
    return (values > 0) & (values != IGNORED)


def _as_it_is(values: np.ndarray) -> np.ndarray:
    return values


def _read_mask(path: Path, _part_set: PartSet, _scale: float) -> np.ndarray:
    return read_mask(path)


def _read_parts(path: Path, part_set: PartSet, _scale: float) -> np.ndarray:
    return read_parts(path, part_set)


def _read_depth(path: Path, _part_set: PartSet, scale: float) -> np.ndarray:
    return read_depth(path, scale)


def _read_normals(path: Path, _part_set: PartSet, _scale: float) -> np.ndarray:
    return read_normals(path)


MASK = LabelKind("mask", ("masks", "mask"), False, _as_it_is, _read_mask)
"""(H, W) bool, the visible pixels of the person."""
PARTS = LabelKind(
    "parts",
    ("parts", "annotations", "segmentations"),
    0,
    _is_part,
    _read_parts,
    _swap_parts,
    Pixels(_keep, _of_person),
)
"""(H, W) uint8 class of the part set, 0 = background, 255 = ignore."""
DEPTH = LabelKind("depth", ("depths", "depth"), np.nan, _finite, _read_depth, pixels=Pixels(_pack_depth, _unpack_depth))
"""(H, W) float32, small = near; NaN outside the person or unknown."""
NORMALS = LabelKind(
    "normals",
    ("normals", "normal"),
    np.nan,
    _all_finite,
    _read_normals,
    _turn_normals,
    Pixels(_pack_normals, _unpack_normals),
)
"""(H, W, 3) float32 unit vectors, +x right, +y up, +z to the camera; NaN outside the person or unknown."""

KINDS = (MASK, PARTS, DEPTH, NORMALS)
"""In the order in which they are asked where the person is."""
STORED_KINDS = tuple(kind for kind in KINDS if kind.pixels is not None)
"""Those that a shard stores; the mask follows from the picture of instances."""
