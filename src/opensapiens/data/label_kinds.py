"""The kinds of dense labels, over which readers, crops, shards and cut-outs loop."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from opensapiens.data.label_maps import (
    known_points,
    read_albedo,
    read_alpha,
    read_depth,
    read_mask,
    read_normals,
    read_parts,
    read_points,
)
from opensapiens.labels.parts import IGNORED, PartSet


@dataclass(frozen=True)
class Move:
    """The rotation (clockwise) and then the mirroring of a picture, which change values of labels."""

    degrees: float = 0.0
    flip: bool = False


@dataclass(frozen=True)
class Pixels:
    """How a kind is stored in a shard; scale: meters per unit of depth.

    pack: (values, scale) -> (H, W) or (H, W, 3), uint8 or uint16, as a PNG; where floats, float32 as an NPZ. unpack:
    (those, the person's mask (H, W) bool, scale) -> values of this person only. soft: the person's values also lie
    around their mask; unpack is given the pixels that are nearest to this person instead.
    """

    pack: Callable[[np.ndarray, float], np.ndarray]
    unpack: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    color: bool = False  # (H, W, 3)
    floats: bool = False
    soft: bool = False


def _unchanged(values: np.ndarray, _move: Move, _part_set: PartSet) -> np.ndarray:
    return values


@dataclass(frozen=True, eq=False)
class LabelKind:
    """One kind of dense label: (H, W) or (H, W, C) arrays of one dtype. Kinds with the same name are equal.

    name: in options. folders: their usual names in datasets, ours first. outside: the value of
    unknown pixels. known: values -> (H, W) bool, the person's pixels. move: changes the values when the picture is
    turned or mirrored. read: reads a label map, given the part set and a factor on depths. pixels: how shards store it,
    if they do. blends: between two pixels lies their mean, and not one of them.
    """

    name: str
    folders: tuple[str, ...]
    outside: float
    known: Callable[[np.ndarray], np.ndarray]
    read: Callable[[Path, PartSet, float], np.ndarray]
    move: Callable[[np.ndarray, Move, PartSet], np.ndarray] = _unchanged
    pixels: Pixels | None = None
    blends: bool = False

    @property
    def member(self) -> str:
        """Its name in shards: "depth.png"."""
        return f"{self.name}.{'npz' if self.pixels is not None and self.pixels.floats else 'png'}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelKind) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _swap_parts(values: np.ndarray, move: Move, part_set: PartSet) -> np.ndarray:
    if not move.flip:
        return values
    table = np.arange(256, dtype=np.uint8)
    table[: len(part_set)] = part_set.flip_indices
    return table[values]


def _turn_normals(normals: np.ndarray, move: Move, _part_set: PartSet) -> np.ndarray:
    """Turns normals with the picture; their y points up, the picture's down."""
    if not (move.degrees or move.flip):
        return normals
    cos, sin = np.cos(np.deg2rad(move.degrees)), np.sin(np.deg2rad(move.degrees))
    side = -1 if move.flip else 1
    return cv2.transform(normals, np.array([[side * cos, side * sin, 0], [-sin, cos, 0], [0, 0, 1]]))


def _turn_points(points: np.ndarray, move: Move, _part_set: PartSet) -> np.ndarray:
    """Turns points with the picture, about the camera's axis; x and y are those of the picture."""
    if not (move.degrees or move.flip):
        return points
    cos, sin = np.cos(np.deg2rad(move.degrees)), np.sin(np.deg2rad(move.degrees))
    side = -1 if move.flip else 1
    return cv2.transform(points, np.array([[side * cos, -side * sin, 0], [sin, cos, 0], [0, 0, 1]]))


def _pack_depth(depth: np.ndarray, scale: float) -> np.ndarray:
    """uint16 units of `scale` meters, 0 = unknown."""
    units, known = np.zeros(depth.shape, np.uint16), np.isfinite(depth) & (depth > 0)
    units[known] = np.clip(np.rint(depth[known] / scale), 1, 65535)  # most of a picture is unknown
    return units


def _unpack_depth(stored: np.ndarray, mask: np.ndarray, scale: float) -> np.ndarray:
    depth = stored * np.float32(scale)
    depth[~mask | (stored == 0)] = np.nan
    return depth


def _pack_normals(normals: np.ndarray, _scale: float) -> np.ndarray:
    """uint8 RGB (n + 1) / 2 · 255, (0, 0, 0) = unknown."""
    stored = np.zeros(normals.shape, np.uint8)
    length = sum(np.abs(normals[..., axis]) for axis in range(3))
    known = np.isfinite(length) & (length > 0)
    stored[known] = np.rint((normals[known] + 1) * 127.5).clip(0, 255)
    return stored


_COMPONENT = (np.arange(256) / 127.5 - 1).astype(np.float32)


def _unpack_normals(stored: np.ndarray, mask: np.ndarray, _scale: float) -> np.ndarray:
    # OpenCV is five times faster than NumPy along an axis of three channels.
    normals = cv2.LUT(stored, _COMPONENT)
    factor = cv2.pow(cv2.transform(cv2.multiply(normals, normals), np.ones((1, 3))), -0.5)
    factor[~mask | ((stored[..., 0] | stored[..., 1] | stored[..., 2]) == 0)] = np.nan
    return cv2.multiply(normals, cv2.merge([factor, factor, factor]))


def _keep(values: np.ndarray, _scale: float) -> np.ndarray:
    return values


def _of_person(stored: np.ndarray, mask: np.ndarray, _scale: float) -> np.ndarray:
    return stored * mask


def _pack_points(points: np.ndarray, _scale: float) -> np.ndarray:
    """float32 as they are."""
    return points.astype(np.float32)


def _unpack_points(stored: np.ndarray, mask: np.ndarray, _scale: float) -> np.ndarray:
    return known_points(np.where(mask[..., None], stored, np.float32(np.nan)))


def _pack_shares(shares: np.ndarray, _scale: float) -> np.ndarray:
    """uint8, 255 = 1; 0 where they are NaN."""
    return np.rint(np.nan_to_num(shares).clip(0, 1) * 255).astype(np.uint8)


def _unpack_alpha(stored: np.ndarray, mask: np.ndarray, _scale: float) -> np.ndarray:
    return (stored * mask) / np.float32(255)


def _unpack_albedo(stored: np.ndarray, mask: np.ndarray, _scale: float) -> np.ndarray:
    return np.where(mask[..., None], stored / np.float32(255), np.float32(np.nan))


def _all_finite(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values).all(axis=-1)


def _is_part(values: np.ndarray) -> np.ndarray:
    return (values > 0) & (values != IGNORED)


def _read_mask(path: Path, _part_set: PartSet, _scale: float) -> np.ndarray:
    return read_mask(path)


def _read_parts(path: Path, part_set: PartSet, _scale: float) -> np.ndarray:
    return read_parts(path, part_set)


def _read_depth(path: Path, _part_set: PartSet, scale: float) -> np.ndarray:
    return read_depth(path, scale)


def _read_normals(path: Path, _part_set: PartSet, _scale: float) -> np.ndarray:
    return read_normals(path)


def _read_points(path: Path, _part_set: PartSet, scale: float) -> np.ndarray:
    return read_points(path) * np.float32(scale)


def _read_alpha(path: Path, _part_set: PartSet, _scale: float) -> np.ndarray:
    return read_alpha(path)


def _read_albedo(path: Path, _part_set: PartSet, _scale: float) -> np.ndarray:
    return read_albedo(path)


def _is_there(alpha: np.ndarray) -> np.ndarray:
    return alpha > 0


_PARTS_PNG, _DEPTH_PNG = Pixels(_keep, _of_person), Pixels(_pack_depth, _unpack_depth)
_NORMALS_PNG = Pixels(_pack_normals, _unpack_normals, color=True)
_POINTS_NPZ = Pixels(_pack_points, _unpack_points, color=True, floats=True)
_ALPHA_PNG = Pixels(_pack_shares, _unpack_alpha, soft=True)
_ALBEDO_PNG = Pixels(_pack_shares, _unpack_albedo, color=True)
PARTS_FOLDERS = ("parts", "annotations", "segmentations")

MASK = LabelKind("mask", ("masks", "mask", "instances"), False, np.asarray, _read_mask)
"""(H, W) bool, the visible pixels of the person."""
PARTS = LabelKind("parts", PARTS_FOLDERS, 0, _is_part, _read_parts, _swap_parts, _PARTS_PNG)
"""(H, W) uint8 class of the part set, 0 = background, 255 = ignore."""
DEPTH = LabelKind("depth", ("depths", "depth"), np.nan, np.isfinite, _read_depth, pixels=_DEPTH_PNG)
"""(H, W) float32, small = near; NaN outside the person or unknown."""
NORMALS = LabelKind("normals", ("normals", "normal"), np.nan, _all_finite, _read_normals, _turn_normals, _NORMALS_PNG)
"""(H, W, 3) float32 unit vectors, +x right, +y up, +z towards the camera; NaN outside the person or unknown."""

POINTS = LabelKind("points", ("points", "pointmaps"), np.nan, _all_finite, _read_points, _turn_points, _POINTS_NPZ)
"""(H, W, 3) float32 meters in the camera's frame, x right, y down, z forward; NaN outside the person or unknown."""
ALPHA = LabelKind("alpha", ("alphas", "alpha"), 0, _is_there, _read_alpha, pixels=_ALPHA_PNG, blends=True)
"""(H, W) float32, how much of a pixel is the person, 0 to 1."""
ALBEDO = LabelKind("albedo", ("albedos", "albedo"), np.nan, _all_finite, _read_albedo, pixels=_ALBEDO_PNG)
"""(H, W, 3) float32 RGB of the surface without light, 0 to 1; NaN outside the person or unknown."""

KINDS = (MASK, PARTS, DEPTH, NORMALS)
"""The first known one decides where the person is."""
STORED_KINDS = tuple(kind for kind in (*KINDS, POINTS, ALPHA, ALBEDO) if kind.pixels is not None)
"""Those stored in shards; the mask follows from instances.png."""
