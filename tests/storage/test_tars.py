"""Archives that are damaged, cut or hostile are errors with a sentence, for every reader; nothing is lost silently."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from opensapiens.curation.pack import SHARDS
from opensapiens.curation.remove import remove
from opensapiens.curation.sources import find_items
from opensapiens.data.images import ImageCollection
from opensapiens.data.label_kinds import DEPTH, NORMALS, PARTS
from opensapiens.data.shards import ShardDataset, ShardError, encode_frame, shard_records
from opensapiens.evaluation.people import read_shard_images
from opensapiens.storage.folders import mark
from opensapiens.storage.tars import MAX_PADDING, TarError, contents, members, write_tar
from opensapiens.synthetic.card import data_card

FRAMES = 8
MEMBERS = 6
PERSON = {"id": 1, "box": [0, 0, 8, 8], "keypoints": [[1, 1, 2]] * 308, "height_fraction": 1, "yaw_degrees": 0}
PERSON |= {"occluded_fraction": 0, "truncated": False}


def shard(path: Path) -> bytes:
    """A shard of FRAMES small frames that every reader takes, also those of packed pictures."""
    ones = np.ones((8, 8))
    record = {"width": 8, "height": 8, "persons": [PERSON], "sha256": "0", "people": 1, "license": ""}
    image, normals = np.zeros((8, 8, 3), np.uint8), np.stack([0 * ones, 0 * ones, ones], -1)
    ids = ones.astype(np.uint8)
    frame = encode_frame(image, ids, {PARTS: ids, DEPTH: ones, NORMALS: normals}, record)
    write_tar(path, ((f"{n:04d}.{suffix}", data) for n in range(FRAMES) for suffix, data in sorted(frame.items())))
    return path.read_bytes()


def member(kind: bytes = tarfile.REGTYPE, name: str = "a.jpg", size: int | None = None, **fields: Any) -> bytes:
    """The header of one member, with a valid checksum whatever it claims."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, 0 if size is None else size
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def with_content(kind: bytes, content: bytes) -> bytes:
    """A header that is said of the next member, with its content."""
    return member(kind, "x", len(content)) + content + bytes(-len(content) % 512)


def raw(size_field: bytes) -> bytes:
    """A header with any bytes for its size."""
    header = bytearray(member())
    header[124:136] = size_field.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}".encode() + b"\0 "
    return bytes(header)


