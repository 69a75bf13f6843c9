"""Bounded reads of regular files, and atomic writes of files and folders: to a temporary path, then renamed.

Every reader ignores the hidden temporary files that a killed process may leave. A link in place of a file is replaced,
not followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


def temporary_beside(path: str | Path) -> Path:
    """An unused hidden path in the folder of `path`; random, since process ids repeat in containers."""
    return Path(path).with_name(f".{secrets.token_hex(6)}.part")


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to, which is renamed to `path` at the end of a `with` block, or removed after an error.

    Creates the folder if needed. Raises OSError that names `path`.
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
    """Like `written`, for a folder; if another process was faster, its folder stays."""
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
    """Writes a file atomically. Raises OSError."""
    with written(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Writes a UTF-8 file atomically. Raises OSError."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | Path, content: Mapping[str, object] | Sequence[object], indent: int | None = 1) -> None:
    """Writes a JSON file atomically; indent None = one line without spaces. Raises OSError."""
    separators = (",", ":") if indent is None else None
    write_text(path, json.dumps(content, indent=indent, separators=separators) + "\n")


def read_regular_file(path: str | Path, limit: int) -> bytes:
    """The content of a file. Raises OSError for one that is missing, larger than `limit` bytes, or not a regular file,
    since pipes and devices may never end."""
    with open(path, "rb", opener=_without_waiting) as file:
        check_regular_file(file.fileno(), limit)
        return file.read(limit)


def check_regular_file(path: int | str | Path, limit: int) -> None:
    """Checks a path, or an open file's descriptor, that something else will read. Raises as read_regular_file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    if status.st_size > limit:
        raise OSError(f"{status.st_size:,} bytes, larger than the limit of {limit:,} bytes")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would wait for its writer


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
