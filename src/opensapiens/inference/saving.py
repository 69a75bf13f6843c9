"""Files that other tools read: point clouds (PLY) and tables of keypoints (CSV, Parquet)."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

JPEG_SIDE = 65_500  # libjpeg's limit
TABLE_COLUMNS = ("file", "frame", "seconds", "person_id", "keypoint", "x", "y", "score")


def save_overlay(path: Path, picture: np.ndarray) -> None:
    """JPEG of H×W×3 uint8 RGB, made smaller where a side is longer than a JPEG's can be."""
    image = Image.fromarray(picture)
    image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    image.save(path, quality=92)


def save_ply(path: Path, points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None = None) -> None:
    """Points (N×3 float) with RGB colours (N×3 uint8), and normals where given, as binary PLY (little endian)."""
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    columns = [points]
    if normals is not None:
        fields += [("nx", "<f4"), ("ny", "<f4"), ("nz", "<f4")]
        columns.append(normals)
    fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    columns.append(colors)
    vertices = np.empty(len(points), dtype=fields)
    for (name, _), values in zip(fields, np.concatenate([column.T for column in columns]), strict=True):
        vertices[name] = values
    properties = [f"property {'uchar' if kind == 'u1' else 'float'} {name}" for name, kind in fields]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *properties, "end_header", ""]
    path.write_bytes("\n".join(header).encode("ascii") + vertices.tobytes())


class KeypointTable:
    """A table of keypoints, one row per point with the columns TABLE_COLUMNS: CSV or, with pyarrow, Parquet.

    The file appears under its name when it is whole. Raises ModuleNotFoundError for Parquet without pyarrow.
    """

    def __init__(self, path: Path) -> None:
        """path: ends in .csv or .parquet."""
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.parquet: Any = None
        if path.suffix == ".parquet":
            try:
                import pyarrow
                import pyarrow.parquet
            except ModuleNotFoundError as error:
                message = "Parquet needs pyarrow: pip install pyarrow, or ask for csv"
                raise ModuleNotFoundError(message, name="pyarrow") from error
            kinds = ("string", "int64", "float64", "int64", "string", "float64", "float64", "float64")
            self.schema = pyarrow.schema(list(zip(TABLE_COLUMNS, map(pyarrow.type_for_alias, kinds), strict=True)))
            self.parquet = pyarrow.parquet.ParquetWriter(self.part, self.schema)
        else:
            self.file = self.part.open("w", newline="", encoding="utf-8")
            self.csv = csv.writer(self.file)
            self.csv.writerow(TABLE_COLUMNS)

    def write(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add rows in the order of the columns; None is an empty cell."""
        if self.parquet is None:
            self.csv.writerows(rows)
            return
        import pyarrow

        columns = list(zip(*rows, strict=True)) or [()] * len(TABLE_COLUMNS)
        arrays = [pyarrow.array(values, kind) for values, kind in zip(columns, self.schema.types, strict=True)]
        self.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=self.schema))

    def close(self) -> None:
        """Finish the file and give it its name."""
        (self.file if self.parquet is None else self.parquet).close()
        self.part.replace(self.path)


def table_rows(
    annotations: Iterable[dict[str, Any]], names: tuple[str, ...], file: str, frames: dict[int, Any]
) -> list:
    """Rows of KeypointTable out of COCO annotations with "person_id"; frames: image id -> (frame, seconds)."""
    rows = []
    for annotation in annotations:
        if "keypoints" not in annotation:
            continue
        points = np.array(annotation["keypoints"]).reshape(-1, 3)
        frame, seconds = frames[annotation["image_id"]]
        for name, (x, y, _), score in zip(names, points.tolist(), annotation["keypoint_scores"], strict=True):
            rows.append((file, frame, seconds, annotation["person_id"], name, x, y, score))
    return rows
