"""Files of results: overlays (JPEG), point clouds (PLY) and tables of keypoints (CSV, Parquet)."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from opensapiens.storage.files import write_bytes, written
from opensapiens.storage.text_files import csv_cell, utf8
from opensapiens.tasks.saving import save_picture

JPEG_SIDE = 65_500  # libjpeg's limit
TABLE_COLUMNS = ("file", "frame", "seconds", "person_id", "keypoint", "x", "y", "score")


def save_overlay(path: Path, picture: np.ndarray) -> None:
    """JPEG of H×W×3 uint8 RGB, scaled down if a side is longer than the format allows."""
    image = Image.fromarray(picture)
    image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    save_picture(path, image, quality=92)


def save_ply(path: Path, points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None = None) -> None:
    """Points (N×3 float) with RGB colors (N×3 uint8), and normals where given, as binary PLY (little endian)."""
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
    write_bytes(path, "\n".join(header).encode("ascii") + vertices.tobytes())


def save_table(path: Path, pieces: Iterable[list[tuple[Any, ...]]]) -> None:
    """A table of keypoints, one row per point with the columns TABLE_COLUMNS, None an empty cell: .csv or .parquet.

    pieces: its rows, some at a time. The file appears when it is complete. Raises ModuleNotFoundError for Parquet
    without pyarrow.
    """
    with written(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, pieces)
            return
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(TABLE_COLUMNS)
            for rows in pieces:
                table.writerows(map(csv_cell, row) for row in rows)


def _write_parquet(path: Path, pieces: Iterable[list[tuple[Any, ...]]]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        message = "Parquet needs pyarrow: pip install pyarrow, or ask for csv"
        raise ModuleNotFoundError(message, name="pyarrow") from error
    kinds = ("string", "int64", "float64", "int64", "string", "float64", "float64", "float64")
    schema = pyarrow.schema(list(zip(TABLE_COLUMNS, map(pyarrow.type_for_alias, kinds), strict=True)))
    with pyarrow.parquet.ParquetWriter(path, schema) as table:
        for rows in pieces:
            columns = list(zip(*rows, strict=True)) or [()] * len(TABLE_COLUMNS)
            arrays = [pyarrow.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
            table.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def table_rows(
    annotations: Iterable[dict[str, Any]], names: tuple[str, ...], file: str, frames: dict[int, Any]
) -> list:
    """Rows of a table from COCO annotations with "person_id"; frames: image id -> (frame, seconds)."""
    rows = []
    for annotation in annotations:
        if "keypoints" not in annotation:
            continue
        points = np.array(annotation["keypoints"]).reshape(-1, 3)
        frame, seconds = frames[annotation["image_id"]]
        for name, (x, y, _), score in zip(names, points.tolist(), annotation["keypoint_scores"], strict=True):
            rows.append((utf8(file), frame, seconds, annotation["person_id"], name, x, y, score))
    return rows
