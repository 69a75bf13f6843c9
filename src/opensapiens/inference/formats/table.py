"""`csv` and `parquet`: the keypoints as a table, one row per point."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from opensapiens.inference.formats.format import Files, Format, Photo, VideoPeople, missing_library
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.storage.files import written
from opensapiens.storage.text_files import csv_cell, utf8
from opensapiens.tasks.pose import PoseTask

COLUMNS = ("file", "frame", "seconds", "person_id", "keypoint", "x", "y", "score")
KINDS = ("string", "int64", "float64", "int64", "string", "float64", "float64", "float64")


def save_table(path: Path, pieces: Iterable[list[tuple[Any, ...]]]) -> None:
    """Rows with the columns COLUMNS, None an empty cell, as .csv or .parquet.

    pieces: the rows, some at a time. The file appears when it is complete. Raises ModuleNotFoundError for Parquet
    without pyarrow.
    """
    with written(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, pieces)
            return
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for rows in pieces:
                table.writerows(map(csv_cell, row) for row in rows)


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise missing_library("pyarrow", "Parquet files", error) from error
    return pyarrow


def _write_parquet(path: Path, pieces: Iterable[list[tuple[Any, ...]]]) -> None:
    pyarrow = _pyarrow()
    schema = pyarrow.schema(list(zip(COLUMNS, map(pyarrow.type_for_alias, KINDS), strict=True)))
    with pyarrow.parquet.ParquetWriter(path, schema) as table:
        for rows in pieces:
            columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
            arrays = [pyarrow.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
            table.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def table_rows(
    annotations: Iterable[dict[str, Any]], names: tuple[str, ...], file: str, frames: dict[int, Any]
) -> list[tuple[Any, ...]]:
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


def _names(keypoint_set: KeypointSet | None) -> tuple[str, ...]:
    return keypoint_set.names if keypoint_set else ()


def _of_photo(kind: str, photo: Photo) -> Files:
    people = photo.result.to_coco(photo.file_name)["annotations"]
    rows = table_rows(people, _names(photo.result.keypoint_set), photo.file_name, {1: (None, None)})
    return {f"keypoints.{kind}": lambda path: save_table(path, [rows])}


def _of_video(kind: str, video: VideoPeople) -> Files:
    def pieces() -> Iterator[list[tuple[Any, ...]]]:
        for content in video.contents():
            frames = {image["id"]: (image["frame"], image["seconds"]) for image in content["images"]}
            yield table_rows(content["annotations"], _names(video.keypoint_set), video.file_name, frames)

    return {f"keypoints.{kind}": lambda path: save_table(path, pieces())}


CSV, PARQUET = (
    Format(
        partial(_of_photo, kind),
        video=partial(_of_video, kind),
        needs=(PoseTask.name,),
        endings=(f"keypoints.{kind}",),
        library=library,
    )
    for kind, library in (("csv", None), ("parquet", _pyarrow))
)
