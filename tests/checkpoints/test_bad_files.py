"""Files that are not what they seem: one clear line each, nothing in them is run, and little memory is taken."""

import io
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from opensapiens.checkpoints.convert import convert
from opensapiens.checkpoints.inert_pickle import PickledObject, read_pickle
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.checkpoints.torch_files import read_torch_file
from opensapiens.cli import main

from .conftest import published_tensors


class Touches:
    """Pickled code: whoever unpickles it with Python's own pickle makes a file of this name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError) as raised:
        convert(path, path.parent / "folder")
    assert message in str(raised.value) and path.name in str(raised.value) and "\n" not in str(raised.value)
    assert not (path.parent / "folder").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title>", "is a web page"),
        (b'\n  <?xml version="1.0"?><Error>AccessDenied</Error>', "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "is a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is not a PyTorch file"),
        (b"PK\x03\x04" + bytes(100), "is cut off or damaged"),
        (pickle.dumps({"a": 1}, protocol=2), "is damaged"),
        (b"\x80\x02" + b"\xff" * 50, "is damaged"),
    ],
)
def test_what_is_no_checkpoint(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    refused(tmp_path / "weights.pth", message)


def test_no_such_file(tmp_path: Path) -> None:
    refused(tmp_path / "weights.pth", "no file")


def nested(depth: int) -> bytes:
    """Pickle operations for a tuple of two references to a tuple of two, and so on: 2 ** depth in a few bytes."""
    return b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth))


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (b"}" + nested(14) + b"K\x01s.", "too deeply nested"),  # the key of a dict
        (b"}(" + nested(14) + b"K\x01u.", "too deeply nested"),
        (b"(" + nested(14) + b"K\x01d.", "too deeply nested"),
        (b"ca\nb\n)R(" + nested(14) + b"K\x01u.", "too deeply nested"),  # of what is filled like one
        (b"\x8f(" + nested(14) + b"\x90.", "too deeply nested"),  # an element of a set
        (b"(" + nested(14) + b"\x91.", "too deeply nested"),  # of a frozen one
        (nested(14) + b"Q.", "holds no weights"),  # by what it says that data are found
        (
            b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(" + nested(14) + b"QK\x00))tRs.",
            "refers to data by",
        ),
        (
            b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(" + nested(14) + b"K\x00))tRs.",
            "a tensor without data",
        ),
        (b"".join(b"cx\n%d\n0" % i for i in range(10_001)) + b"}.", "names more than 10,000"),
    ],
)
def test_pickles_that_ask_for_more_work_than_they_are_long(operations: bytes, message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x04" + operations)
    with pytest.raises(CheckpointError) as raised:
        convert(tmp_path / "weights.pth", tmp_path / "folder")
    assert message in str(raised.value) and len(str(raised.value)) < 1000


@pytest.mark.usefixtures("small_family")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_cut_off_anywhere(zipped: bool, tmp_path: Path) -> None:
    torch.save({"state_dict": published_tensors("depth")}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "a.pth").read_bytes()
    convert(tmp_path / "a.pth", tmp_path / "good", task="depth")
    for share in (0.01, 0.3, 0.7, 0.99, 0.9999):
        (tmp_path / "cut.pth").write_bytes(whole[: int(len(whole) * share)])
        refused(tmp_path / "cut.pth", "damaged")


@pytest.mark.usefixtures("small_family")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", ["meta", "state_dict", "whole"])
def test_pickled_code_does_not_run(place: str, zipped: bool, tmp_path: Path) -> None:
    made = tmp_path / "made_by_the_file"
    with pytest.raises(FileExistsError):  # the code would work
        made.mkdir()
        pickle.loads(pickle.dumps(Touches(made)))
    made.rmdir()
    content: Any = {"meta": {}, "state_dict": published_tensors("depth")}
    if place == "whole":
        content = Touches(made)
    else:
        content[place]["backdoor"] = Touches(made)
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    if place == "meta":  # it is not looked at
        assert convert(tmp_path / "weights.pth", tmp_path / "folder", task="depth").name.endswith("depth")
    else:
        refused(tmp_path / "weights.pth", "holds no weights" if place == "whole" else "are no tensors: backdoor")
    assert not made.exists()


def test_the_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weights.pth").write_bytes(b"<html>")
    assert main(["convert", str(tmp_path / "weights.pth"), str(tmp_path / "folder")]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "is a web page" in printed.err


def rezipped(source: Path, target: Path, change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            change(new, entry, old.read(entry))


@pytest.mark.parametrize("name", ["data.pkl", "data/0"])
def test_a_bomb_is_not_unpacked(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(3)}}, tmp_path / "plain.pth")

    def change(new: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
        bomb = entry.filename.endswith(name)
        content = bytes(50_000_000) if bomb else content
        new.writestr(entry.filename, content, zipfile.ZIP_DEFLATED if bomb else zipfile.ZIP_STORED)

    rezipped(tmp_path / "plain.pth", tmp_path / "weights.pth", change)
    assert (tmp_path / "weights.pth").stat().st_size < 100_000
    refused(tmp_path / "weights.pth", "is compressed")


def test_names_that_lead_elsewhere_lead_nowhere(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(3)}}, tmp_path / "plain.pth")

    def change(new: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
        new.writestr(entry.filename.replace("plain/", "../../outside/"), content)

    (tmp_path / "a" / "b").mkdir(parents=True)
    rezipped(tmp_path / "plain.pth", tmp_path / "a" / "b" / "weights.pth", change)
    refused(tmp_path / "a" / "b" / "weights.pth", "is a zip archive, but of no kind that PyTorch")
    assert {path.name for path in tmp_path.rglob("*")} == {"plain.pth", "a", "b", "weights.pth"}


def test_an_index_that_lies(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(5, 7)}, tmp_path / "plain.pth")
    whole = (tmp_path / "plain.pth").read_bytes()
    index = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"plain/data/0"))
    for place, value in ((42, 1 << 30), (20, 1 << 30)):  # where it begins; how long it is
        changed = bytearray(whole)
        for at in (place, 24) if place == 20 else (place,):
            changed[index + at : index + at + 4] = struct.pack("<I", value)
        (tmp_path / "weights.pth").write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"damaged|cut off"):
            read_torch_file(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "arguments",
    [
        (0, (10**9, 10**9), (0, 0)),  # much out of little
        (0, (5, 7), (700, 1)),  # beyond the end
        (34, (5,), (1,)),
        (-5, (5,), (1,)),
        (0, (5,), (-1,)),
        (0, (5, 1), (1,)),
        (0, None, (1,)),
        (0, (10**30,), (1,)),
        (0, ("5",), (1,)),
    ],
)
def test_a_tensor_that_its_data_do_not_hold(arguments: tuple[Any, ...], tmp_path: Path) -> None:
    class Rebuilt:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (storage, *arguments, False, {})

    storage = torch.storage.TypedStorage(
        wrap_storage=torch.ones(35).untyped_storage(), dtype=torch.float32, _internal=True
    )
    torch.save({"a": Rebuilt()}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="is cut off or damaged: a tensor of size"):
        read_torch_file(tmp_path / "weights.pth")


def test_kinds_of_tensor_that_are_not_read(tmp_path: Path) -> None:
    for tensor in (torch.ones(3).to_sparse(), torch.ones(3, dtype=torch.complex64)):
        torch.save({"a": tensor}, tmp_path / "weights.pth")
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_torch_file(tmp_path / "weights.pth")


def test_a_frozen_module_has_no_names(tmp_path: Path) -> None:
    module = torch.jit.freeze(torch.jit.script(torch.nn.Linear(2, 2).eval()))
    module.save(str(tmp_path / "weights.pt2"))
    refused(tmp_path / "weights.pt2", "TorchScript without named weights")


def test_small_files_take_little_time_and_memory(tmp_path: Path) -> None:
    wide: Any = {}
    for _ in range(6):  # a million times a million ... of the same dict
        wide = dict.fromkeys(range(1000), wide)
    torch.save({"state_dict": wide}, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", "holds no weights")
    far = (
        b"\x80\x02" + b"}" + b"r" + struct.pack("<I", 0xFFFFFFF0) + b"."
    )  # a place in the memo that is four billion on
    assert read_pickle(io.BytesIO(far), "a test") == {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="a test is damaged"):  # claims to be followed by a billion bytes
        read_pickle(io.BufferedReader(io.BytesIO(b"\x80\x05\x96" + struct.pack("<Q", 10**9) + b"abc.")), "a test")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 500_000  # kB
    assert read_pickle(io.BytesIO(pickle.dumps(bytearray(b"ab"), protocol=5)), "a test") == b"ab"


def test_records_remember_and_do_nothing() -> None:
    found = read_pickle(io.BytesIO(pickle.dumps([Touches(Path("never")), {1: Tensor}], protocol=4)), "a test")
    assert isinstance(found[0], PickledObject) and found[0].called == "posix.mkdir" and found[0].arguments == ("never",)
    assert issubclass(found[1][1], PickledObject) and found[1][1].called == "torch.Tensor"
    assert not Path("never").exists()
    with pytest.raises(CheckpointError, match="a test is damaged"):
        read_pickle(io.BytesIO(b"\x80\x02\x82\x01."), "a test")  # from the registry of extensions
