"""`opensapiens export`: one file that answers as the network does, and a report of how exactly."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.export.formats import ENDINGS, ExportError, Format, open_session, write_graph
from opensapiens.export.graph import extra_inputs, network_graph
from opensapiens.export.parity import check_images, compare
from opensapiens.models.human_model import HumanModel
from opensapiens.storage.files import temporary_beside, write_json
from opensapiens.storage.json_files import read_json
from opensapiens.storage.pictures import ImageSource, read_image

MADE_BY = "opensapiens export"  # in the report, which marks the files beside it as ours
TOLERANCE = 1e-3
"""Largest difference allowed between a map of the file and of plain PyTorch, over the largest value of that map."""


def export_network(
    network: HumanModel,
    description: ModelDescription,
    file_format: Format,
    folder: Path,
    any_size: bool = False,
    photo: ImageSource | None = None,
) -> Path:
    """Write NAME.onnx, NAME.xml with NAME.bin, or NAME.pt2, and NAME.json with what is in it and how exact it is.

    The file takes `images` (B, 3, H, W), RGB normalized as the report says, any number at a time, and what else the
    report lists under "inputs" (of nano: `place` (B, 2), `backbones.nano.PLACE`). It has one output per head under its
    name. It is opened again and compared with plain PyTorch on a photo and its mirror image.

    Args:
        network: on the CPU in float32, in evaluation mode.
        description: of this network.
        folder: made if missing.
        any_size: leave height and width free, in whole patches.
        photo: by default the portrait that comes with the package.

    Returns:
        the file.

    Raises:
        ExportError: the file answers differently; it stays, and its report says how. Or a file of its name is there
            that no export wrote.
        ModuleNotFoundError: a library of the extra "export" is missing.
    """
    size = description.preprocessing.input_size
    path = folder / f"{description.name}{ENDINGS[file_format]}"
    _check_free(path)
    started = time.perf_counter()
    extra = extra_inputs(network.backbone.config, size, 1)
    part = temporary_beside(path)
    part.mkdir(parents=True)
    try:  # a format may write several files that name each other
        write_graph(network_graph(network, size, any_size), list(network.heads), part / path.name, list(extra))
        write_json(path.with_suffix(".json"), {"made_by": MADE_BY, "passed": False})  # what follows is ours
        for file in part.iterdir():
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    seconds = time.perf_counter() - started

    images = check_images(read_image(photo if photo is not None else portrait()), description.preprocessing)
    errors = compare(network, open_session(path, list(network.heads)), images, description.heads)
    worst = max(error["relative"] for error in errors.values())
    report = {
        "made_by": MADE_BY,
        "model": description.name,
        "format": file_format,
        "inputs": {
            "images": ["batch", 3, *(("height", "width") if any_size else size)],
            **{name: ["batch", *values.shape[1:]] for name, values in extra.items()},
        },
        "any_size": any_size,
        "preprocessing": asdict(description.preprocessing),
        "heads": {name: asdict(head) for name, head in description.heads.items()},
        "license": description.license,
        "seconds_to_convert": round(seconds, 1),
        "difference_from_pytorch": errors,
        "tolerance": TOLERANCE,
        "passed": worst <= TOLERANCE,
    }
    write_json(path.with_suffix(".json"), report)
    if not worst <= TOLERANCE:
        raise ExportError(
            f"{path} answers differently from PyTorch: by {worst:.2g} of a map's largest value, where {TOLERANCE:g} is "
            f"allowed; {path.with_suffix('.json')} has the figures by head"
        )
    return path


def _check_free(path: Path) -> None:
    """Raises ExportError for files in the place of an export that no earlier one wrote."""
    report = path.with_suffix(".json")
    try:
        ours = read_json(report)["made_by"] == MADE_BY
    except (ValueError, KeyError, TypeError):
        ours = False
    for there in (report, path, path.with_suffix(".bin")):
        if there.exists() and not ours:
            raise ExportError(f"{there} is there already, and is not of opensapiens export: choose another folder")


def portrait() -> Path:
    """The photo that comes with the package: Commodore Grace Hopper, US Navy, public domain."""
    return Path(str(files("opensapiens") / "export" / "portrait.jpg"))
