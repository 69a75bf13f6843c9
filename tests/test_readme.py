"""What the README says is true: it opens as promised, its code runs, what it points to is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PHOTO = ROOT / "examples" / "photos" / "grace_hopper.jpg"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The lines of a shell block without their comments."""
    return [line.partition("#")[0].strip() for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the README's examples name."""
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    (tmp_path / "photos").mkdir()
    shutil.copy(PHOTO, tmp_path / "photos")
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    """Run a command in a folder, with the scripts of this environment first; return its output, or fail with it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_opens_with_the_two_commands_then_python_then_pictures() -> None:
    assert commands(BLOCKS[0][1]) == ["make demo", "make test"]
    language, code = BLOCKS[1]
    assert language == "python"
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    first_picture = README.index("](docs/pictures/")
    assert README.index(code) < first_picture < README.index("\n## ")


def test_the_python_runs(folder: Path) -> None:
    code = "\n".join(code for language, code in BLOCKS if language == "python")
    printed = run([sys.executable, "-c", code], folder)
    assert "(600, 512)" in printed  # the photo's size: maps are of the whole image
    assert any((folder / "out").iterdir())


def test_the_commands_run(folder: Path) -> None:
    shown = [line for language, text in BLOCKS if language == "bash" for line in commands(text)]
    ours = [line for line in shown if line.startswith("opensapiens ")]
    assert ours
    for line in ours:
        run(line.split(), folder)
    assert any((folder / "out").rglob("*_sheet.jpg"))


def test_its_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (\w+)", " ".join(text for _, text in BLOCKS))):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_its_scores_are_those_of_the_cards() -> None:
    section = README.partition("## How good is it?")[2].partition("\n\nThe networks")[0]
    rows = [row.split("|")[2:-1] for row in section.splitlines() if row.startswith("|")][2:]
    scores = [number for row in rows for number in re.findall(r"\d*\.?\d+°?", " ".join(row[1:]))]
    cards = " ".join(path.read_text() for path in (ROOT / "src/opensapiens/weights").glob("*/MODEL_CARD.md"))
    assert len(scores) == 12
    missing = [score for score in scores if not re.search(rf"(?<![\d.]){re.escape(score)}(?!\d)", cards)]
    assert not missing
