"""Tar archives: a complete index or an error, and a deterministic writer.

Python's tarfile silently stops at an unreadable header, follows pax headers to any depth, and reads whatever size they
claim into memory. Here tarfile only decodes single headers.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from opensapiens.storage.files import check_regular_file, written

BLOCK = tarfile.BLOCKSIZE
ZEROS = bytes(BLOCK)
MAX_MEMBER_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 16  # of a long name or a pax header
MAX_NAME = 1024  # characters
MAX_PADDING = 1 << 24  # zeros behind the end; tar itself writes 10 KiB at most unless told otherwise
KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a fifo",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


class TarError(ValueError):
    """An archive that is damaged, cut off, or has unusual members; the message names it and the position."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive: its name, and the position of its bytes."""

    name: str
    offset: int
    size: int


def open_tar(path: Path | str) -> BinaryIO:
    """An archive for reading. Raises TarError for one that cannot be opened, or is a pipe or device."""
    try:
        check_regular_file(path, 1 << 62)
        return open(path, "rb")
    except OSError as error:
        raise TarError(f"{path}: cannot be read ({error.strerror or error})") from error


def members(path: Path | str) -> Iterator[Member]:
    """The regular files of an uncompressed tar, in order, one at a time; folders are skipped.

    A cut-off archive is only noticed at the end. Raises TarError for a damaged header, an archive that does not end in
    two zero blocks and only zeros, links, devices, sparse files, and names or sizes out of bounds, and for a file that
    cannot be opened.
    """
    with open_tar(path) as file:
        yield from _walk(file, os.fstat(file.fileno()).st_size, str(path))


def contents(path: Path | str, ending: str = "") -> Iterator[tuple[Member, bytes]]:
    """The regular files whose names have the ending, with their bytes. Raises as `members`."""
    with open_tar(path) as file:
        for member in members(path):
            if member.name.endswith(ending):
                file.seek(member.offset)
                yield member, file.read(member.size)


def write_tar(path: Path | str, files: Iterable[tuple[str, bytes]]) -> None:
    """Writes (name, content) pairs as a tar, atomically; the same files always give the same bytes."""
    with written(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)  # mtime, uid, gid and names have fixed defaults
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _walk(file: BinaryIO, length: int, path: str) -> Iterator[Member]:
    position = 0
    given: dict[str, str] = {}  # path and size of the next member, from a long name or a pax header
    while (block := file.read(BLOCK)) != ZEROS:
        where = f"{path}, byte {position}"
        if len(block) < BLOCK:
            raise TarError(f"{where}: cut off, the zero blocks that end a tar are missing; copy the file again")
        header = _header(block, where)
        position += BLOCK
        size = _size(given.get("size", header.size), where)
        if size > length - position:
            raise TarError(f"{where}: a member of {size} bytes in the {length - position} that are left; cut off?")
        if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
            if given or size > MAX_HEADER_BYTES:
                raise TarError(f"{where}: a header of {size} bytes for the name of a member, or a second one")
            given = _given(header.type, file.read(size), where)
        elif header.type in REGULAR:
            yield Member(_name(given.get("path", header.name), where), position, size)
            given = {}
        elif header.type == tarfile.DIRTYPE and size == 0:
            given = {}
        else:
            raise TarError(f"{where}: {header.name[:80]!r} is {KINDS.get(header.type, 'of no known kind')}; only "
                           "regular files and folders are read")  # fmt: skip
        position += -(-size // BLOCK) * BLOCK
        file.seek(position)
    _check_end(file, position, length, path)
    if given:
        raise TarError(f"{path}, byte {position}: a header for a name without a member")


def _header(block: bytes, where: str) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise TarError(f"{where}: not a readable tar, no header stands here ({error})") from error


def _size(size: int | str, where: str) -> int:
    try:
        number = int(size)
    except ValueError:
        number = -1
    if not 0 <= number <= MAX_MEMBER_BYTES:
        raise TarError(f"{where}: a member of {str(size)[:40]} bytes; at most {MAX_MEMBER_BYTES} are read")
    return number


def _name(name: str, where: str) -> str:
    if not 0 < len(name) <= MAX_NAME or "\0" in name:
        raise TarError(f"{where}: a name of {len(name)} characters, or with a zero byte in it")
    if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise TarError(f"{where}: a name that is not UTF-8; pack the files again under other names")
    return name


def _given(kind: bytes, data: bytes, where: str) -> dict[str, str]:
    """The path and size in a long name or pax header; a global header, for all members, must have none."""
    try:
        if kind == tarfile.GNUTYPE_LONGNAME:
            return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
        records = dict(_records(data))
    except ValueError as error:
        raise TarError(f"{where}: a pax header that cannot be read ({error})") from error
    if any(key.startswith(b"GNU.sparse") for key in records):
        raise TarError(f"{where}: a sparse file; only regular files and folders are read")
    given = {key: records[key.encode()].decode("utf-8", "surrogateescape") for key in ("path", "size")
             if key.encode() in records}  # fmt: skip
    if given and kind == tarfile.XGLTYPE:
        raise TarError(f"{where}: one name or size for all members")
    return given


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records of a pax header: "LENGTH KEY=VALUE\\n", with the length of the whole record."""
    while data.strip(b"\0"):
        digits = data[:8].split(b" ")[0]
        length = int(digits)
        record = data[len(digits) + 1 : length]
        if length <= len(digits) or len(data) < length or record[-1:] != b"\n":
            raise ValueError(f"a record of {length} bytes")
        key, _, value = record[:-1].partition(b"=")
        yield key, value
        data = data[length:]


def _check_end(file: BinaryIO, position: int, length: int, path: str) -> None:
    """Checks that after the first zero block, which was just read, there is another, and only zeros."""
    if not 2 * BLOCK <= length - position <= MAX_PADDING:
        raise TarError(f"{path}, byte {position}: a tar ends in two blocks of zeros or a few more, here are "
                       f"{length - position} bytes; copy the file again")  # fmt: skip
    file.seek(position)
    if file.read(MAX_PADDING).strip(b"\0"):
        raise TarError(f"{path}, byte {position}: more behind the zeros that end a tar; damaged, or two in one file")
