"""Files that other tools read: indexed and 16-bit PNG, NPZ, PLY, CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from opensapiens.storage.files import write_bytes, written

TABLE_COLUMNS = ("file", "frame", "seconds", "person_id", "keypoint", "x", "y", "score")


def save_parts(path: Path, labels: np.ndarray, colors: np.ndarray) -> None:
    """Indexed PNG: pixel = class id (H×W uint8), palette = the colours (C×3 uint8)."""
    picture = Image.fromarray(labels)  # mode L; the palette turns it into an indexed PNG with the same values
    picture.putpalette(colors.astype(np.uint8).tobytes())
    save_picture(path, picture)


def save_picture(path: Path, picture: Image.Image, **options: int) -> None:
    """A picture in the format of the ending, which appears when it is whole. options: as PIL's save takes them."""
    with written(path) as temporary:
        picture.save(temporary, Image.registered_extensions()[path.suffix], **options)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """A compressed NPZ file that appears when it is whole."""
    with written(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def depth_to_16_bits(normalized: np.ndarray) -> np.ndarray:
    """Depth H×W from 0 (nearest) to 1 (farthest) as uint16: 0 where there is none (NaN), else 1 to 65535."""
    valid = np.isfinite(normalized)
    return np.where(valid, 1 + np.round(np.where(valid, normalized, 0) * 65534), 0).astype(np.uint16)


def normals_to_16_bits(normals: np.ndarray) -> np.ndarray:
    """Unit vectors H×W×3 as uint16: 0, 0, 0 where there is none (NaN), else 1 + (n + 1) / 2 · 65534."""
    valid = np.isfinite(normals).all(axis=-1, keepdims=True)
    scaled = (np.where(valid, normals, 0).clip(-1, 1) + 1) / 2
    return np.where(valid, 1 + np.round(scaled * 65534), 0).astype(np.uint16)


def save_rgb_16_bits(path: Path, values: np.ndarray) -> None:
    """H×W×3 uint16 as a PNG whose red is channel 0; Pillow writes no such files. Raises OSError."""
    written, data = cv2.imencode(".png", values[..., ::-1])
    if not written:
        raise OSError(f"{path}: could not be encoded as PNG")
    write_bytes(path, data.tobytes())


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
    write_bytes(path, "\n".join(header).encode("ascii") + vertices.tobytes())


def save_table(path: Path, pieces: Iterable[list[tuple[Any, ...]]]) -> None:
    """A table of keypoints, one row per point with the columns TABLE_COLUMNS, None an empty cell: .csv or .parquet.

    pieces: its rows, some at a time. The file appears when it is whole. Raises ModuleNotFoundError for Parquet without
    pyarrow.
    """
    with written(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, pieces)
            return
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(TABLE_COLUMNS)
            for rows in pieces:
                table.writerows(rows)


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
