"""Where the images are: folders, tar shards, Parquet files, lists of files. Nothing is unpacked to disk."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from opensapiens.data.images import NOT_PHOTOS
from opensapiens.storage.files import check_regular_file, read_regular_file
from opensapiens.storage.json_files import read_json
from opensapiens.storage.listing import is_taken
from opensapiens.storage.pictures import IMAGE_ENDINGS, MAX_FILE_BYTES, ImageError
from opensapiens.storage.tars import Member, TarError, members, open_tar
from opensapiens.storage.text_files import FileError, read_text, utf8

MAX_LIST_BYTES = 1_000_000_000
MAX_GROUP_BYTES = 2_000_000_000  # of the columns that are read of one Parquet row group, in memory
BYTES_COLUMNS = ("image", "jpg", "bytes", "content")
PATH_COLUMNS = ("path", "file", "image_path")


class SourceError(ValueError):
    """A source that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Item:
    """One image to score.

    file: what to open. member: the name inside a tar, or the row of a Parquet file; empty for a plain file.
    offset, size: bytes of a tar's member; for Parquet the row group and the row in it. url, license: where known.
    """

    file: str
    member: str = ""
    offset: int = 0
    size: int = -1
    url: str = ""
    license: str = ""

    @property
    def source(self) -> str:
        """What the manifest calls it: the file, and behind :: the member."""
        return f"{self.file}::{self.member}" if self.member else self.file


def find_items(
    sources: Sequence[str | Path], passed_over: Counter[str] | None = None, left_out: list[str] | None = None
) -> Iterator[Item]:
    """The images of folders (searched recursively), tar shards, Parquet files, lists (.txt, one file a line) and single
    images, in a fixed order.

    Tars and Parquet files in a folder are opened, too; a damaged one gives an item without a member, which `read_item`
    cannot read, so that it is counted. passed_over: counts the other files in folders, by kind. left_out: gets a
    sentence for each file whose name the manifest cannot hold. Raises SourceError for a source that does not exist or
    holds no image, and for a Parquet file named as a source that is damaged or has no images; TarError for such a tar.
    """
    for given in map(Path, sources):
        if not given.exists():
            raise SourceError(f"no such file or folder: {given}")
        empty = True
        for item in _items_of(given, True, Counter() if passed_over is None else passed_over):
            empty = False
            if utf8(item.file) == item.file:
                yield item
            elif left_out is not None:
                left_out.append(f"{utf8(item.file)}: its name is not UTF-8; rename it")
        if empty:
            raise SourceError(f"no image in {given}")


def _items_of(path: Path, named: bool, passed_over: Counter[str]) -> Iterator[Item]:
    ending = path.suffix.lower()
    if path.is_dir():
        for folder, below, files in os.walk(path):
            below[:] = sorted(name for name in below if name[0] != ".")
            for name in sorted(files):
                if name[0] != ".":
                    yield from _items_of(Path(folder, name), False, passed_over)
    elif ending in (".tar", ".parquet"):
        try:
            if ending == ".parquet" and not named and not any(_image_columns(path)):
                passed_over[".parquet without images"] += 1
            else:
                yield from (_tar_items if ending == ".tar" else _parquet_items)(path)
        except (TarError, SourceError):
            if named:
                raise
            yield Item(str(path))
    elif ending == ".txt" and named:
        for line in read_text(path, limit=MAX_LIST_BYTES).splitlines():
            if line.strip():
                yield Item(str(path.parent / line.strip()))
    elif named or is_taken(path, IMAGE_ENDINGS, passed_over):
        yield Item(str(path))


def _tar_items(path: Path) -> Iterator[Item]:
    """Members that are images, with url and license from the .json of the same key, as img2dataset writes them."""
    with open_tar(path) as file:
        # The last images before damage are left out: their .json, which may name an opt-out, may be what is lost.
        for _, group in groupby(members(path), key=lambda member: _key(member.name)):
            yield from _group_items(path, list(group), file)


