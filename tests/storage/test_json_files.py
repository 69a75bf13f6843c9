"""JSON, TOML and text of any kind are content or a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensapiens.storage.json_files import MAX_DEPTH, read_json, read_toml
from opensapiens.storage.text_files import FileError, read_text

ODD = {
    "NaN": (b'{"a": NaN}', "NaN is no number of JSON"),
    "-Infinity": (b"[-Infinity]", "-Infinity is no number"),
    "infinite by its exponent": (b"[1e999]", "1e999 is too large"),
    "infinite by its digits": (b"[" + b"9" * 400 + b".5]", "is too large"),
    "infinite with signs": (b"[-1E+0400]", "is too large"),
    "beyond 64 bits": (b"[18446744073709551616]", "does not fit into 64 bits"),
    "very many digits": (b"[-" + b"9" * 10_000 + b"]", "does not fit into 64 bits"),
    "deep": (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), f"deeper than {MAX_DEPTH}"),
    "very deep": (b'{"a":' * 100_000, f"deeper than {MAX_DEPTH}"),
    "half a character": (rb'{"file_name": "\ud800.jpg"}', "not JSON that can be used"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "save it as UTF-8"),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), "save it as UTF-8"),
    "Latin-1": ('{"a": "ü"}'.encode("latin-1"), "not UTF-8"),
    "cut": (b'{"a": [1, 2', "not JSON"),
    "empty": (b"", "not JSON"),
    "too large": (b'"' + b"a" * 1000 + b'"', "larger than the limit of 1,?000 bytes"),
}


@pytest.mark.parametrize("name", ODD)
def test_json_that_is_odd(name: str, tmp_path: Path) -> None:
    content, sentence = ODD[name]
    (tmp_path / "a.json").write_bytes(content)
    limit = 1000 if name == "too large" else 10**6
    with pytest.raises(FileError, match=rf"a\.json: .*{sentence}"):
        read_json(tmp_path / "a.json", limit=limit)
    with pytest.raises(FileError, match=rf"b: .*{sentence}"):
        read_json(content, "b", limit)


@pytest.mark.parametrize("text", ["a = nan", "a = inf", f"a = {2**64}", "a = " + "[" * 5000, "a = [1"])
def test_toml_that_is_odd(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(FileError, match=r"a\.toml: "):
        read_toml(tmp_path / "a.toml")


def test_what_is_right_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": [18446744073709551615, -1e3, "\\ud83d\\ude00", null]}')
    assert read_json(tmp_path / "a.json") == {"a": [2**64 - 1, -1000.0, "😀", None]}
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1.5\nb = 2026-01-01\n")
    assert read_toml(tmp_path / "a.toml") == {"a": 1.5, "b": "2026-01-01"}


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, sentence in (("fifo", "not a regular file"), ("gone", "No such file"), (".", "Is a directory")):
        with pytest.raises(FileError, match=sentence):
            read_text(tmp_path / name)
