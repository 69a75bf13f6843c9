"""Files that end, and files and folders that get their names when they are whole: written beside, then renamed.

What has no ending and a hidden name is passed over by every reader, should a killed process leave it behind. A link at
the place of a file is replaced, not followed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


def temporary_beside(path: str | Path) -> Path:
    """A hidden path in the folder of `path` that nothing has: short, and random, since containers repeat process
    numbers."""
    return Path(path).with_name(f".{secrets.token_hex(6)}.part")


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to, renamed to `path` at the end of a `with` block; gone after an error.

    The folder is made if need be. Raises OSError that names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def written_folder(path: str | Path) -> Iterator[Path]:
    """As `written`, a folder; where another process was quicker, its folder stays."""
    path = Path(path)
    temporary = temporary_beside(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole. Raises OSError."""
    with written(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a UTF-8 file whole. Raises OSError."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | Path, content: Mapping[str, object] | Sequence[object], indent: int | None = 1) -> None:
    """Write a JSON file whole; indent None: in one line without spaces. Raises OSError."""
    separators = (",", ":") if indent is None else None
    write_text(path, json.dumps(content, indent=indent, separators=separators) + "\n")


def read_regular_file(path: str | Path, limit: int) -> bytes:
    """The content of a file. Raises OSError for one that is missing, larger than `limit` bytes, or not a regular file:
    pipes and devices need never end."""
    with open(path, "rb", opener=_without_waiting) as file:
        check_regular_file(file.fileno(), limit)
        return file.read(limit)


def check_regular_file(path: int | str | Path, limit: int) -> None:
    """For a path, or the number of an open file, that something else will read; raises as read_regular_file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    if status.st_size > limit:
        raise OSError(f"{status.st_size:,} bytes, larger than the limit of {limit:,} bytes")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe waits for who writes to it
