"""Ownership of folders: a folder is ours only if it has a marker that we wrote.

The marker, identity.json, holds the kind of the content and the settings it was made with. A folder without it is not
written to unless it is empty, and is never removed.
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
    """A folder that holds something other than what is to be written; the message says what to do."""


def claim(folder: Path, kind: str, identity: Mapping[str, Any] | None = None) -> bool:
    """Marks a folder as ours, before anything is written into it; returns whether it already was.

    identity: plain values that decide the content. Raises FolderError for a folder of another kind or identity, or with
    (visible) files and no marker.
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
    """Writes our marker into a folder of ours."""
    write_json(folder / MARKER, {KIND: kind, **identity})


def identity_of(folder: Path, kind: str) -> dict[str, Any] | None:
    """The identity in a folder's marker of this kind; None without one."""
    marker = _marker(folder) or {}
    return marker if marker.pop(KIND, None) == kind else None


def is_ours(folder: Path, kind: str) -> bool:
    """Whether a folder has our marker of this kind."""
    return identity_of(folder, kind) is not None


def clear(folder: Path, kind: str) -> None:
    """Removes a folder with our marker of this kind, if it exists. Raises FolderError for anything else."""
    if is_ours(folder, kind) and not folder.is_symlink():
        discard(folder)
    elif folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FolderError(f"{folder} is not {kind} of opensapiens: move it away, or choose another output folder")


def discard(folder: Path) -> None:
    """Removes a folder of ours; renames it first, so that a killed process leaves no partial folder of this name."""
    temporary = temporary_beside(folder)
    folder.rename(temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def check_output(output: Path, inputs: Iterable[str | Path | None], inside: bool = True) -> None:
    """Raises FolderError for an output that is, or contains, one of the inputs.

    inside: whether it may be inside of one, which it must not be if inputs are read with their subfolders.
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
