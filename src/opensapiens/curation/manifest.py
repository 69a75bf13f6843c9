"""The manifest: a Parquet file with one row per image, with its scores and its status.

A run writes it in parts of PART images; a part gets its name only when complete, so a part that exists is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from opensapiens.curation.sources import Item
from opensapiens.curation.stage import Stage
from opensapiens.storage.files import written
from opensapiens.storage.json_files import read_json

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

PART = 32  # images: a worker that dies loses no more
PARTS_PER_FILE = 1024  # of the list of inputs
OK, UNREADABLE, BLOCKED, OPTED_OUT, INCOMPLETE = "ok", "unreadable", "blocked", "opted_out", "incomplete"
ITEM_COLUMNS = {
    "file": "string",
    "member": "string",
    "offset": "int64",
    "size": "int64",
    "url": "string",
    "license": "string",
}
COLUMNS = {"index": "int64", **ITEM_COLUMNS, "status": "string", "error": "string"}


class ManifestError(ValueError):
    """A folder that holds no manifest, or one of another run; the message says which."""


def check_modules(*names: str) -> None:
    """Raises ModuleNotFoundError with what to install, before any work begins."""
    for name in names:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"curation needs {name}: pip install opensapiens[curate]", name=name)


def schema(columns: Mapping[str, str]) -> pa.Schema:
    """Arrow's schema of columns given as name -> type, [] behind the type for a list of it."""
    import pyarrow as pa

    def arrow_type(kind: str) -> pa.DataType:
        return pa.list_(arrow_type(kind[:-2])) if kind.endswith("[]") else pa.type_for_alias(kind)

    return pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])


def columns_of(stages: Sequence[Stage]) -> dict[str, str]:
    """The columns that do not depend on other rows. Raises ValueError for a name that two stages share."""
    columns = dict(COLUMNS)
    for stage in stages:
        repeated = sorted(set(columns) & set(stage.columns))
        if repeated:
            raise ValueError(f"the stage {stage.name!r} repeats columns of another: {', '.join(repeated)}")
        columns |= dict(stage.columns)
    return columns


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file that appears under its name only when complete. Raises OSError that names it."""
    import pyarrow.parquet as pq

    with written(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def write_inputs(folder: Path, items: Iterable[Item]) -> int:
    """Write the list of inputs, in row groups of PART and files of PARTS_PER_FILE of these; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    columns = schema(ITEM_COLUMNS)
    count = 0
    for number, file in enumerate(batches(batches(items, PART), PARTS_PER_FILE)):
        with pq.ParquetWriter(folder / f"{number:06d}.parquet", columns) as writer:
            for part in file:
                writer.write_table(pa.Table.from_pylist([asdict(item) for item in part], columns))
                count += len(part)
    return count


def read_inputs(folder: Path, part: int) -> list[Item]:
    """The inputs of one part."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(folder / f"{part // PARTS_PER_FILE:06d}.parquet")
    return [Item(**row) for row in file.read_row_group(part % PARTS_PER_FILE).to_pylist()]


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one perhaps shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def part_path(folder: Path, part: int) -> Path:
    """The file of a part of the manifest until the run is finished."""
    return folder / "parts" / f"{part // PARTS_PER_FILE:06d}" / f"{part:09d}.parquet"


def manifest_path(source: Path) -> Path:
    """The Parquet file of a scored folder or of a selection, or the file itself. Raises ManifestError."""
    for path in (source, source / "manifest.parquet", source / "selection.parquet"):
        if path.is_file():
            return path
    if (source / "inputs").is_dir():
        raise ManifestError(f"{source} is not completely scored: run the same opensapiens curate score again")
    raise ManifestError(f"{source} holds no manifest: create one with opensapiens curate score")


def read_run(manifest: Path) -> dict[str, Any]:
    """The record of the run behind a manifest or a selection: its stages with versions, its detector, its counts."""
    path = manifest.parent / ("selection.json" if manifest.name == "selection.parquet" else "run.json")
    if not path.exists():
        raise ManifestError(f"{path} is missing: {manifest.name} cannot be used without it")
    return read_json(path)


def detector_of_run(run: Mapping[str, Any]) -> str:
    """The name and version of the detector in the record of a run, empty if there was none."""
    return str(run["stages"].get("person", ""))


def item_of_row(row: Mapping[str, Any]) -> Item:
    """The item that a row of the manifest describes."""
    url, license = row.get("url") or "", row.get("license") or ""
    return Item(row["file"], row["member"], row["offset"], row["size"], url, license)
