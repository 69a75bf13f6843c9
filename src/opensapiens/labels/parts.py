"""Which classes a body-part map consists of: the 28 of Sapiens, or a user's own from a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from opensapiens.labels.keypoints import TABLES, mirror_indices, parse_colors, read_rows, unique_names


@dataclass(frozen=True, eq=False)
class PartSet:
    """P named classes of pixels, in channel order; class 0 is the background.

    colors (P, 3) uint8 RGB. flip_indices (P,) int64: the class that each becomes in a mirrored image (itself where it
    has no side). loss_weights (P,) float32: class weights of the cross-entropy.
    """

    name: str
    names: tuple[str, ...]
    colors: np.ndarray
    flip_indices: np.ndarray
    loss_weights: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The class id of `name`. KeyError when the set has no such class."""
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"{self.name} has no part {name!r}") from None


def read_part_set(name: str, table: Path | Traversable) -> PartSet:
    """Read a part set from a CSV file with the columns name, mirror (empty: itself), loss_weight, color (#rrggbb).

    ValueError when a name is repeated or unknown, or mirrored classes do not point at each other,
    when a column is missing or the file has no rows.
    """
    rows = read_rows(table, ("name", "mirror", "loss_weight", "color"))
    names = unique_names(rows, str(table))
    return PartSet(
        name=name,
        names=names,
        colors=parse_colors([row["color"] for row in rows]),
        flip_indices=mirror_indices(rows, names, str(table)),
        loss_weights=np.array([row["loss_weight"] for row in rows], dtype=np.float32),
    )


SAPIENS_28 = read_part_set("sapiens_28", TABLES / "sapiens_28_parts.csv")
PART_SETS = {SAPIENS_28.name: SAPIENS_28}
