"""Lists of what must not be used: every way in which a source may be written is understood, or it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensapiens.curation.privacy import BlockList, OptOutList
from opensapiens.curation.sources import Item
from opensapiens.storage.text_files import FileError

ITEM = Item("/data/a.tar", "1.jpg", url="https://www.Example.org:443/photos/1.jpg?size=2#top")


@pytest.mark.parametrize(
    "line",
    [
        "example.org",
        "\ufeffexample.org",
        "Example.ORG",
        "https://example.org",
        "http://example.org/",
        "example.org/",
        "example.org.",
        "*.example.org",
        "https://*.example.org/",
        "example.org # asked on Monday",
        "example.org#asked on Monday",
        "www.example.org",
        "https://www.example.org/photos/1.jpg?size=2",
        "https://www.example.org/photos/1.jpg?size=2#bottom",
        "/data/a.tar",
        "/data/a.tar::1.jpg",
    ],
)
def test_a_source_on_the_list(line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "out.txt").write_text(f"{line}\n# a comment\n\n", encoding="utf-8")
    opted_out = OptOutList.read([tmp_path / "out.txt"])
    assert opted_out.names(ITEM)
    opted_out.log_unmatched(opted_out.lines_for(ITEM))
    assert not caplog.text


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("xn--mller-kva.example", "https://müller.example/1.jpg"),
        ("müller.example", "https://www.xn--mller-kva.example/1.jpg"),
        ("MÜLLER.example", "https://müller.example./1.jpg"),
        ("example.org", "example.org/1.jpg"),
        ("https://example.org/#/photo/1", "https://example.org/#/photo/1"),
    ],
)
def test_hosts_in_other_scripts_and_addresses_in_part(line: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text(line, encoding="utf-8")
    assert OptOutList.read([tmp_path / "out.txt"]).names(Item("a.jpg", url=url))


def test_others_are_not_on_the_list_and_lines_without_an_image_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = "ample.org\nexample.org/photos\nhttp://[::1\n/data/a #1.jpg\n"
    (tmp_path / "out.txt").write_text(lines, encoding="utf-8")
    opted_out = OptOutList.read([tmp_path / "out.txt"])
    assert not opted_out.names(ITEM)
    for url in ("http://[::1]x", "http://" + "a" * 300 + ".org", "https://..", "\x00", "photo"):
        assert not opted_out.names(Item("b.jpg", url=url))
    matched = opted_out.lines_for(Item("/data/a #1.jpg")) | opted_out.lines_for(Item("c.jpg", url="http://[::1"))
    opted_out.log_unmatched(matched)
    assert "2 of 4 lines of the opt-out lists name no image, such as ample.org, example.org/photos" in caplog.text


@pytest.mark.parametrize("kind", [OptOutList, BlockList])
def test_lists_in_another_encoding(kind: type[OptOutList] | type[BlockList], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("example.org", encoding="utf-16")
    with pytest.raises(FileError, match=r"list\.txt: UTF-16 or UTF-32; save it as UTF-8"):
        kind.read([tmp_path / "list.txt"])


def test_hashes_behind_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "block.txt").write_text("\ufeff" + "A" * 64 + "#known\n" + "0" * 16, encoding="utf-8")
    blocked = BlockList.read([tmp_path / "block.txt"])
    assert blocked.names("a" * 64, None) and blocked.near(0)