END = bytes(1024)
ODD: dict[str, tuple[bytes, str]] = {
    "a flipped bit": (member(name="b.jpg")[:60] + b"\1" + member(name="b.jpg")[61:] + END, "no header stands here"),
    "cut at a member's edge": (b"", "cut off"),
    "cut in a header": (member()[:300], "cut off"),
    "cut in a member": (member(size=5000) + bytes(100), "5000 bytes in the 100 that are left"),
    "one zero block": (bytes(512), "here are 512 bytes"),
    "data behind the end": (END + member() + END, "more behind the zeros"),
    "zeros without end": (bytes(MAX_PADDING + 512), "two blocks of zeros"),
    "a negative size": (raw(b"\xff" + b"\xff" * 10 + b"\x00") + END, "a member of -256 bytes"),
    "a size of 2^80": (raw(b"\x80" + b"\x01" + bytes(10)) + END, "a member of 1208925819614629174706176 bytes"),
    "a hard link": (member(tarfile.LNKTYPE, linkname="/etc/passwd") + END, "a hard link"),
    "a symbolic link": (member(tarfile.SYMTYPE, linkname="/etc/passwd") + END, "a symbolic link"),
    "a device": (member(tarfile.CHRTYPE) + END, "a device"),
    "a sparse file": (member(tarfile.GNUTYPE_SPARSE) + END, "a sparse file"),
    "a sparse file of pax": (
        with_content(tarfile.XHDTYPE, b"22 GNU.sparse.major=1\n") + member() + END, "a sparse file"),
    "a pax size of 2^80": (
        with_content(tarfile.XHDTYPE, b"34 size=1208925819614629174706176\n") + member() + END, "at most"),
    "a pax record that lies": (with_content(tarfile.XHDTYPE, b"99 path=b.jpg\n") + member() + END, "a record of 99"),
    "a huge pax header": (member(tarfile.XHDTYPE, size=1 << 20) + bytes(1 << 20) + END, "a header of 1048576 bytes"),
    "nested names": (
        (with_content(tarfile.GNUTYPE_LONGNAME, b"b.jpg\0") * 5000) + member() + END, "or a second one"),
    "a name without a member": (with_content(tarfile.GNUTYPE_LONGNAME, b"b.jpg\0") + END, "without a member"),
    "one name for all": (with_content(tarfile.XGLTYPE, b"14 path=b.jpg\n") + member() + END, "for all members"),
    "a name that is not UTF-8": (member(name="\udcff.jpg") + END, "not UTF-8"),
    "a name without end": (
        with_content(tarfile.GNUTYPE_LONGNAME, b"b" * 5000 + b"\0") + member() + END, "a name of 5000 characters"),
    "a kind nobody knows": (member(b"Z") + END, "of no known kind"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_archive_that_is_odd(name: str, tmp_path: Path) -> None:
    tail, sentence = ODD[name]
    (tmp_path / "a.tar").write_bytes(member(name="first.jpg") + tail)
    with pytest.raises(TarError, match=rf"a\.tar, byte \d+: .*{sentence}"):
        list(members(tmp_path / "a.tar"))


READERS: dict[str, Callable[[Path], object]] = {
    "members": lambda folder: list(members(folder / "0.tar")),
    "contents": lambda folder: list(contents(folder / "0.tar")),
    "ShardDataset": ShardDataset,
    "ImageCollection": ImageCollection,
    "find_items": lambda folder: list(find_items([folder / "0.tar"])),
    "shard_records": lambda folder: list(shard_records(folder)),
    "remove": lambda folder: remove(folder, ()),
    "data_card": data_card,
    "read_shard_images": lambda folder: list(read_shard_images(folder)),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_says_that_frames_are_missing(reader: str, tmp_path: Path) -> None:
    whole = shard(tmp_path / "0.tar")
    mark(tmp_path, SHARDS, {})
    READERS[reader](tmp_path)
    fourth = [one.offset - 512 for one in members(tmp_path / "0.tar")][4 * MEMBERS]
    flipped = bytearray(whole)
    flipped[fourth + 20] ^= 4
    for damaged in (bytes(flipped), whole[:fourth]):
        (tmp_path / "0.tar").write_bytes(damaged)
        with pytest.raises(TarError, match=r"0\.tar"):
            READERS[reader](tmp_path)


def test_what_other_tools_write_is_read(tmp_path: Path) -> None:
    """Folders, long names, names in other scripts, a global header with a comment, sizes and times of pax."""
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        headers = {"comment": "made by hand"} if kind == tarfile.PAX_FORMAT else {}
        with tarfile.open(tmp_path / "a.tar", "w", format=kind, pax_headers=headers) as tar:
            folder = tarfile.TarInfo("pictures")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            names = ["pictures/" + "long" * 50 + ".jpg", "pictures/фото.jpg", "pictures/b.json"]
            for name in names:
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(name), 1.5
                tar.addfile(info, io.BytesIO(b"x" * len(name)))
        found = list(contents(tmp_path / "a.tar"))
        assert [(one.name, data) for one, data in found] == [(name, b"x" * len(name)) for name in names]


def packed(folder: Path) -> list[dict[str, str]]:
    """A folder as `curate pack` leaves it: one shard of ten pictures and a manifest; returns their facts."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    facts = [{"sha256": f"{n:064x}", "source": f"{n}.jpg", "url": ""} for n in range(10)]
    files = ((f"{n:016d}-{n:09d}.{kind}", data) for n, one in enumerate(facts)
             for kind, data in (("jpg", picture.getvalue()), ("json", json.dumps(one).encode())))  # fmt: skip
    write_tar(folder / "000000.tar", files)
    mark(folder, SHARDS, {})
    (folder / "manifest.json").write_text(json.dumps({"fates": {"packed": 10}}))
    return facts


@pytest.mark.parametrize("damage", ["a flipped bit", "a frame is missing", "a shard is missing"])
def test_remove_replaces_nothing_where_frames_are_lost(damage: str, tmp_path: Path) -> None:
    facts = packed(tmp_path)
    (tmp_path / "block.txt").write_text("\n".join(one["sha256"] for one in facts[:3]))
    path = tmp_path / "000000.tar"
    if damage == "a flipped bit":
        content = bytearray(path.read_bytes())
        content[[one.offset - 512 for one in members(path)][10] + 20] ^= 4
        path.write_bytes(content)
    elif damage == "a frame is missing":
        write_tar(path, [(one.name, data) for one, data in contents(path)][:-2])
    else:
        (tmp_path / "manifest.json").write_text(json.dumps({"fates": {"packed": 20}}))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises((TarError, ShardError), match=r"000000\.tar|were packed; nothing was changed"):
        remove(tmp_path, (tmp_path / "block.txt",))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_removal_that_was_stopped_is_taken_up_again(tmp_path: Path) -> None:
    facts = packed(tmp_path)
    (tmp_path / "block.txt").write_text("\n".join(one["sha256"] for one in facts[:3]))
    noted = [one.name.partition(".")[0] for one in members(tmp_path / "000000.tar")][:6:2]
    (tmp_path / "removed.json").write_text(json.dumps({"keys": noted}))  # noted, not yet removed
    assert remove(tmp_path, (tmp_path / "block.txt",)) == noted
    assert remove(tmp_path, (tmp_path / "block.txt",)) == []
    assert json.loads((tmp_path / "manifest.json").read_text())["fates"] == {"packed": 7, "removed": 3}
    assert json.loads((tmp_path / "removed.json").read_text())["keys"] == noted
