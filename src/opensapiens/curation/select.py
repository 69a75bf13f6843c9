"""`curate select`: thresholds on a manifest, without computing a score again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opensapiens.curation.manifest import detector_of_run, manifest_path, read_run
from opensapiens.curation.people import PAPER_SIDE
from opensapiens.curation.where import columns_in, parse_where, terms
from opensapiens.storage.files import write_json, written
from opensapiens.storage.folders import check_output, claim

if TYPE_CHECKING:
    import pyarrow as pa

PAPER_SCORE = 0.9
# Detector (the first words of its name) -> the person_score that does what the paper's 0.9 does with its detector.
# Measured by benchmarks/curation_accuracy.py; see docs/curation.md.
CALIBRATED: dict[str, float] = {}

PRESETS = {
    # The paper's person filter: section 3.1 of arXiv 2408.12569. Duplicates: our addition.
    "humans-300m": "status == 'ok' and person_score > {person} and person_min_side > {side} and not exact_copy"
    " and duplicate_distance > 4",
    "readable": "status == 'ok' and not exact_copy and frames == 1 and min_side >= 256 and aspect <= 4",
}


@dataclass
class SelectSummary:
    """How many rows there were and how many passed; for each condition how many it let through and it alone dropped."""

    rows: int
    kept: int
    steps: list[dict[str, Any]]


def preset_condition(name: str, run: dict[str, Any]) -> str:
    """The condition of a preset, with the person threshold of the run's detector.

    Warns where that detector was never calibrated: the paper's 0.9 stands in then. Raises KeyError for an unknown name.
    """
    detector = detector_of_run(run)
    known = next((value for start, value in CALIBRATED.items() if detector.startswith(start)), None)
    if known is None and "{person}" in PRESETS[name]:
        warnings.warn(
            f"the detector {detector or '(none)'} was not calibrated: the paper's {PAPER_SCORE} is used, which other "
            "detectors may never reach or always; look at opensapiens curate report and set person_score yourself",
            stacklevel=2,
        )
    return PRESETS[name].format(person=PAPER_SCORE if known is None else known, side=PAPER_SIDE)


def select(source: Path, out: Path, where: str) -> SelectSummary:
    """Write the rows of a manifest that meet a condition to out/selection.parquet, and what it did to selection.json.

    source: a scored folder, or the folder of an earlier selection to cut further. Raises ManifestError,
    WhereError, and FolderError for an `out` that holds anything but a selection.
    """
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
    before = run.get("selections", [])
    summary = SelectSummary(rows.count_rows(), kept, steps)
    this = {"where": where, "rows": summary.rows, "kept": kept, "steps": steps}
    write_json(out / "selection.json", {**run, "selections": [*before, this]})
    return summary


def _steps(rows: Any, where: str) -> list[dict[str, Any]]:
    """For each condition joined by `and`: rows left after it and those before, and rows that it alone drops."""
    import pyarrow.compute as pc

    conditions = terms(where)
    table: pa.Table = rows.to_table(columns=columns_in(where))
    masks = [_mask(table, condition, rows.schema) for condition in conditions]
    steps = []
    passed = None
    for number, (condition, mask) in enumerate(zip(conditions, masks, strict=True)):
        passed = mask if passed is None else pc.and_(passed, mask)
        others = [other for place, other in enumerate(masks) if place != number]
        alone = pc.invert(mask)
        for other in others:
            alone = pc.and_(alone, other)
        steps.append(
            {
                "condition": condition,
                "passes": int(pc.sum(mask).as_py() or 0),
                "left": int(pc.sum(passed).as_py() or 0),
                "dropped_by_it_alone": int(pc.sum(alone).as_py() or 0),
            }
        )
    return steps


def _mask(table: pa.Table, condition: str, schema: pa.Schema) -> pa.ChunkedArray:
    """Which rows meet a condition; a missing value does not."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    numbered = table.append_column("__row", pa.array(range(len(table)), pa.int64()))
    kept = ds.dataset(numbered).to_table(columns=["__row"], filter=parse_where(condition, schema))["__row"]
    return pc.is_in(numbered["__row"], value_set=kept.combine_chunks())
