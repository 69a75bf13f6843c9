from pathlib import Path

import pytest

from opensapiens.storage.folders import FolderError, check_output, claim, clear, is_ours


def test_a_folder_of_ours_is_known_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert not claim(folder, "frames", {"seed": (1, 2)}) and claim(folder, "frames", {"seed": [1, 2]})
    with pytest.raises(FolderError, match=r"frames of another seed \(seed was \[1, 2\], is 3\)"):
        claim(folder, "frames", {"seed": 3})
    with pytest.raises(FolderError, match="holds frames, not labels"):
        claim(folder, "labels")
    assert is_ours(folder, "frames") and not is_ours(folder, "labels")


@pytest.mark.parametrize("name", ["photo.jpg", "identity.json", "checkpoints/1/a"])
def test_a_folder_with_files_and_no_marker_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("{}")
    for use in (lambda: claim(tmp_path, "frames"), lambda: clear(tmp_path, "frames")):
        with pytest.raises(FolderError, match=r"opensapiens"):
            use()
    assert (tmp_path / name).read_text() == "{}"


def test_only_our_own_kind_is_removed(tmp_path: Path) -> None:
    ours, link = tmp_path / "ours", tmp_path / "link"
    claim(ours, "frames")
    link.symlink_to(ours)
    for folder, kind in ((ours, "labels"), (link, "frames")):
        with pytest.raises(FolderError, match=r"is not .* of opensapiens"):
            clear(folder, kind)
    clear(ours, "frames")
    assert not ours.exists()
    clear(tmp_path / "missing", "frames")


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    assert not claim(tmp_path, "frames")


@pytest.mark.parametrize(
    ("output", "inside", "message"),
    [
        ("in", True, "is what is read"), (".", True, "which is read"), ("in/out", False, "lies in"),
        ("link", True, "is what is read"), ("in/out", True, None), ("out", False, None), ("in2", False, None),
    ],
)  # fmt: skip
def test_outputs_over_inputs(tmp_path: Path, output: str, inside: bool, message: str | None) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    if message is None:
        check_output(tmp_path / output, [None, tmp_path / "in"], inside)
    else:
        with pytest.raises(FolderError, match=message):
            check_output(tmp_path / output, [None, tmp_path / "in"], inside)
