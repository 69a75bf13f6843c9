"""Whose a folder is: ours only if it carries a marker that we wrote.

The marker, identity.json, names the kind of the content and what was asked for. A folder without it is not written to
unless it is empty, and never removed, whatever its name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from opensapiens.storage.files import temporary_beside, write_json
from opensapiens.storage.json_files import read_json
from opensapiens.storage.text_files import FileError

MARKER = "identity.json"
KIND = "opensapiens"  # the key of the marker that names the kind
SHOWN = 60  # characters of a value in a sentence


class FolderError(ValueError):
    """A folder that holds something else than is to be written there; the message says what to do."""


def claim(folder: Path, kind: str, identity: Mapping[str, Any] | None = None) -> bool:
    """Make a folder ours for one kind of content, before anything is written into it; whether it was so already.

    identity: plain values that decide the content. Raises FolderError for a folder that holds something of another
    kind or identity, or files and no marker (hidden ones do not count).
    """
    asked = json.loads(json.dumps(identity or {}))
    before = _marker(folder)
    if before is None:
        if folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir()):
            raise FolderError(f"{folder} is not empty, and opensapiens did not make it: choose another folder")
        mark(folder, kind, asked)
        return False
    held = before.pop(KIND)
    if held != kind:
        raise FolderError(f"{folder} holds {held}, not {kind}: choose another folder")
    changed = [name for name in {**before, **asked} if before.get(name) != asked.get(name)]
    if changed:
        values = (f"{name} was {_short(before.get(name))}, is {_short(asked.get(name))}" for name in changed)
        raise FolderError(
            f"{folder} holds {kind} of another {', '.join(changed)} ({'; '.join(values)}): choose another folder, or "
            "remove this one"
        )
    return True


def mark(folder: Path, kind: str, identity: Mapping[str, Any]) -> None:
    """Write our marker into a folder that we have made, where that comes after its content."""
    write_json(folder / MARKER, {KIND: kind, **identity})


def identity_of(folder: Path, kind: str) -> dict[str, Any] | None:
    """What our marker for this kind of content says in a folder; None without it."""
    marker = _marker(folder) or {}
    return marker if marker.pop(KIND, None) == kind else None


def is_ours(folder: Path, kind: str) -> bool:
    """Whether a folder carries our marker for this kind of content."""
    return identity_of(folder, kind) is not None


def clear(folder: Path, kind: str) -> None:
    """Remove a folder that carries our marker for this kind of content, if there is one.

    Raises FolderError for any other folder, for a file and for a link.
    """
    if is_ours(folder, kind) and not folder.is_symlink():
        discard(folder)
    elif folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FolderError(f"{folder} is not {kind} of opensapiens: move it away, or choose another output folder")


def discard(folder: Path) -> None:
    """Remove a folder of ours. It loses its name first, so that a killed process leaves no half of it."""
    nameless = temporary_beside(folder)
    folder.rename(nameless)
    shutil.rmtree(nameless, ignore_errors=True)


def check_output(output: Path, inputs: Iterable[str | Path | None], inside: bool = True) -> None:
    """Raises FolderError for an output that is, or holds, one of the files and folders that are read.

    inside: whether it may lie in one of them, which it may not where folders are read with all that is below.
    """
    target = output.resolve()
    for given in inputs:
        source = None if given is None else Path(given).resolve()
        if source is None:
            continue
        if target == source:
            raise FolderError(f"{output} is what is read: choose another output")
        if source.is_relative_to(target):
            raise FolderError(f"{output} holds {given}, which is read: choose an empty output folder")
        if not inside and target.is_relative_to(source):
            raise FolderError(f"{output} lies in {given}, which is read with all in it: choose a folder outside")


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker = read_json(folder / MARKER)
    except FileError:
        return None
    return marker if isinstance(marker, dict) and isinstance(marker.get(KIND), str) else None


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
