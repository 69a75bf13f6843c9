"""Conversions kept on disk, so that a network is converted once and opened in a moment afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from opensapiens.checkpoints.conversion_cache import cache_folder
from opensapiens.export.formats import ENDINGS, Format, write_graph
from opensapiens.export.graph import extra_inputs, network_graph
from opensapiens.models.human_model import HumanModel
from opensapiens.storage.files import written_folder
from opensapiens.storage.folders import MARKER, discard, identity_of, mark

CONVERTED = "a converted network"  # the kind of the folder
CONVERSION = 6
"""Raised when the graph that is made of the same network changes."""


def cached_conversion(
    network: HumanModel, input_size: tuple[int, int], file_format: Format, calibration_B3HW: Tensor | None = None
) -> Path:
    """The file of a network in a format, for images of one (height, width); converted now if it is not there yet.

    calibration_B3HW: as write_graph takes it.
    It takes as much room as the weights. Any change of a weight, of the size or of the libraries makes another file.
    One that is not what was written, by its hash, is made anew.
    Raises OSError if the folder cannot be written.
    """
    folder = cache_folder() / fingerprint(network, input_size, file_format, calibration_B3HW)
    name = f"network{ENDINGS[file_format]}"
    if folder.is_dir() and not _is_whole(folder):  # a disk was full, or is damaged; by its name the folder is ours
        discard(folder)
    if not folder.is_dir():
        with written_folder(folder) as part:
            graph = network_graph(network, input_size)
            extra = list(extra_inputs(network.backbone.config, input_size, 1))
            write_graph(graph, list(network.heads), part / name, extra, calibration_B3HW)
            mark(part, CONVERTED, {"files": _hashes(part)})
    return folder / name


def _is_whole(folder: Path) -> bool:
    marker = identity_of(folder, CONVERTED)
    return marker is not None and marker.get("files") == _hashes(folder)


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(folder.iterdir()):
        if path.name != MARKER:
            with path.open("rb") as file:
                hashes[path.name] = hashlib.file_digest(file, "blake2b").hexdigest()
    return hashes


def fingerprint(
    network: HumanModel, input_size: tuple[int, int], file_format: Format, calibration_B3HW: Tensor | None = None
) -> str:
    """32 hexadecimal digits that stand for the weights, the shape, the input size, the format, the images that it is
    made with, and the libraries."""
    libraries: Sequence[str] = {"onnx": ("onnx", "onnxscript"), "openvino": ("openvino",), "torch": ()}[file_format]
    about: list[object] = [CONVERSION, file_format, input_size, network.backbone.config, network.heads]
    about += [f"{name} {version(name)}" for name in ("torch", *libraries)]
    digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
    made_with = {} if calibration_B3HW is None else {"calibration": calibration_B3HW}
    for name, tensor in {**network.state_dict(), **made_with}.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
