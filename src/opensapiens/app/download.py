"""Everything that was predicted, as one ZIP file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from opensapiens.app.predicting import Predicted, PredictedVideo
from opensapiens.app.views import Look, camera, only_tasks
from opensapiens.inference.formats import FORMATS
from opensapiens.inference.options import CLOUDS, FormatName
from opensapiens.inference.results import Result
from opensapiens.storage.files import written

WANTED: tuple[FormatName, ...] = ("csv", "cutout", "glb")
"""Beside the usual ones, where the tasks and libraries that they need are there."""


def save_zip(items: Iterable[Predicted], look: Look, path: Path) -> None:
    """The files of `Result.save` for each photo, as the look has it, and those written for each video."""
    with written(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:  # most are compressed already
        for item in items:
            if isinstance(item, PredictedVideo):
                for file in item.files:
                    archive.write(file, file.name)
                continue
            result = only_tasks(item.result(look.person_score), look.tasks)
            with TemporaryDirectory(dir=path.parent) as folder:
                clouds = camera(result) if result.depth is not None and result.points is None else None
                for file in result.save(folder, item.name, ("default", *_formats(result)), point_cloud=clouds):
                    archive.write(file, file.name)


def _formats(result: Result) -> list[FormatName]:
    there = [name for name in WANTED if not FORMATS[name].needs or set(FORMATS[name].needs) & set(result.tasks())]
    return [name for name in there if name not in CLOUDS or find_spec("trimesh") is not None]
