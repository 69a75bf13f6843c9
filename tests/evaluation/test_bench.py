"""The bench compares each setting with plain float32 in the same run, and says what a setting changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.cli.main import main
from opensapiens.evaluation import bench as bench_module
from opensapiens.evaluation.bench import bench, matrix_rate, table
from opensapiens.evaluation.options import BenchOptions
from opensapiens.export.export import portrait
from opensapiens.models.cost import full_flops
from opensapiens.recipes.nano import describe


@pytest.fixture(scope="module")
def rows(tiny_model: Path) -> list[dict]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_module, "MATRIX_SIDE", {"cpu": 64})
        options = BenchOptions(device="cpu", settings=("torch:bfloat16",), batch_size=2, rounds=1)
        return bench(tiny_model, portrait(), options)


def test_plain_float32_is_always_there_and_is_the_measure(rows: list[dict]) -> None:
    assert [(row["runtime"], row["type"]) for row in rows] == [("torch", "float32"), ("torch", "bfloat16")]
    assert rows[0]["x float32"] == 1 and rows[1]["x bfloat16"] == 1
    assert rows[0]["same labels"] == 1 and rows[0]["points off px"] == 0
    assert rows[1]["x float32"] == pytest.approx(rows[0]["network ms"] / rows[1]["network ms"])


def test_a_coarser_type_shows_in_the_answers(rows: list[dict]) -> None:
    assert rows[1]["points off px"] > 0
    assert 0.5 < rows[1]["same labels"] <= 1


def test_the_share_of_the_matrix_rate_is_counted_operations_over_measured_ones(rows: list[dict]) -> None:
    with torch.device("meta"):
        description = describe(SapiensConfig((64, 48), 24, 2, 2), (8, 8), (8, 8))
        heads = tuple(build_model(description).heads.values())
    for row in rows:
        reached = full_flops(description.backbone, heads) / (row["network ms"] / 1e3)
        assert row["matrix rate"] == pytest.approx(reached / (row["matrix GFLOP/s"] * 1e9))
        assert row["images/s"] > 0 and row["peak GB"] > 0
        assert min(row[part] for part in ("decode ms", "pre ms", "network ms", "post ms")) > 0


def test_the_table_has_a_line_for_each_row_and_a_dash_for_what_is_missing(rows: list[dict]) -> None:
    lines = table([rows[0], {key: value for key, value in rows[1].items() if key != "points off px"}])
    assert len(lines) == 3 and len(set(map(len, lines))) == 1
    assert lines[0].split()[:2] == ["runtime", "type"] and lines[2].endswith("-")


def test_the_rate_of_a_cpu_is_of_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "MATRIX_SIDE", {"cpu": 32})
    seen: list[int] = []
    monkeypatch.setattr(bench_module, "_clocked", lambda work, device: (seen.append(work().shape[0]) or 9.0, 2.0))
    assert matrix_rate(torch.device("cpu"), "float32", rounds=1) == 2 * 32**3 / 2.0  # processor time, not elapsed
    assert seen == [32, 32]


def test_the_command_writes_all_figures(
    tiny_model: Path,
    people_shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_module, "MATRIX_SIDE", {"cpu": 64})
    path = tmp_path / "bench.json"
    code = main(
        ["bench", str(tiny_model), "--device", "cpu", "--settings", "torch:float32", "--rounds", "1"]
        + ["--data", str(people_shards), "--limit", "1", "--json", str(path)]
    )
    assert code == 0
    names, figures = capsys.readouterr().out.splitlines()[1:3]
    assert "network ms" in names and names.endswith("normals deg") and "x bfloat16" not in names
    (row,) = json.loads(path.read_text())
    assert set(row["quality"]) == {"pose", "segmentation", "depth", "normals"}
    assert row["quality"]["normals"]["task"] == "normals"
    assert figures.endswith(f"{row['quality']['normals']['mean']:.2f}")
