"""Reads tensors, memory-mapped, from the files that PyTorch writes, without running any code in them.

Supported are torch.save (the zip format and the one before PyTorch 1.6), TorchScript archives and exported programs (of
PyTorch 2.2 to 2.7, and the later archives).
"""

import io
import mmap
import reprlib
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opensapiens.storage.json_files import read_json

from .inert_pickle import Outside, PickledObject, read_pickle
from .strict_loading import CheckpointError

TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
EXPORTED_TYPES = {1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64}
EXPORTED_TYPES |= {6: torch.float16, 7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16}
"""Type numbers in the later archives of exported programs."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LARGEST_PICKLE = 1 << 28

Storage = Callable[[str], memoryview]
"""From the key of a storage to its bytes."""


def read_torch_file(path: Path) -> Any:
    """The content of a PyTorch file: dicts, Tensors mapped from the file, and inert records of everything else.

    A TorchScript archive gives a dict of its modules' tensors by dotted name; an exported program its state dict.

    Raises:
        CheckpointError: the file is missing, damaged, of an unknown format, or has no readable tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"no file {path}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: download it again")
    with path.open("rb") as file:
        # Kept open by the tensors that are made of it.
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    start = bytes(view[:512])
    if start[:4] == b"PK\x03\x04":
        return _read_archive(view, str(path))
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        return _read_legacy(view, str(path))
    if start.lstrip()[:1] == b"<" or b"<html" in start.lower():
        raise CheckpointError(f"{path} is a web page, not weights: the site returned an error or login page")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights: fetch them with `git lfs pull`")
    raise CheckpointError(f"{path} is not a PyTorch file: it begins with {start[:8]!r}")


class _View(io.RawIOBase):
    """A readable file over memory; unlike BytesIO it copies nothing up front."""

    def __init__(self, view: memoryview) -> None:
        self.view, self.position = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = max(0, (0, self.position, len(self.view))[whence] + offset)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        piece = self.view[self.position : self.position + len(buffer)]
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)


class _Archive:
    """A PyTorch zip file. Entries are looked up by name and never unpacked to disk."""

    def __init__(self, view: memoryview, source: str) -> None:
        self.view, self.source = view, source
        try:
            with zipfile.ZipFile(io.BufferedReader(_View(view))) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error) as error:
            raise CheckpointError(f"{source} is cut off or damaged ({error}): download it again") from error
        self.entries = {entry.filename: entry for entry in entries}
        # PyTorch puts everything into one folder, named after the original file.
        folders = {name.split("/")[0] for name in self.entries if "/" in name}
        self.root = f"{folders.pop()}/" if len(folders) == 1 else ""

    def has(self, name: str) -> bool:
        return self.root + name in self.entries

    def entry(self, name: str) -> memoryview:
        """The content of an entry, in place."""
        info = self.entries.get(self.root + name)
        if info is None:
            raise CheckpointError(f"{self.source} is damaged: it has no entry {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise CheckpointError(f"{self.source}: entry {name!r} is compressed, which PyTorch's own files never are")
        header = self.view[info.header_offset : info.header_offset + 30]
        if len(header) < 30 or bytes(header[:4]) != b"PK\x03\x04":
            raise CheckpointError(f"{self.source} is damaged: entry {name!r} is not where the index says")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        start = info.header_offset + 30 + name_length + extra_length
        content = self.view[start : start + info.file_size]
        if len(content) != info.file_size:
            raise CheckpointError(f"{self.source} is cut off in entry {name!r}: download it again")
        return content

    def pickle(self, name: str) -> Any:
        content = self.entry(name)
        if len(content) > LARGEST_PICKLE:
            raise CheckpointError(f"{self.source}: entry {name!r} is too large for a description of tensors")
        return read_pickle(io.BytesIO(content), self.source)


def _read_archive(view: memoryview, source: str) -> Any:
    archive = _Archive(view, source)

    def storage(key: str) -> memoryview:
        return archive.entry(f"data/{key}")

    if archive.has("constants.pkl"):
        return _module_tensors(archive.pickle("data.pkl"), storage, source)
    if archive.has("data.pkl"):
        return _with_tensors(archive.pickle("data.pkl"), storage, source)
    if "serialized_state_dict.pt" in archive.entries:
        archive.root = ""
        return _read_archive(archive.entry("serialized_state_dict.pt"), f"{source}, serialized_state_dict.pt")
    if archive.has("data/weights/model_weights_config.json"):
        return _exported_tensors(archive)
    raise CheckpointError(f"{source} is a zip archive, but of no kind that PyTorch 1.6 to 2.13 writes")


def _exported_tensors(archive: _Archive) -> dict[str, Tensor]:
    """The tensors of the later archives of exported programs: one file per tensor, and a JSON file describing them."""
    try:
        config = read_json(bytes(archive.entry("data/weights/model_weights_config.json")))["config"]
        tensors = {}
        for name, weight in config.items():
            meta = weight["tensor_meta"]
            sizes, strides = ([axis["as_int"] for axis in meta[key]] for key in ("sizes", "strides"))
            content = archive.entry(f"data/weights/{weight['path_name']}")
            if weight.get("use_pickle"):
                tensors[name] = _read_archive(content, archive.source)
            else:
                offset = meta["storage_offset"]["as_int"]
                dtype = EXPORTED_TYPES[meta["dtype"]]
                tensors[name] = _tensor(content, dtype, offset, sizes, strides, f"{archive.source}, {name}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{archive.source} is damaged: its list of weights does not hold together") from error
    return tensors


def _read_legacy(view: memoryview, source: str) -> Any:
    """torch.save before PyTorch 1.6: five consecutive pickles, then the storages in the order of the last pickle."""
    stream = io.BufferedReader(_View(view))
    magic, _, system = (read_pickle(stream, source) for _ in range(3))
    if magic != LEGACY_MAGIC or not isinstance(system, dict):
        raise CheckpointError(f"{source} is a pickle, but not one that torch.save wrote")
    content = read_pickle(stream, source)
    keys = read_pickle(stream, source)
    itemsizes = {key[2]: _storage_type(key, source).itemsize for key in _storage_keys(content, source)}
    storages: dict[str, memoryview] = {}
    position = stream.tell()
    for key in keys if isinstance(keys, list) else ():
        count = int.from_bytes(view[position : position + 8], "little", signed=True)
        end = position + 8 + max(count, 0) * (itemsizes.get(key, 0) if isinstance(key, str) else 0)
        if not isinstance(key, str) or end > len(view) or key not in itemsizes or count < 0:
            raise CheckpointError(f"{source} is cut off or damaged: download it again")
        storages[key] = view[position + 8 : end]
        position = end

    def storage(key: str) -> memoryview:
        if key not in storages:
            raise CheckpointError(f"{source} is damaged: it has no storage {key!r}")
        return storages[key]

    return _with_tensors(content, storage, source)


def _storage_keys(content: Any, source: str) -> Iterator[tuple[Any, ...]]:
    """The keys of all storages that the content refers to."""
    seen: set[int] = set()
    left = [content]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Outside):
            yield _storage_key(value.key, source)
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
        elif isinstance(value, PickledObject):
            left += [value.arguments, value.items, value.state]


