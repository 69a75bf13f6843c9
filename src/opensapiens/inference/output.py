"""The files of `opensapiens predict` in an output folder, and which inputs are done.

Each input has a record OUTPUT/.opensapiens/NAME.json. It is written before the first file named NAME_..., which marks
those files as ours; at the end it holds the input, the options and the list of files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from opensapiens.inference.formats import FORMATS
from opensapiens.inference.pipeline import People
from opensapiens.storage.files import write_json
from opensapiens.storage.folders import FolderError
from opensapiens.storage.json_files import read_json
from opensapiens.storage.text_files import FileError

RECORDS = ".opensapiens"
FOLDERS = tuple(dict.fromkeys(["segments", *(known.folder for known in FORMATS.values() if known.folder)]))
ENDINGS = (*FOLDERS, "features.npz", *(ending for known in FORMATS.values() for ending in known.endings))
"""Of the files and folders that may be written for any input, after NAME_; maps add their own."""
LONGEST_NAME = 200  # bytes; file systems take 255, with the endings


def distinct_paths(files: Sequence[Path]) -> list[str]:
    """The name of each file, with as many of its folders ("cam1/0001.jpg") as distinguish it from the others."""
    parts = [file.absolute().parts for file in files]
    endings = Counter(path[-length:] for path in parts for length in range(1, len(path) + 1))
    lengths = [next((k for k in range(1, len(path)) if endings[path[-k:]] == 1), 1) for path in parts]
    return ["/".join(path[-length:]) for path, length in zip(parts, lengths, strict=True)]


def output_names(paths: Sequence[str]) -> list[str]:
    """A distinct name for the output of each file: its `distinct_paths` without the ending and with _ for /; with the
    ending, or a number, where that is taken.

    Names that would be too long for the file system with an ending are cut, and end in a hash of the full name.
    """
    names: dict[str, None] = {}
    stems = [str(PurePosixPath(path).with_suffix("")).replace("/", "_") for path in paths]
    for path, stem in zip(paths, stems, strict=True):
        name = unique = _fitting(stem if stems.count(stem) == 1 else path.replace("/", "_").replace(".", "_"))
        number = 2
        while unique in names:
            unique, number = f"{name}_{number}", number + 1
        names[unique] = None
    return list(names)


def _fitting(name: str) -> str:
    whole = os.fsencode(name)
    if len(whole) <= LONGEST_NAME:
        return name
    return whole[:LONGEST_NAME].decode("utf-8", "ignore") + "_" + hashlib.sha256(whole).hexdigest()[:8]


def without_own(files: Sequence[Path], named: Collection[Path]) -> list[Path]:
    """The files without those that an earlier run wrote, unless they are named themselves."""
    return [file for file in files if file in named or not is_own(file)]


def is_own(path: Path) -> bool:
    """Whether predict wrote this file."""
    names = [path.name[:place] for place, letter in enumerate(path.name) if letter == "_"]
    records = [_record(path.parent, name) for name in names] if (path.parent / RECORDS).is_dir() else []
    # The record of an unfinished input has no files.
    return any(record is not None and path.name in record.get("files", [path.name]) for record in records)


def endings_of(people: People) -> tuple[str, ...]:
    """The endings, after NAME_, of everything that may be written for an input."""
    overlays = [f"{name}.{ending}" for name in people.model_of_task for ending in ("jpg", "mp4")]
    files = [ending for task in people.dense_tasks.values() for ending in task.blank((1, 1)).files()]
    return (*ENDINGS, *overlays, *files)


@dataclass(frozen=True)
class OutputRecord:
    """The record of the input `file`, whose results are the files NAME_... in `folder`."""

    folder: Path
    name: str
    file: Path

    def check(self, endings: Sequence[str]) -> None:
        """Raises FolderError where results would replace files that are not ours, or those of another input.

        endings: see `endings_of`.
        """
        record = _record(self.folder, self.name)
        paths = [self.folder / f"{self.name}_{ending}" for ending in endings]
        taken = [path for path in paths if os.path.lexists(path)] if record is None else []
        folders = [self.folder / f"{self.name}_{folder}" for folder in FOLDERS]
        taken += [path for path in folders if path.is_symlink()]
        if taken:
            raise FolderError(
                f"{self.file}: {taken[0]} exists, and opensapiens predict did not write it; choose another output "
                "folder"
            )
        if record is not None and record.get("file") != self._input:
            raise FolderError(
                f"{self.file}: {self.folder} holds the results of {record.get('file')} under the name {self.name}; "
                "choose another output folder"
            )

    def begin(self, endings: Sequence[str]) -> None:
        """Make files named NAME_... ours, before the first is written. Raises FolderError as `check`."""
        self.check(endings)
        self._write({})

    def finish(self, asked: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Record that everything asked for has been written."""
        self._write({"asked": asked, "files": [path.name for path in files]})

    def is_done(self, asked: Mapping[str, Any]) -> bool:
        """Whether the input is done with the same options, and all of its files exist."""
        record = _record(self.folder, self.name) or {}
        same = record.get("file") == self._input and record.get("asked") == json.loads(json.dumps(asked))
        return same and all((self.folder / path).exists() for path in record["files"])

    @property
    def _input(self) -> str:
        return str(self.file.resolve())

    def _write(self, content: Mapping[str, Any]) -> None:
        write_json(self.folder / RECORDS / f"{self.name}.json", {"file": self._input, **content})


def described_models(people: People) -> dict[str, Any]:
    """Everything in models that determines their results: heads with labels (a hash), names, weights, preprocessing."""
    heads = json.dumps([asdict(loaded.description)["heads"] for loaded in people.models])
    return {
        "heads": hashlib.sha256(heads.encode()).hexdigest()[:16],
        "models": [loaded.description.name for loaded in people.models],
        "weights": [loaded.weights for loaded in people.models],
        "preprocessing": [asdict(loaded.description.preprocessing) for loaded in people.models],
    }


def _record(folder: Path, name: str) -> dict[str, Any] | None:
    path = folder / RECORDS / f"{name}.json"
    if not path.exists():
        return None
    try:
        record = read_json(path)
    except FileError:
        return {}
    return record if isinstance(record, dict) else {}
