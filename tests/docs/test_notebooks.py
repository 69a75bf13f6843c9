"""The notebooks run from top to bottom, and are stored without outputs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
NOTEBOOKS = {
    "photo": "out/photo/grace_hopper_openpose.json",
    "video": "out/video/clip_trc/person_1.trc",
    "finetuning": "runs/collar/model/config.json",
    "synthetic_people": "shards/contact_sheet.jpg",
}
"""What each leaves behind."""
# What a notebook does with the last expression of a cell.
SHOW = """
def show(value):
    if hasattr(value, "_repr_png_"):
        assert value._repr_png_()[:8] == b"\\x89PNG\\r\\n\\x1a\\n"
"""


def code_of(cell: dict) -> str:
    """A cell's code; its last line is shown where it is an expression."""
    source = "".join(cell["source"])
    *lines, last = source.splitlines()
    if last.isidentifier() or (last.startswith("Image.fromarray") and last.endswith(")")):
        return "\n".join([*lines, f"show({last})"])
    return source


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    pytest.importorskip({"video": "av", "synthetic_people": "anny"}.get(name, "PIL"))
    content = json.loads((EXAMPLES / f"{name}.ipynb").read_text())
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells), "outputs are not stored"
    shutil.copytree(EXAMPLES / "photos", tmp_path / "photos")
    code = SHOW + "\n".join(map(code_of, cells))
    opens_nothing = "from PIL import Image\nImage.Image.show = lambda self: None\n"
    done = subprocess.run(
        [sys.executable, "-c", opens_nothing + code], cwd=tmp_path, text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (tmp_path / NOTEBOOKS[name]).exists(), done.stdout
