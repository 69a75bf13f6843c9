"""Graphs as files, and files as something that is called like a network."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from opensapiens.export.description import KEY
from opensapiens.export.graph import axis_names
from opensapiens.export.libraries import installed
from opensapiens.export.openvino_passes import EXACT, split_transposed_convolutions, use_8_bits, use_instance_norm

Format = Literal["onnx", "openvino", "torch"]
IMAGES = "images"
"""Name of the first input of every file."""


class Session(Protocol):
    """Normalized float images (B, 3, H, W) on the CPU, and what the backbone wants beside them, to maps by head."""

    def __call__(self, images: Tensor, inputs: Mapping[str, Tensor] | None = None, /) -> dict[str, Tensor]: ...


ENDINGS: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
"""How the file of a format ends. OpenVINO's weights lie beside it in .bin, those of a large ONNX file in .onnx.data."""

LARGEST_SINGLE_ONNX = 1_800_000_000  # bytes; its container ends at 2 GiB


class ExportError(ValueError):
    """A model that cannot be exported, or an exported file that does not answer as the model does."""


def as_arrays(images: Tensor, inputs: Mapping[str, Tensor] | None) -> dict[str, np.ndarray]:
    """What ONNX Runtime and OpenVINO take: all inputs by name."""
    return {name: values.contiguous().numpy() for name, values in {IMAGES: images, **(inputs or {})}.items()}


def write_graph(
    graph: ExportedProgram,
    heads: Sequence[str],
    path: Path,
    extra: Sequence[str] = (),
    calibration_B3HW: Tensor | None = None,
    about: str = "",
) -> None:
    """Write a graph to a file in the format of its ending, outputs named after the heads in their order.

    extra: names of the inputs after the images, as network_graph has them. calibration_B3HW: for OpenVINO only; with
    these images the products are computed in 8 bits, see openvino_passes. about: JSON that goes into the file under
    description.KEY.
    Raises ModuleNotFoundError, with what to install, where the format's library is missing.
    """
    if path.suffix == ENDINGS["openvino"]:
        _write_openvino(graph, list(heads), path, list(extra), calibration_B3HW, about)
    else:
        {".onnx": _write_onnx, ".pt2": _write_torch}[path.suffix](graph, list(heads), path, list(extra), about)


def open_session(path: Path, heads: Sequence[str]) -> Session:
    """An exported file as a function of images, all heads at once. Raises as write_graph."""
    return {".onnx": _open_onnx, ".xml": _open_openvino, ".pt2": _open_torch}[path.suffix](path, list(heads))


def _write_torch(graph: ExportedProgram, heads: list[str], path: Path, extra: list[str], about: str) -> None:
    with _quiet():
        names = {"heads": "\n".join(heads), "inputs": "\n".join([IMAGES, *extra]), KEY: about}
        torch.export.save(graph, path, extra_files=names)


def _open_torch(path: Path, heads: list[str]) -> Session:
    named = {"inputs": ""}
    module = torch.export.load(path, extra_files=named).module()
    extra = str(named["inputs"]).split("\n")[1:]

    def run(images: Tensor, inputs: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        with torch.inference_mode():
            return dict(zip(heads, module(images, *((inputs or {})[name] for name in extra)), strict=True))

    return run


def _write_onnx(graph: ExportedProgram, heads: list[str], path: Path, extra: list[str], about: str) -> None:
    for name in ("onnx", "onnxscript"):
        installed(name)
    weights = sum(tensor.nbytes for tensor in graph.state_dict.values())
    with _quiet():
        program = torch.onnx.export(graph, dynamo=True, verbose=False, input_names=[IMAGES, *extra], output_names=heads)
        assert program is not None
        program.rename_axes({symbol: name for symbol, name in axis_names(graph).items()})
        if about:
            program.model.metadata_props[KEY] = about
        program.save(path, external_data=weights > LARGEST_SINGLE_ONNX)


def _open_onnx(path: Path, heads: list[str]) -> Session:
    session = onnx_session(path)

    def run(images: Tensor, inputs: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        maps = session.run(heads, as_arrays(images, inputs))
        return {head: torch.from_numpy(values) for head, values in zip(heads, maps, strict=True)}

    return run


def onnx_session(path: Path) -> Any:
    """An onnxruntime.InferenceSession on the CPU with as many threads as PyTorch uses."""
    onnxruntime = installed("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _write_openvino(
    graph: ExportedProgram, heads: list[str], path: Path, extra: list[str], calibration: Tensor | None, about: str
) -> None:
    openvino = installed("openvino")
    with _quiet():
        model = openvino.convert_model(graph)
    for output, head in zip(model.outputs, heads, strict=True):
        output.get_tensor().set_names({head})
    placeholders = graph.graph_module.graph.find_nodes(op="placeholder")[-1 - len(extra) :]
    shapes = {}
    for given, node, name in zip(model.inputs, placeholders, [IMAGES, *extra], strict=True):
        given.get_tensor().set_names({name})
        given.get_node().set_friendly_name(name)
        # The reader of PyTorch's graphs forgets which sides are fixed, and fixed ones run faster.
        shapes[name] = [-1, *(side if isinstance(side, int) else -1 for side in node.meta["val"].shape[1:])]
    model.reshape(shapes)
    use_instance_norm(model)
    if calibration is not None:
        split_transposed_convolutions(model)
        use_8_bits(model, calibration)
    if about:
        model.set_rt_info(about, [KEY])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:  # "basic_ios::clear: iostream error"
        raise OSError(errno.EIO, "OpenVINO could not write it; is the disk full?", str(path)) from error


def openvino_inputs(request: Any, images: Tensor, inputs: Mapping[str, Tensor] | None) -> dict[str, np.ndarray]:
    """The inputs of a request. Raises ValueError for a missing one, in whose place OpenVINO takes the last call's."""
    given = as_arrays(images, inputs)
    missing = [name for tensor in request.model_inputs if (name := tensor.get_any_name()) not in given]
    if missing:
        raise ValueError(f"the network wants {', '.join(missing)} beside the images: see BackboneConfig.view_inputs")
    return given


def _open_openvino(path: Path, heads: list[str]) -> Session:
    request = openvino_model(path, heads).create_infer_request()

    def run(images: Tensor, inputs: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        request.infer(openvino_inputs(request, images, inputs), share_inputs=True)
        return {head: torch.from_numpy(request.get_tensor(head).data.copy()) for head in heads}

    return run


def openvino_model(path: Path, heads: Sequence[str]) -> Any:
    """The part of an OpenVINO file that these heads need, compiled for the CPU with as many threads as PyTorch uses."""
    openvino = installed("openvino")
    core = openvino.Core()
    model = core.read_model(path)
    wanted = openvino.Model([model.output(head) for head in heads], model.get_parameters())
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return core.compile_model(wanted, "CPU", {**options, **EXACT})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converters' talk about what they do not need, which is no concern of the user's."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
