"""`curate select`: thresholds on a manifest, without computing a score again."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opensapiens.curation.manifest import check_modules, detector_of_run, manifest_path, read_run
from opensapiens.curation.where import columns_in, parse_where, passing, terms
from opensapiens.storage.files import write_json, written
from opensapiens.storage.folders import check_output, claim

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

logger = logging.getLogger(__name__)

DEFAULT_DETECTOR = re.compile(r"detector \w+, nano \w+")
PRESETS = {
    # The paper's person filter: section 3.1 of arXiv 2408.12569, where 0.9 is of its own detector. Duplicates: our
    # addition.
    "humans-300m": "status == 'ok' and person_score > 0.5 and person_min_side > 300 and not exact_copy"
    " and duplicate_distance > 4",
    "readable": "status == 'ok' and not exact_copy and frames == 1 and min_side >= 256 and aspect <= 4",
}


@dataclass
class SelectSummary:
    """The numbers of rows and of rows kept; for each condition joined by `and`: the rows left after it and those before
    it, and the rows that it alone drops."""

    rows: int
    kept: int
    steps: list[dict[str, Any]]


def preset_condition(name: str, run: Mapping[str, Any]) -> str:
    """The condition of a preset. Warns if it compares the score of a detector that its threshold was not chosen for.
    Raises KeyError for an unknown name."""
    detector = detector_of_run(run)
    if "person_score" in PRESETS[name] and not DEFAULT_DETECTOR.fullmatch(detector):
        logger.warning(
            "the preset's threshold is for the default detector; yours is %s: look at opensapiens curate report and "
            "set person_score with --where",
            detector or "missing",
        )
    return PRESETS[name]


def select(source: Path, out: Path, where: str) -> SelectSummary:
    """Write the rows of a manifest that meet a condition to out/selection.parquet, and what it did to selection.json.

    source: a scored folder, or the folder of an earlier selection to cut further. Raises ManifestError,
    WhereError, and FolderError for an `out` that holds anything but a selection.
    """
    check_modules("pyarrow")
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    manifest = manifest_path(source)
    run = read_run(manifest)
    rows = ds.dataset(manifest)
    condition = parse_where(where, rows.schema)
    steps = _steps(rows, where)
    check_output(out, [source.parent if source.is_file() else source])
    claim(out, "a selection")
    kept = 0
    with written(out / "selection.parquet") as part, pq.ParquetWriter(part, rows.schema, compression="zstd") as writer:
        for batch in rows.scanner(filter=condition, batch_size=8192).to_batches():
            writer.write_batch(batch)
            kept += len(batch)
    summary = SelectSummary(rows.count_rows(), kept, steps)
    selections = [*run.get("selections", []), {"where": where, **asdict(summary)}]
    write_json(out / "selection.json", {**run, "selections": selections})
    return summary


def _steps(rows: ds.Dataset, where: str) -> list[dict[str, Any]]:
    conditions = terms(where)
    table: pa.Table = rows.to_table(columns=columns_in(where))
    masks = np.array([passing(table, condition, rows.schema) for condition in conditions])
    left = np.logical_and.accumulate(masks).sum(1).tolist()
    alone = (~masks & (masks.sum(0) == len(masks) - 1)).sum(1).tolist()
    return [
        {"condition": condition, "left": left[number], "dropped_by_it_alone": alone[number]}
        for number, condition in enumerate(conditions)
    ]
