"""Columns that need the whole collection: duplicates, overlap with evaluation sets, clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opensapiens.curation.clusters import cluster_centers, cosine_to_better, nearest
from opensapiens.curation.duplicates import GROUP, distance_to_better, distance_to_set, groups, near_pairs
from opensapiens.curation.manifest import PART, batches, columns_of, part_path, schema
from opensapiens.curation.picture import decode, working_copy
from opensapiens.curation.sources import find_items, read_item
from opensapiens.curation.stage import Stage
from opensapiens.curation.stages import perceptual_hash
from opensapiens.storage.files import written
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.progress import progress

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE_COLUMNS = {
    "exact_copy": "bool",
    "duplicate_group": "int64",
    "duplicate_distance": "uint8",
    "duplicate_cosine": "float32",
    "evaluation_distance": "uint8",
    "cluster": "int32",
    "cluster_cosine": "float32",
}
PARTS_PER_GROUP = 256  # parts that become one row group of the manifest


def finish_manifest(out: Path, stages: Sequence[Stage], inputs: int, evaluation: Sequence[Path]) -> dict[str, int]:
    """Join the parts into out/manifest.parquet, with the columns that need the whole collection.

    exact_copy: an earlier row has the same bytes. duplicate_group: index of the first of the rows that are connected by
    perceptual hashes up to GROUP bits apart. duplicate_distance: bits to the nearest better image, FAR if none is near;
    the image with more pixels is better, of equals the earlier one. duplicate_cosine: the largest cosine to a better
    image of the cluster. evaluation_distance: bits to the nearest image of the evaluation sets. cluster,
    cluster_cosine: by embedding. Returns the number of rows by status.
    """
    import pyarrow.parquet as pq

    parts = -(-inputs // PART)
    columns = columns_of(stages)
    facts = _collect(out, parts, inputs, columns)
    extra = _whole_columns(facts, _evaluation_hashes(evaluation))
    full = schema({**columns, **{name: WHOLE_COLUMNS[name] for name in extra}})
    with written(out / "manifest.parquet") as part, pq.ParquetWriter(part, full, compression="zstd") as writer:
        for numbers in progress(list(batches(range(parts), PARTS_PER_GROUP)), "writing"):
            writer.write_table(_with_columns(out, numbers, extra, full))
    return dict(Counter(facts["status"].tolist()))


def _with_columns(out: Path, numbers: Sequence[int], extra: dict[str, Any], full: pa.Schema) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.ParquetFile(part_path(out, number)).read() for number in numbers])
    start = numbers[0] * PART
    for name, values in extra.items():
        field, piece = full.field(name), values[start : start + len(table)]
        column = pa.array(np.ma.getdata(piece), field.type, mask=np.ma.getmaskarray(piece))
        table = table.append_column(field, column)
    return table


def _collect(out: Path, parts: int, inputs: int, columns: dict[str, str]) -> dict[str, np.ndarray]:
    """The columns that comparing all with all needs; 1 kB a row at most, most of it the embedding."""
    import pyarrow.parquet as pq

    wanted = [name for name in ("status", "sha256", "phash", "height", "width", "embedding") if name in columns]
    facts: dict[str, np.ndarray] = {
        "status": np.empty(inputs, "U10"),
        "sha256": np.zeros(inputs, "S32"),
        "phash": np.zeros(inputs, np.uint64),
        "pixels": np.zeros(inputs, np.int64),
        "known": np.zeros(inputs, bool),
    }
    for part in progress(range(parts), "collecting", unit="parts"):
        for offset, row in enumerate(pq.ParquetFile(part_path(out, part)).read(wanted).to_pylist(), part * PART):
            facts["status"][offset] = row["status"]
            if row.get("sha256"):
                facts["sha256"][offset] = bytes.fromhex(row["sha256"])
            if row.get("phash") is not None:
                facts["phash"][offset], facts["known"][offset] = row["phash"], True
            facts["pixels"][offset] = (row.get("height") or 0) * (row.get("width") or 0)
            if row.get("embedding"):
                if "vectors" not in facts:
                    facts["vectors"] = np.zeros((inputs, len(row["embedding"])), np.float16)
                facts["vectors"][offset] = row["embedding"]
    return facts


def _whole_columns(facts: dict[str, np.ndarray], evaluation: np.ndarray | None) -> dict[str, np.ma.MaskedArray]:
    count = len(facts["status"])
    rank = np.empty(count, np.int64)
    rank[np.lexsort((np.arange(count), -facts["pixels"]))] = np.arange(count)
    extra: dict[str, np.ma.MaskedArray] = {"exact_copy": _exact_copies(facts["sha256"])}
    known = facts["known"]
    if known.any():
        rows = np.flatnonzero(known)
        i, j, bits = near_pairs(facts["phash"][rows])
        close = bits <= GROUP
        extra["duplicate_group"] = _spread(rows[groups(len(rows), i[close], j[close])], rows, count)
        extra["duplicate_distance"] = _spread(distance_to_better(rank[rows], i, j, bits), rows, count)
        if evaluation is not None:
            extra["evaluation_distance"] = _spread(distance_to_set(facts["phash"][rows], evaluation), rows, count)
    if "vectors" in facts:
        rows = np.flatnonzero(facts["vectors"].any(1))
        vectors = facts["vectors"][rows]
        centers = cluster_centers(vectors, max(1, round(len(rows) ** 0.5 / 2)))
        labels, fit = nearest(vectors, centers)
        extra["duplicate_cosine"] = _spread(cosine_to_better(vectors, rank[rows], labels), rows, count)
        extra["cluster"] = _spread(labels.astype(np.int32), rows, count)
        extra["cluster_cosine"] = _spread(fit, rows, count)
    return extra


def _spread(values: np.ndarray, rows: np.ndarray, count: int) -> np.ma.MaskedArray:
    """A column of all rows with the values of some, the others masked."""
    column = np.ma.masked_all(count, values.dtype)
    column[rows] = values
    return column


def _exact_copies(sha256: np.ndarray) -> np.ma.MaskedArray:
    copies = np.ones(len(sha256), bool)
    copies[np.unique(sha256, return_index=True)[1]] = False
    return np.ma.masked_array(copies, mask=sha256 == b"")


def _evaluation_hashes(evaluation: Sequence[Path]) -> np.ndarray | None:
    """Perceptual hashes of the images of the evaluation sets; unreadable ones are skipped."""
    if not evaluation:
        return None
    hashes: list[int] = []
    for item in progress(find_items(evaluation), "evaluation sets", unit="images"):
        try:
            picture = working_copy(decode(read_item(item)))
        except ImageError:
            continue
        hashes.append(perceptual_hash(picture))
    return np.array(hashes, np.uint64)