def _key(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _group_items(path: Path, group: list[Member], file: BinaryIO) -> Iterator[Item]:
    facts = {"url": "", "license": ""}
    for member in group:
        if member.name.endswith(".json") and member.size < 1_000_000:
            file.seek(member.offset)
            facts = _facts(file.read(member.size))
    for member in group:
        name = member.name.lower()
        if name.endswith(IMAGE_ENDINGS) and not name.endswith(NOT_PHOTOS):
            yield Item(str(path), member.name, member.offset, member.size, facts["url"], facts["license"])


def _facts(data: bytes) -> dict[str, str]:
    try:
        record = read_json(data)
    except FileError:
        record = None
    record = record if isinstance(record, dict) else {}
    license = record.get("license") or record.get("licence")  # img2dataset keeps either spelling
    return {"url": str(record.get("url") or ""), "license": str(license or "")}


def _image_columns(path: Path) -> tuple[str, str]:
    """The column with the bytes of images and the one with their paths, empty where there is none."""
    with _parquet_errors(path):
        import pyarrow.parquet as pq

        names = pq.ParquetFile(path, page_checksum_verification=True).schema_arrow.names
    return _first_of(BYTES_COLUMNS, names), _first_of(PATH_COLUMNS, names)


def _first_of(wanted: Sequence[str], names: Sequence[str]) -> str:
    return next((name for name in wanted if name in names), "")


@contextmanager
def _parquet_errors(path: str | Path) -> Iterator[None]:
    """Raises SourceError for pipes and devices, and in place of what pyarrow raises on damaged files."""
    import pyarrow as pa

    try:
        check_regular_file(path, 1 << 62)
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise SourceError(f"{path}: not a Parquet file that can be read ({str(error)[:200]})") from error


def _parquet_items(path: Path) -> Iterator[Item]:
    import pyarrow.parquet as pq

    content, location = _image_columns(path)
    with _parquet_errors(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        names = file.schema_arrow.names
        if not content and not location:
            wanted = ", ".join(BYTES_COLUMNS + PATH_COLUMNS)
            raise SourceError(f"{path}: no column with images ({wanted}); it has {', '.join(names)}")
        license = _first_of(("license", "licence"), names)
        columns = [name for name in ("" if content else location, license, "url" if "url" in names else "") if name]
        groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    number = 0
    for group, count in enumerate(groups):
        with _parquet_errors(path):
            rows = _rows(file, path, group, columns) if columns else [{}] * count
        for row_number, row in enumerate(rows):
            url, terms = str(row.get("url") or ""), str(row.get(license) or "")
            if content:
                yield Item(str(path), str(number), group, row_number, url, terms)
            else:
                yield Item(str(path.parent / str(row[location])), url=url, license=terms)
            number += 1


def _rows(file: Any, path: str | Path, group: int, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a row group. Raises SourceError for more than MAX_GROUP_BYTES, whatever size the file gives."""
    rows: list[dict[str, Any]] = []
    size = 0
    # One by one: of a value that is stored once for all rows, a batch would hold as many copies.
    for batch in file.iter_batches(1, [group], columns):
        size += batch.nbytes
        if size > MAX_GROUP_BYTES:
            raise SourceError(f"{path}: row group {group} holds more than {MAX_GROUP_BYTES:,} bytes")
        rows += batch.to_pylist()
    return rows


def read_item(item: Item) -> bytes:
    """The bytes of an item's file. Raises ImageError when it cannot be read."""
    try:
        if item.file.endswith(".parquet"):
            return _parquet_bytes(item)
        if item.file.endswith(".tar") and not item.member:
            deque(members(item.file), maxlen=0)  # raises what is wrong with it
            raise ImageError(f"{item.source}: the archive was damaged when it was listed")
        if item.size < 0:
            return read_regular_file(item.file, MAX_FILE_BYTES)
        if item.size > MAX_FILE_BYTES:
            raise ImageError(f"{item.source}: {item.size} bytes, the limit is {MAX_FILE_BYTES}")
        with open(item.file, "rb") as file:
            file.seek(item.offset)
            return file.read(item.size)
    except OSError as error:
        raise ImageError(f"{item.source}: cannot be read ({error.strerror or error})") from error
    except (TarError, SourceError) as error:
        raise ImageError(str(error)) from error


_row_group: tuple[tuple[str, int], list[object]] | None = None  # the last one read: neighbors are read one by one


def _parquet_bytes(item: Item) -> bytes:
    import pyarrow.parquet as pq

    global _row_group
    place = (item.file, item.offset)
    if not item.member:
        deque(_parquet_items(Path(item.file)), maxlen=0)  # raises what is wrong with it
        raise ImageError(f"{item.source}: the file was damaged when it was listed")
    if _row_group is None or _row_group[0] != place:
        column, _ = _image_columns(Path(item.file))
        with _parquet_errors(item.file):
            file = pq.ParquetFile(item.file, page_checksum_verification=True)
            values = [row[column] for row in _rows(file, item.file, item.offset, [column])]
        _row_group = (place, values)
    value = _row_group[1][item.size]
    if isinstance(value, dict):  # Hugging Face's image type: {"bytes": ..., "path": ...}
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise ImageError(f"{item.source}: the row holds no bytes")
    return value
