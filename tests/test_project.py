"""What the files for contributors say is true: versions agree, paths are there, the first change works."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import opensapiens
from opensapiens.inference.formats.format import Photo
from opensapiens.inference.results import Person, Result

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_workflow_runs_every_python_that_is_promised() -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    promised = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert promised == ["3.11", "3.12", "3.13"]
    for job in workflow["jobs"].values():
        assert job["strategy"]["matrix"]["python"] == promised
    steps = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
    assert "make test PYTHONS=python" in steps and "$(PYTHONS)" in (ROOT / "Makefile").read_text()


def test_commits_are_checked_by_the_same_lint() -> None:
    yaml = pytest.importorskip("yaml")
    ruff, local = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (pinned,) = re.findall(r"^ruff==(.*)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert ruff["rev"] == f"v{pinned}" and [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]
    assert [hook["id"] for hook in local["hooks"]] == ["mypy"]
    lint = (ROOT / "Makefile").read_text()
    assert "/ruff check" in lint and "/ruff format --check" in lint and "/mypy" in lint


def test_the_templates_of_issues_are_forms() -> None:
    yaml = pytest.importorskip("yaml")
    for name in ("bug", "feature"):
        form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
        assert form["name"] and form["description"] and all(field["attributes"]["label"] for field in form["body"])


def test_versions_agree() -> None:
    assert PROJECT["version"] == opensapiens.__version__
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_what_contributors_are_shown_is_there() -> None:
    inside = re.findall(r"`((?:tests|src|[a-z]+)/[\w/.]+)`", CONTRIBUTING)
    written = {"src/opensapiens/inference/formats/boxes.py"}  # by the reader
    places = (ROOT, ROOT / "src" / "opensapiens")
    missing = [path for path in inside if path not in written and not any((place / path).exists() for place in places)]
    assert len(inside) > 10 and not missing


def test_the_first_change_works(tmp_path: Path) -> None:
    (code,) = re.findall(r"^   ```python\n(.*?)^   ```$", CONTRIBUTING, flags=re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(re.sub(r"^   ", "", code, flags=re.MULTILINE), names)
    person = Person(1, np.array([1, 2, 30, 40.5]), 0.75, np.ones((50, 50), bool))
    ((ending, write),) = names["BOXES"].photo(Photo(Result(np.zeros((50, 50, 3), np.uint8), [person]), "a.jpg")).items()
    assert (ending,) == names["BOXES"].endings
    write(tmp_path / ending)
    assert (tmp_path / ending).read_text() == "1 1.0 2.0 30.0 40.5 0.750\n"
