"""The report of a manifest whose numbers are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

from opensapiens.curation.report import report  # noqa: E402

INFINITE = float("inf")


@pytest.mark.parametrize("values", [[INFINITE, float("nan"), 0.25, 0.75, None], [INFINITE, -INFINITE], []])
@pytest.mark.parametrize("where", ["mean > 0.5", "mean > 0.5 or mean < 0.1"])
def test_values_that_are_not_finite_are_counted(values: list[float | None], where: str, tmp_path: Path) -> None:
    rows = len(values)
    facts = {"file": ["gone.jpg"] * rows, "member": [""] * rows, "url": [""] * rows}
    numbers = {"offset": pa.array([0] * rows, pa.int64()), "size": pa.array([-1] * rows, pa.int64())}
    texts = {name: pa.array(column, pa.string()) for name, column in facts.items()}
    pq.write_table(
        pa.table({**texts, **numbers, "mean": pa.array(values, pa.float32())}), tmp_path / "manifest.parquet"
    )
    (tmp_path / "run.json").write_text(json.dumps({"stages": {}}))
    page = report(tmp_path, tmp_path / "r.html", where).read_text()
    infinite = sum(value is not None and not abs(value) < INFINITE for value in values)
    assert ("Without 2 values that are infinite or not a number" in page) == (infinite == 2 and " or " not in where)
