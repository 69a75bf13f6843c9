"""The points of a pose: COCO's 17, COCO-WholeBody's 133, the 308 of Sapiens, or a user's own from CSV files.

The rows are from the datasets' published definitions; those of the 308 points from the published pose code (without the
36 teeth points of its 344). The order is that of the published heatmaps: in the 308, fingers run from the tip to the
root, the right hand comes first, and the wrists follow the hands (41 right, 62 left).
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from opensapiens.storage.text_files import FileError, read_text

TABLES = files("opensapiens.labels") / "tables"
KEYPOINT_COLUMNS = ("name", "mirror", "group", "body_half", "sigma", "color")
LIMB_COLUMNS = ("start", "end", "color")


@dataclass(frozen=True, eq=False)
class KeypointSet:
    """K named points of a person, in channel order.

    flip_indices (K,) int64: each point's counterpart in a mirrored image (itself on the midline).
    sigmas (K,) float32: the spread of human annotation per point, for object keypoint similarity.
    body_halves: "upper", "lower" or "" per point, for half-body augmentation. groups: "body", "foot", "face", ... per
    point. colors (K, 3) uint8 RGB.
    limbs (L, 2) int64: pairs of points to draw a line between. limb_colors (L, 3) uint8 RGB.
    """

    name: str
    names: tuple[str, ...]
    flip_indices: np.ndarray
    sigmas: np.ndarray
    body_halves: tuple[str, ...]
    groups: tuple[str, ...]
    colors: np.ndarray
    limbs: np.ndarray
    limb_colors: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The channel of the point `name`. KeyError if the set has no such point."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"{self.name} has no keypoint {name!r}") from None

    def group(self, name: str) -> np.ndarray:
        """The channels (N,) int64 of the group `name`, in order. KeyError if the set has no such group."""
        channels = np.flatnonzero(np.array(self.groups) == name)
        if not len(channels):
            raise KeyError(f"{self.name} has no group {name!r}; its groups are {', '.join(dict.fromkeys(self.groups))}")
        return channels


def read_keypoint_set(name: str, keypoints: Path | Traversable, limbs: Path | Traversable | None = None) -> KeypointSet:
    """Reads a keypoint set from CSV files with a header row.

    keypoints: columns name, mirror (the name of its counterpart, empty on the midline), group, body_half, sigma,
    color (#rrggbb); one row per channel. limbs: columns start, end, color.
    ValueError if a name is repeated or unknown, mirrored points do not name each other, a column is missing or a file
    has no rows.
    """
    limb_rows = read_rows(limbs, LIMB_COLUMNS) if limbs is not None else []
    return keypoint_set_of_rows(name, read_rows(keypoints, KEYPOINT_COLUMNS), limb_rows, str(keypoints))


def keypoint_set_of_rows(name: str, rows: list[dict[str, str]], limbs: list[dict[str, str]], where: str) -> KeypointSet:
    """A keypoint set from rows with the columns of the CSV files; `where` is their source, for errors. Raises as
    `read_keypoint_set`."""
    if not rows:
        raise ValueError(f"{where}: no points")
    names = unique_names(rows, where)
    ends = [[position(row[end], names, f"{where}, limbs") for end in ("start", "end")] for row in limbs]
    sigmas = parse_numbers([row["sigma"] for row in rows], f"{where}, sigma")
    if not (sigmas > 0).all():
        raise ValueError(f"{where}: every sigma must be above 0")
    return KeypointSet(
        name=name,
        names=names,
        flip_indices=mirror_indices(rows, names, where),
        sigmas=sigmas,
        body_halves=tuple(row["body_half"] for row in rows),
        groups=tuple(row["group"] for row in rows),
        colors=parse_colors([row["color"] for row in rows], where),
        limbs=np.array(ends, dtype=np.int64).reshape(-1, 2),
        limb_colors=parse_colors([row["color"] for row in limbs], f"{where}, limbs"),
    )


def read_rows(table: Path | Traversable, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file by column name. ValueError if it has none or lacks one of `columns`."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(table.read_bytes(), str(table)))))
    except csv.Error as error:
        raise FileError(f"{table}: not a CSV file ({error})") from error
    if not rows:
        raise ValueError(f"{table}: no rows")
    missing = [column for column in columns if rows[0].get(column) is None]
    if missing:
        raise ValueError(f"{table}: no column {', '.join(missing)}")
    return rows


def unique_names(rows: list[dict[str, str]], where: str) -> tuple[str, ...]:
    """The column `name`. ValueError if a name is repeated."""
    names = tuple(row["name"] for row in rows)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{where}: repeated names: {', '.join(repeated)}")
    return names


def position(name: str, names: tuple[str, ...], where: str) -> int:
    """The index of `name` among `names`. ValueError if it is not one of them."""
    if name not in names:
        raise ValueError(f"{where}: unknown name {name!r}")
    return names.index(name)


def mirror_indices(rows: list[dict[str, str]], names: tuple[str, ...], where: str) -> np.ndarray:
    """The column `mirror` as indices (K,) int64. ValueError if two rows do not name each other."""
    mirrors = np.array([position(row["mirror"] or row["name"], names, where) for row in rows], dtype=np.int64)
    wrong = [names[i] for i in np.flatnonzero(mirrors[mirrors] != np.arange(len(names)))]
    if wrong:
        raise ValueError(f"{where}: not the mirror of their mirror: {', '.join(wrong)}")
    return mirrors


def parse_numbers(values: list[str], where: str) -> np.ndarray:
    """Text -> (N,) float32. ValueError unless all are finite numbers of at least 0."""
    try:
        numbers = np.array([float(value) for value in values], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError(f"{where}: numbers must be finite and not below 0")
    return numbers


def parse_colors(colors: list[str], where: str) -> np.ndarray:
    """#rrggbb strings -> (N, 3) uint8 RGB. ValueError for anything else."""
    wrong = [color for color in colors if not re.fullmatch(r"#?[0-9a-fA-F]{6}", color)]
    if wrong:
        raise ValueError(f"{where}: {wrong[0]!r} is no color such as #ff8000")
    return np.array([list(bytes.fromhex(color.removeprefix("#"))) for color in colors], dtype=np.uint8).reshape(-1, 3)


def _embedded(name: str) -> KeypointSet:
    return read_keypoint_set(name, TABLES / f"{name}_keypoints.csv", TABLES / f"{name}_limbs.csv")


COCO_17 = _embedded("coco_17")
WHOLEBODY_133 = _embedded("wholebody_133")
SAPIENS_308 = _embedded("sapiens_308")
KEYPOINT_SETS = {known.name: known for known in (COCO_17, WHOLEBODY_133, SAPIENS_308)}