def _storage_key(key: Any, source: str) -> tuple[Any, ...]:
    """("storage", type, key, device, count), checked."""
    if isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage" and isinstance(key[2], str):
        return key
    raise CheckpointError(f"{source} is damaged: it refers to data by {reprlib.repr(key)}")


def _storage_type(key: tuple[Any, ...], source: str) -> torch.dtype:
    type_name = getattr(key[1], "called", "")
    dtype = TYPES.get(type_name.rpartition(".")[2])
    if dtype is None:
        raise CheckpointError(f"{source}: tensors of type {type_name or reprlib.repr(key[1])} cannot be read")
    return dtype


def _with_tensors(content: Any, storage: Storage, source: str) -> Any:
    """The content with dicts and tensors in place of the inert records of them."""
    done: dict[int, Any] = {}

    def filled(value: Any, depth: int) -> Any:
        if isinstance(value, PickledObject) and value.called.startswith("torch._utils._rebuild_"):
            return _rebuilt(value, storage, source)
        items = value.items if isinstance(value, PickledObject) else value
        # Two levels hold every published layout; deeper content (an optimizer's moments, say) stays inert.
        if not isinstance(items, dict) or depth == 2:
            return value
        if id(value) not in done:  # once, however often a file repeats it
            done[id(value)] = {key: filled(part, depth + 1) for key, part in items.items()}
        return done[id(value)]

    return filled(content, 0)


def _module_tensors(module: Any, storage: Storage, source: str) -> dict[str, Tensor]:
    """Tensors of a scripted module by dotted name; the state of its record is a dict of its attributes."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    left: list[tuple[str, Any]] = [("", module)]
    while left:
        prefix, value = left.pop()
        if not isinstance(value, PickledObject) or id(value) in seen:
            continue
        seen.add(id(value))
        if value.called.startswith("torch._utils._rebuild_"):
            tensors[prefix] = _rebuilt(value, storage, source)
        elif isinstance(value.state, Mapping):
            left += [(f"{prefix}.{name}".lstrip("."), part) for name, part in value.state.items()]
    if not tensors:
        raise CheckpointError(f"{source} is TorchScript without named weights (frozen?), which cannot be converted")
    return tensors


def _rebuilt(record: PickledObject, storage: Storage, source: str) -> Tensor:
    inner = record.arguments[0] if record.arguments else None
    if record.called.rpartition(".")[2].startswith("_rebuild_parameter") and isinstance(inner, PickledObject):
        record = inner
    kind, arguments = record.called.rpartition(".")[2], record.arguments
    if kind not in ("_rebuild_tensor", "_rebuild_tensor_v2") or len(arguments) < 4:
        raise CheckpointError(f"{source}: a tensor of the kind {kind} cannot be read")
    outside, offset, sizes, strides = arguments[:4]
    if not isinstance(outside, Outside):
        raise CheckpointError(f"{source} is damaged: a tensor without data")
    key = _storage_key(outside.key, source)
    return _tensor(storage(key[2]), _storage_type(key, source), offset, sizes, strides, source)


def _tensor(content: memoryview, dtype: torch.dtype, offset: Any, sizes: Any, strides: Any, source: str) -> Tensor:
    """A tensor over bytes in memory. Raises CheckpointError if they do not contain it."""
    count = len(content) // dtype.itemsize
    try:
        sizes, strides = tuple(sizes), tuple(strides)
        if not all(type(value) is int for value in (*sizes, *strides, offset)):
            raise TypeError("sizes are whole numbers")
        if prod(sizes) > count:  # strides of 0 could make a huge tensor of a small file
            raise ValueError("too large")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")
            flat = torch.frombuffer(content, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
        return flat.as_strided(sizes, strides, offset)  # checks the bounds
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{source} is cut off or damaged: a tensor of size {reprlib.repr(sizes)} in {count} values"
        ) from error
