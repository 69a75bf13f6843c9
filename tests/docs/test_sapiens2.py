"""The table of docs/sapiens2.md is what the models are."""

from pathlib import Path

from opensapiens.checkpoints.catalog import ModelSummary, list_models
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS

PAGE = Path(__file__).parents[2] / "docs" / "sapiens2.md"


def row_of(summary: ModelSummary) -> str:
    height, width = summary.input_size
    cells = (
        f"`{summary.name}`",
        ", ".join(summary.tasks) or "features",
        f"{summary.parameters / 1e6:,.1f}",
        f"{summary.flops / 1e12:.2f}",
        f"{4 * summary.parameters / 2**30:.1f}",
        f"{height} × {width}",
        "yes" if PUBLISHED_MODELS[summary.name].files else "no",
    )
    return f"| {' | '.join(cells)} |"


def test_the_table_is_what_the_models_are() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `sapiens2-")]
    assert rows == [row_of(summary) for summary in list_models() if summary.name.startswith("sapiens2-")]
