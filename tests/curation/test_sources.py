"""Images are found and read wherever they are."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from opensapiens.curation import sources
from opensapiens.curation.sources import SourceError, find_items, read_item
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.tars import TarError
from opensapiens.storage.text_files import FileError


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_a_folder_is_searched_in_order(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a.png", "b/1.JPEG", "notes.md", ".hidden.jpg", ".trash/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    items = list(find_items([tmp_path]))
    assert [item.source.removeprefix(f"{tmp_path}/") for item in items] == ["a.png", "b/1.JPEG", "b/2.jpg"]
    assert [read_item(item) for item in items] == [b"a.png", b"b/1.JPEG", b"b/2.jpg"]


def test_images_in_a_tar_come_with_their_facts(tmp_path: Path) -> None:
    facts = json.dumps({"url": "https://example.org/x", "license": "CC0"}).encode()
    members = {"01.jpg": b"one", "01.json": facts, "02.parts.png": b"label", "02.jpg": b"two", "02.json": b"{broken"}
    members |= {"a.b/3.x.jpg": b"three"}
    write_tar(tmp_path / "s.tar", members)
    items = list(find_items([tmp_path]))
    assert [(item.member, item.url, item.license) for item in items] == [
        ("01.jpg", "https://example.org/x", "CC0"),
        ("02.jpg", "", ""),
        ("a.b/3.x.jpg", "", ""),
    ]
    assert [read_item(item) for item in items] == [b"one", b"two", b"three"]
    assert items[0].source == f"{tmp_path}/s.tar::01.jpg"


def test_parquet_with_bytes_or_paths(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [{"image": {"bytes": bytes([i]), "path": None}, "licence": f"l{i}"} for i in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "bytes.parquet", row_group_size=2)
    items = list(find_items([tmp_path / "bytes.parquet"]))
    assert [read_item(item) for item in items] == [bytes([i]) for i in range(5)]
    assert [item.license for item in items] == ["l0", "l1", "l2", "l3", "l4"]
    (tmp_path / "x.jpg").write_bytes(b"x")
    pq.write_table(pa.table({"path": ["x.jpg"], "url": ["u"]}), tmp_path / "paths.parquet")
    (item,) = find_items([tmp_path / "paths.parquet"])
    assert (read_item(item), item.url, item.member) == (b"x", "u", "")
    pq.write_table(pa.table({"caption": ["x"]}), tmp_path / "none.parquet")
    with pytest.raises(SourceError, match=r"no column with images .* it has caption"):
        list(find_items([tmp_path / "none.parquet"]))


def test_parquet_files_of_a_folder_that_cannot_be_used_stop_nothing(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"caption": ["x"], "url": ["u"]}), tmp_path / "captions.parquet")  # as img2dataset's
    (tmp_path / "header.parquet").write_bytes(b"no parquet")
    table = pa.table({"image": [bytes([i]) * 99 for i in range(20)], "url": [f"u{i}" for i in range(20)]})
    for name, spoilt in (("images.parquet", b"\x01" * 99), ("pages.parquet", b"u1")):
        pq.write_table(table, tmp_path / name, compression="none", use_dictionary=False, write_page_checksum=True)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data.replace(spoilt, b"?" * len(spoilt), 1))
    (tmp_path / "z.jpg").write_bytes(b"x")
    passed_over: Counter[str] = Counter()
    items = list(find_items([tmp_path], passed_over))
    assert passed_over == {".parquet without images": 1}
    assert [Path(item.file).name for item in items if not item.member] == ["header.parquet", "pages.parquet", "z.jpg"]
    for item in items[:-1]:
        with pytest.raises(ImageError, match=r"\.parquet: not a Parquet file that can be read"):
            read_item(item)
    with pytest.raises(SourceError, match=r"pages\.parquet: not a Parquet file that can be read"):
        list(find_items([tmp_path / "pages.parquet"]))
    pq.write_table(table, tmp_path / "names.parquet")
    data = (tmp_path / "names.parquet").read_bytes()
    (tmp_path / "names.parquet").write_bytes(data.replace(b"url", b"\xf0rl"))
    with pytest.raises(SourceError, match=r"names\.parquet: not a Parquet file that can be read"):
        list(find_items([tmp_path / "names.parquet"]))


@pytest.mark.parametrize("column", ["image", "path"])
def test_a_value_that_is_stored_once_for_many_rows_does_not_fill_memory(
    column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    value = b"x" * 1_000_000 if column == "image" else "x" * 1_000_000
    table = pa.table({column: pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array([value]))})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    monkeypatch.setattr(sources, "MAX_GROUP_BYTES", 10_000_000)
    with pytest.raises((ImageError, SourceError), match=r"a\.parquet: row group 0 holds more than 10,000,000 bytes"):
        read_item(next(find_items([tmp_path / "a.parquet"])))
    assert pa.default_memory_pool().max_memory() < 100_000_000


def test_a_list_of_files(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"x")
    (tmp_path / "list.txt").write_text("\ufeffx.jpg\n\ngone.jpg\n", encoding="utf-8")
    there, gone = find_items([tmp_path / "list.txt"])
    assert read_item(there) == b"x"
    with pytest.raises(ImageError, match=r"gone\.jpg: cannot be read"):
        read_item(gone)


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.tar").write_bytes(b"no tar")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    for name, says in (("gone", "no such"), ("empty", "no image"), ("bad.tar", "tar"), ("bad.parquet", "Parquet")):
        with pytest.raises((SourceError, TarError), match=says):
            list(find_items([tmp_path / name]))


def test_a_list_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("x.jpg", encoding="utf-16")
    with pytest.raises(FileError, match="save it as UTF-8"):
        list(find_items([tmp_path / "list.txt"]))


def test_a_name_that_is_not_utf_8_is_left_out(tmp_path: Path) -> None:
    for name in (b"a.jpg", b"b\xff.jpg"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    left_out: list[str] = []
    assert [Path(item.file).name for item in find_items([tmp_path], left_out=left_out)] == ["a.jpg"]
    assert left_out == [f"{tmp_path}/b\ufffd.jpg: its name is not UTF-8; rename it"]


@pytest.mark.parametrize("ending", [".tar", ".parquet"])
def test_a_pipe_or_broken_link_of_a_folder_is_an_item_that_cannot_be_read(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    os.mkfifo(tmp_path / f"a{ending}")
    (tmp_path / f"b{ending}").symlink_to("nowhere")
    pipe, link = find_items([tmp_path])
    for item, name, sentence in ((pipe, "a", "not a regular file"), (link, "b", "No such file")):
        with pytest.raises(ImageError, match=f"/{name}{ending}: .*{sentence}"):
            read_item(item)


def test_a_damaged_tar_of_a_folder_is_an_item_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, {"1.jpg": b"one", "2.jpg": b"two"})
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:2048])
    items = list(find_items([tmp_path]))
    assert [(Path(item.file).name, item.member) for item in items] == [
        ("a.tar", "1.jpg"), ("a.tar", ""), ("b.tar", "1.jpg"), ("b.tar", "2.jpg"),
    ]  # fmt: skip
    with pytest.raises(ImageError, match=r"a\.tar, byte 2048: cut off"):
        read_item(items[1])
