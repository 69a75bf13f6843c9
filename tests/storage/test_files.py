import errno
import json
import os
from pathlib import Path

import pytest

from opensapiens.storage.files import temporary_beside, write_bytes, write_json, write_text, written, written_folder


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.json"
    write_json(path, {"b": 1})
    with pytest.raises(KeyboardInterrupt), written(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent and temporary.suffix == ".part"
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"b": 1} and os.listdir(path.parent) == ["a.json"]


def test_names_up_to_the_limit_of_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".txt")
    write_text(path, "é")
    assert path.read_bytes() == "é".encode()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, dangling: bool) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    if not dangling:
        target.write_text("the user's")
    link.symlink_to(target)
    write_bytes(link, b"ours")
    assert not link.is_symlink() and link.read_bytes() == b"ours"
    assert not target.exists() if dangling else target.read_text() == "the user's"


def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, written(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "a.bin") and caught.value.errno == errno.ENOSPC
    assert not os.listdir(tmp_path)


def test_an_error_about_another_file_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, written(tmp_path / "a.bin"):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing")


def test_what_a_killed_process_of_the_same_number_left_is_not_in_the_way(tmp_path: Path) -> None:
    left = temporary_beside(tmp_path / "a")
    left.mkdir()
    with written_folder(tmp_path / "a") as temporary:
        write_text(temporary / "b", "new")
    assert (tmp_path / "a" / "b").read_text() == "new" and left.is_dir()


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), written_folder(tmp_path / "a") as temporary:
        write_text(temporary / "half", "")
        raise ValueError("stop")
    assert not os.listdir(tmp_path)
    with written_folder(tmp_path / "a") as temporary:
        write_text(temporary / "b", "first")
    with written_folder(tmp_path / "a") as temporary:
        write_text(temporary / "b", "second")
    assert (tmp_path / "a" / "b").read_text() == "first" and os.listdir(tmp_path) == ["a"]
