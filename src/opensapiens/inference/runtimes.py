"""Runtimes of a network: plain PyTorch, compiled PyTorch, OpenVINO or ONNX Runtime, all called alike."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, get_args

import torch
from torch import Tensor, nn

from opensapiens.export.cache import cached_conversion
from opensapiens.export.calibration import calibration_images
from opensapiens.export.formats import as_arrays, onnx_session, openvino_inputs, openvino_model
from opensapiens.geometry.view import Preprocessing
from opensapiens.inference.compiled import CompiledRuntime
from opensapiens.inference.options import RuntimeName
from opensapiens.models.human_model import HumanModel

RUNTIMES: tuple[str, ...] = get_args(RuntimeName)


class RuntimeUnavailable(ValueError):
    """A runtime that this machine or this device cannot use; the message says why and what to do."""


class Runtime(Protocol):
    """A network that is ready to be called, from any number of threads: normalized images to maps by head, as
    HumanModel.forward.

    device, dtype: where and in which type it takes images.
    """

    device: torch.device
    dtype: torch.dtype

    def __call__(
        self,
        images_B3HW: Tensor,
        heads: Sequence[str] | None = None,
        /,
        *,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]: ...


def choose_runtime(device: torch.device, dtype: torch.dtype = torch.float32) -> RuntimeName:
    """The fastest runtime that is installed: OpenVINO for float32 on a CPU, compiled on a CUDA GPU, else plain."""
    if device.type == "cpu" and dtype == torch.float32 and _is_installed("openvino"):
        return "openvino"
    if device.type == "cuda" and _is_installed("triton"):
        return "compiled"
    return "torch"


def available_settings(device: torch.device) -> list[tuple[str, str]]:
    """Every (runtime, type) that this machine can run on a device; plain float32 first."""
    settings = [("torch", "float32"), ("torch", "bfloat16")]
    if device.type == "cuda" and _is_installed("triton"):
        settings += [("compiled", "float32"), ("compiled", "bfloat16")]
    if device.type == "cpu" and _is_installed("openvino"):
        settings += [("openvino", "float32"), ("openvino-int8", "float32")]
    if device.type == "cpu" and _is_installed("onnxruntime") and _is_installed("onnxscript"):
        settings.append(("onnx", "float32"))
    return settings


def start_runtime(name: str, network: HumanModel, preprocessing: Preprocessing) -> HumanModel | Runtime:
    """A network in the runtime of that name, for images prepared like this; "torch" is the network itself.

    "auto" is the one of choose_runtime, or plain PyTorch where its conversion cannot be kept. OpenVINO and ONNX Runtime
    convert the network the first time, which takes seconds, and keep the conversion; see export.cache. Raises
    RuntimeUnavailable for an unknown name, for one that does not run on the network's device or in its type, and
    ModuleNotFoundError where a library is missing.
    """
    device, dtype = place_of(network)
    if name == "auto":
        try:
            return start_runtime(choose_runtime(device, dtype), network, preprocessing)
        except OSError as error:
            warnings.warn(
                f"the network runs in plain PyTorch, since its conversion cannot be kept: {error}", stacklevel=2
            )
            return network
    if name not in RUNTIMES:
        raise RuntimeUnavailable(f"no runtime {name!r}; there are {', '.join(RUNTIMES)}")
    if name == "torch":
        return network
    if name == "compiled":
        return CompiledRuntime(network)
    if device.type != "cpu" or dtype != torch.float32:
        raise RuntimeUnavailable(
            f"the runtime {name} is for float32 networks on the CPU, not {dtype} on {device}; leave the device and "
            "the type at their defaults, or use the runtime compiled or torch"
        )
    input_size = preprocessing.input_size
    if name == "openvino":
        return OpenVINORuntime(cached_conversion(network, input_size, "openvino"), list(network.heads))
    if name == "openvino-int8":
        images = calibration_images(network, preprocessing)
        return OpenVINORuntime(cached_conversion(network, input_size, "openvino", images), list(network.heads), name)
    return ONNXRuntime(cached_conversion(network, input_size, "onnx"), list(network.heads))


class OpenVINORuntime:
    """A network in OpenVINO on the CPU. Each choice of heads is compiled when it is first asked for."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, path: Path, heads: Sequence[str], name: str = "openvino") -> None:
        """path: an OpenVINO file that export wrote; heads: the names of its outputs; name: of the runtime."""
        self.path, self.heads, self.name = path, tuple(heads), name
        self._lock = Lock()
        self._compiled: dict[tuple[str, ...], tuple[Any, list[Any]]] = {}  # by heads: the model and its idle requests

    def __call__(
        self, images_B3HW: Tensor, heads: Sequence[str] | None = None, inputs: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """As Runtime."""
        names = tuple(heads or self.heads)
        with self._lock:
            if names not in self._compiled:
                self._compiled[names] = openvino_model(self.path, names), []
            model, idle = self._compiled[names]
            request = idle.pop() if idle else model.create_infer_request()  # used by one thread at a time
        request.infer(openvino_inputs(request, images_B3HW, inputs), share_inputs=True)
        # Copied: the next call writes into the same memory.
        maps = {name: torch.from_numpy(request.get_tensor(name).data.copy()) for name in names}
        idle.append(request)
        return maps


class ONNXRuntime:
    """A network in ONNX Runtime on the CPU; nodes that serve no head asked for are not run."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, path: Path, heads: Sequence[str]) -> None:
        """path: an ONNX file that export wrote; heads: the names of its outputs."""
        import onnxruntime

        self.session, self.heads = onnx_session(path), tuple(heads)
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True

    def __call__(
        self, images_B3HW: Tensor, heads: Sequence[str] | None = None, inputs: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """As Runtime."""
        names = list(heads or self.heads)
        maps = self.session.run(names, as_arrays(images_B3HW, inputs), self._options)
        return {name: torch.from_numpy(values) for name, values in zip(names, maps, strict=True)}


def runtime_of(network: nn.Module | Runtime) -> str:
    """The name of a network's runtime, as start_runtime takes it."""
    if isinstance(network, OpenVINORuntime):
        return network.name
    return {ONNXRuntime: "onnx", CompiledRuntime: "compiled"}.get(type(network), "torch")


def place_of(network: nn.Module | Runtime) -> tuple[torch.device, torch.dtype]:
    """The device and the type in which a network in any runtime takes its images."""
    place = next(network.parameters()) if isinstance(network, nn.Module) else network
    return place.device, place.dtype


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ValueError:  # of a module that was marked as not to be imported
        return False
