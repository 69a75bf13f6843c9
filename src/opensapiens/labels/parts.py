"""The classes of a body-part map: the 28 of Sapiens, the 29 of Sapiens2, or a user's own from a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from opensapiens.labels.keypoints import TABLES, mirror_indices, parse_colors, parse_numbers, read_rows, unique_names

PART_COLUMNS = ("name", "mirror", "loss_weight", "color")


@dataclass(frozen=True, eq=False)
class PartSet:
    """P named classes of pixels, in channel order; class 0 is the background.

    colors (P, 3) uint8 RGB. flip_indices (P,) int64: each class's counterpart in a mirrored image (itself if it has no
    side). loss_weights (P,) float32: class weights of the cross-entropy.
    """

    name: str
    names: tuple[str, ...]
    colors: np.ndarray
    flip_indices: np.ndarray
    loss_weights: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The class id of `name`. KeyError if the set has no such class."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"{self.name} has no part {name!r}") from None


def read_part_set(name: str, table: Path | Traversable) -> PartSet:
    """Reads a part set from a CSV file with the columns name, mirror (empty: itself), loss_weight, color (#rrggbb).

    ValueError if a name is repeated or unknown, mirrored classes do not name each other, a column is missing or the
    file has no rows.
    """
    return part_set_of_rows(name, read_rows(table, PART_COLUMNS), str(table))


def part_set_of_rows(name: str, rows: list[dict[str, str]], where: str) -> PartSet:
    """A part set from rows with the columns of the CSV file; `where` is their source, for errors. ValueError as
    `read_part_set`, and for more than 255 classes, since they are stored in a byte, where 255 means "ignore"."""
    if not 0 < len(rows) <= 255:
        raise ValueError(f"{where}: {len(rows)} classes; there must be 1 to 255")
    names = unique_names(rows, where)
    return PartSet(
        name=name,
        names=names,
        colors=parse_colors([row["color"] for row in rows], where),
        flip_indices=mirror_indices(rows, names, where),
        loss_weights=parse_numbers([row["loss_weight"] for row in rows], f"{where}, loss_weight"),
    )


SAPIENS_28 = read_part_set("sapiens_28", TABLES / "sapiens_28_parts.csv")
SAPIENS_29 = read_part_set("sapiens_29", TABLES / "sapiens_29_parts.csv")
"""The same with eyeglasses as class 2: every id from 2 on is one higher."""
PART_SETS = {part_set.name: part_set for part_set in (SAPIENS_28, SAPIENS_29)}


IGNORED = 255
"""The value of unlabeled pixels in a label map."""


def part_lookup(source: PartSet, target: PartSet, renamed: Mapping[str, str] | None = None) -> np.ndarray:
    """(256,) uint8: the class of `target` for each number in a label map of `source`; `table[parts]` converts one.

    Classes correspond by name, apart from case; `renamed` adds pairs {name in source: name in target}, several source
    classes may have one target. Classes that the target lacks become 255, "ignore". KeyError for a name in `renamed`
    that a set lacks.
    """
    class_of_name = {name.lower(): number for number, name in enumerate(target.names)}
    table = np.full(256, IGNORED, np.uint8)
    for number, name in enumerate(source.names):
        table[number] = class_of_name.get(name.lower(), IGNORED)
    for old, new in (renamed or {}).items():
        table[source.index(old)] = target.index(new)
    return table
