"""`opensapiens export`: one file that answers as the network does, and a report of how exactly."""

from __future__ import annotations

import json
import shutil
import time
from importlib.resources import files
from pathlib import Path

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.export.description import describe_file
from opensapiens.export.formats import ENDINGS, IMAGES, ExportError, Format, open_session, write_graph
from opensapiens.export.graph import extra_inputs, named_shapes, network_graph
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
    """Write NAME.onnx, NAME.xml with NAME.bin, or NAME.pt2, and beside it a JSON file of its name (NAME.onnx.json).

    The file takes `images` (B, 3, H, W), any number at a time, and what else the JSON lists under "inputs" (of nano:
    `place` (B, 2), `backbones.nano.PLACE`). It has one output per head under its name. The JSON says how inputs are
    made and outputs read, see `export.description`, and is in the file too. The file is opened again and compared with
    plain PyTorch on a photo and its mirror image; how exact it is stands in the JSON under "check".

    Args:
        network: on the CPU in float32, in evaluation mode.
        description: of this network.
        folder: made if missing.
        any_size: leave height and width free, in whole patches.
        photo: by default the portrait that comes with the package.

    Returns:
        the file.

    Raises:
        ExportError: the file answers differently; it stays, and its JSON says how. Or a file of its name is there
            that no export wrote.
        ModuleNotFoundError: a library of the extra "export" is missing.
    """
    size = description.preprocessing.input_size
    path = folder / f"{description.name}{ENDINGS[file_format]}"
    report = report_of(path)
    _check_free(path)
    started = time.perf_counter()
    extra = extra_inputs(network.backbone.config, size, 1)
    part = temporary_beside(path)
    part.mkdir(parents=True)
    try:  # a format may write several files that name each other
        graph = network_graph(network, size, any_size)
        shapes = zip(([IMAGES, *extra], list(network.heads)), named_shapes(graph), strict=True)
        inputs, outputs = (dict(zip(*named, strict=True)) for named in shapes)
        about = {"made_by": MADE_BY, "format": file_format} | describe_file(description, inputs, outputs)
        write_graph(graph, list(network.heads), part / path.name, list(extra), about=json.dumps(about))
        write_json(report, {**about, "check": {"passed": False}})  # what follows is ours
        for file in part.iterdir():
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    seconds = time.perf_counter() - started

    images = check_images(read_image(photo if photo is not None else portrait()), description.preprocessing)
    errors = compare(network, open_session(path, list(network.heads)), images, description.heads)
    worst = max(error["relative"] for error in errors.values())
    check = {
        "passed": worst <= TOLERANCE,
        "difference_from_pytorch": errors,
        "tolerance": TOLERANCE,
        "seconds_to_convert": round(seconds, 1),
    }
    write_json(report, {**about, "check": check})
    if not worst <= TOLERANCE:
        raise ExportError(
            f"{path} answers differently from PyTorch: by {worst:.2g} of a map's largest value, where {TOLERANCE:g} is "
            f"allowed; {report} has the figures by head"
        )
    return path


def report_of(path: Path) -> Path:
    """The JSON file beside an exported file."""
    return path.with_name(f"{path.name}.json")


def _check_free(path: Path) -> None:
    """Raises ExportError for files in the place of an export that no earlier one wrote."""
    report = report_of(path)
    try:
        ours = read_json(report)["made_by"] == MADE_BY
    except (ValueError, KeyError, TypeError):
        ours = False
    weights = {".xml": path.with_suffix(".bin")}.get(path.suffix, path.with_name(f"{path.name}.data"))
    for there in (report, path, weights):
        if there.exists() and not ours:
            raise ExportError(f"{there} is there already, and is not of opensapiens export: choose another folder")


def portrait() -> Path:
    """The photo that comes with the package: Commodore Grace Hopper, US Navy, public domain."""
    return Path(str(files("opensapiens") / "export" / "portrait.jpg"))
