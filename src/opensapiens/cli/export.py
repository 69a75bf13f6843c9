"""`opensapiens export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro


def export(
    model: Annotated[str, tyro.conf.Positional],
    /,
    format: Literal["onnx", "openvino", "torch"] = "onnx",
    output: Path = Path("exported"),
    any_size: bool = False,
    photo: Path | None = None,
) -> int:
    """Write a model as one file for another runtime, and check that its outputs are the model's.

    The file takes any number of images at a time and has one output per head. A JSON, beside it and in it, says how
    inputs are made and outputs read, so that it can be used without this package (see docs/export.md); the one beside
    it also how far the outputs are from plain PyTorch on a photo.
    Formats "onnx" and "openvino" need the extra "export"; "torch" is a torch.export program, for Python and C++.

    For example:
    $ opensapiens export nano --format onnx --output exported
    $ opensapiens export nano --format openvino --any-size

    Args:
        model: name or folder of a model.
        format: onnx, openvino or torch.
        output: the folder for the files; created if missing.
        any_size: accept images of any height and width in whole patches, not only of the model's own size. Such a file
            is slower in some runtimes.
        photo: the photo to check with; by default a portrait that comes with the package.
    """
    from opensapiens.checkpoints.catalog import model_folder
    from opensapiens.checkpoints.model_folder import load_model
    from opensapiens.export.export import export_network, report_of

    network, description = load_model(model_folder(model))
    path = export_network(network, description, format, output, any_size, photo)
    print(f"{path}: matches PyTorch; the figures, and how to use the file, are in {report_of(path)}")
    return 0
