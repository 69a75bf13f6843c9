"""Untrusted text files: UTF-8, with or without a byte-order mark, of limited size."""

from __future__ import annotations

from pathlib import Path

from opensapiens.storage.files import read_regular_file

MAX_BYTES = 64_000_000
FORMULA_SIGNS = tuple("=+-@\t\r\n")  # at the start of a cell


class FileError(ValueError):
    """An unusable file; the message names it and says what to do."""


def read_text(source: Path | str | bytes, name: str = "", limit: int = MAX_BYTES) -> str:
    """The text of a file, or of bytes that are called `name` in errors, without its byte-order mark.

    Raises FileError for a file that cannot be opened, is not regular, is larger than `limit` bytes, or is not UTF-8.
    """
    data = source if isinstance(source, bytes) else _read_bytes(Path(source), limit)
    name = name or (str(source) if not isinstance(source, bytes) else "the text")
    if len(data) > limit:
        raise FileError(f"{name}: larger than the limit of {limit} bytes")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        raise FileError(f"{name}: UTF-16 or UTF-32; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{name}: not UTF-8 (byte {data[error.start]:#x} at {error.start}); save it as UTF-8") from None


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        return read_regular_file(path, limit)
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise FileError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def csv_cell(value: object) -> object:
    """A CSV value; text that a spreadsheet would take for a formula gets a leading ' (OWASP: CSV injection)."""
    if not isinstance(value, str):
        return value
    return utf8(f"'{value}" if value[:1] in FORMULA_SIGNS else value)


def utf8(name: str) -> str:
    """The name of a file as a UTF-8 file can hold it: bytes that are not UTF-8 become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
