"""The pages as a whole: links and anchors lead somewhere, the site shows every page, commands in tables parse."""

from __future__ import annotations

import functools
import importlib
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import opensapiens
from opensapiens.cli.arguments import call
from opensapiens.cli.curate import COMMANDS as OF_CURATE
from opensapiens.cli.main import COMMANDS
from opensapiens.cli.train import find_recipes, read_run

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
IN_TABLES = [DOCS / f"{name}.md" for name in ("index", "commands", "gallery")] + sorted(DOCS.glob("for_*.md"))
"""Pages whose commands no other test runs."""


def prose(page: Path) -> str:
    """A page without its fenced code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings that are the same on the site and where repositories are browsed."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE):
        text = heading.replace("`", "").strip().lower()
        browsed = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        if browsed == re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip()):
            found.add(browsed)
    return found


def broken_links(page: Path) -> Iterator[str]:
    """The links of a page to files or headings that are not there, and those of a page of the site to outside it."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if "://" in target:
            continue
        path = Path(page.parent, target).resolve() if target else page
        of_site = page in PAGES
        if not path.exists() or (of_site and not Path(page.parent, target).absolute().is_relative_to(DOCS)):
            yield target
        elif anchor and anchor not in anchors(path):
            yield f"{target}#{anchor}"


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors(page: Path) -> None:
    assert not list(broken_links(page))


def test_the_site_shows_every_page() -> None:
    def named(entries: list[dict[str, Any]]) -> Iterator[str]:
        for entry in entries:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else named(value)

    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    assert sorted(named(project["nav"])) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


def test_every_page_that_help_or_messages_name_is_there() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.md")]
    named = {name for path in sources for name in re.findall(r"docs/(\w+\.md)", path.read_text(encoding="utf-8"))}
    missing = {name for name in named - {"NAME.md"} if not (DOCS / name).is_file()}
    assert len(named) > 5 and not missing


def test_the_reference_has_the_public_names() -> None:
    names = [name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE)]
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute) or importlib.import_module(name), name
    assert {f"opensapiens.{name}" for name in opensapiens.__all__ if not name.startswith("__")} <= set(names)


class Parsed(Exception):
    """Raised in the place of a command's work."""


def unworked(function: Callable[..., Any]) -> Callable[..., NoReturn]:
    """A function with the options of another that only says that they were understood."""

    @functools.wraps(function)
    def stop(*_: Any, **__: Any) -> NoReturn:
        raise Parsed

    return stop


def parse(words: list[str]) -> None:
    """Raises Parsed for a command line that the command understands."""
    command, *rest = words
    if command == "train":
        read_run(unworked(find_recipes()[rest[0]]), rest[1:], prog="")
    elif command == "curate":
        call(unworked(OF_CURATE[rest[0]]), rest[1:], prog="")
    else:
        call(unworked(COMMANDS[command]), rest, prog="")


@pytest.mark.parametrize("page", IN_TABLES, ids=lambda page: page.stem)
def test_commands_in_tables_parse(page: Path) -> None:
    lines = re.findall(r"^opensapiens .*$|(?<=`)opensapiens [^`\n]*(?=`)", page.read_text(), flags=re.MULTILINE)
    for line in lines:
        with pytest.raises(SystemExit if line.endswith("--help") else Parsed):
            parse(line.partition(" #")[0].split()[1:])
    assert lines
