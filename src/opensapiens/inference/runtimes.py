"""What runs a network: plain PyTorch, compiled PyTorch, OpenVINO or ONNX Runtime, all called alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from opensapiens.export.cache import cached_conversion
from opensapiens.export.formats import onnx_session, openvino_model
from opensapiens.models.human_model import HumanModel

RuntimeName = Literal["torch", "compiled", "openvino", "onnx"]
RUNTIMES: tuple[str, ...] = get_args(RuntimeName)
Size = tuple[int, int]


class RuntimeUnavailable(ValueError):
    """A runtime that this machine or this device cannot use; the message says why and what to do."""


class Runtime(Protocol):
    """A network that is ready to be called: normalised images to maps by head, as HumanModel.forward.

    device, dtype: where and in which type it takes images.
    """

    device: torch.device
    dtype: torch.dtype

    def __call__(self, images_B3HW: Tensor, heads: Sequence[str] | None = None, /) -> dict[str, Tensor]: ...


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
        settings.append(("openvino", "float32"))
    if device.type == "cpu" and _is_installed("onnxruntime") and _is_installed("onnxscript"):
        settings.append(("onnx", "float32"))
    return settings


def start_runtime(name: str, network: HumanModel, input_size: Size) -> HumanModel | Runtime:
    """A network in the runtime of that name, for images of the (height, width); "torch" is the network itself.

    "auto" is the one of choose_runtime, or plain PyTorch where its conversion cannot be kept. OpenVINO and ONNX Runtime
    convert the network the first time, which takes seconds, and keep the conversion; see export.cache. Raises
    RuntimeUnavailable for an unknown name, for one that does not run on the network's device or in its type, and
    ModuleNotFoundError where a library is missing.
    """
    if name == "auto":
        place = next(network.parameters())
        try:
            return start_runtime(choose_runtime(place.device, place.dtype), network, input_size)
        except OSError as error:
            warnings.warn(
                f"the network runs in plain PyTorch, since its conversion cannot be kept: {error}", stacklevel=2
            )
            return network
    if name not in RUNTIMES:
        raise RuntimeUnavailable(f"no runtime {name!r}; there are {', '.join(RUNTIMES)}")
    parameter = next(network.parameters())
    if name == "torch":
        return network
    if name == "compiled":
        return CompiledRuntime(network)
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
        raise RuntimeUnavailable(
            f"the runtime {name} is for float32 networks on the CPU, not {parameter.dtype} on {parameter.device}; "
            "leave the device and the type to their defaults, or use the runtime compiled or torch"
        )
    if name == "openvino":
        return OpenVINORuntime(cached_conversion(network, input_size, "openvino"), list(network.heads))
    return ONNXRuntime(cached_conversion(network, input_size, "onnx"), list(network.heads))


class OpenVINORuntime:
    """A network in OpenVINO on the CPU. Each choice of heads is compiled when it is first asked for."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, path: Path, heads: Sequence[str]) -> None:
        """path: an OpenVINO file that export wrote; heads: the names of its outputs."""
        self.path, self.heads = path, tuple(heads)
        self._requests: dict[tuple[str, ...], Any] = {}

    def __call__(self, images_B3HW: Tensor, heads: Sequence[str] | None = None) -> dict[str, Tensor]:
        """As Runtime."""
        names = tuple(heads or self.heads)
        if names not in self._requests:
            self._requests[names] = openvino_model(self.path, names).create_infer_request()
        request = self._requests[names]
        request.infer({"images": images_B3HW.contiguous().numpy()}, share_inputs=True)
        # Copied: the next call writes into the same memory.
        return {name: torch.from_numpy(request.get_tensor(name).data.copy()) for name in names}


class ONNXRuntime:
    """A network in ONNX Runtime on the CPU; nodes that serve no head asked for are not run."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, path: Path, heads: Sequence[str]) -> None:
        """path: an ONNX file that export wrote; heads: the names of its outputs."""
        import onnxruntime

        self.session, self.heads = onnx_session(path), tuple(heads)
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True

    def __call__(self, images_B3HW: Tensor, heads: Sequence[str] | None = None) -> dict[str, Tensor]:
        """As Runtime."""
        names = list(heads or self.heads)
        maps = self.session.run(names, {"images": images_B3HW.contiguous().numpy()}, self._options)
        return {name: torch.from_numpy(values) for name, values in zip(names, maps, strict=True)}


class CompiledRuntime:
    """A network through torch.compile, on a CUDA GPU with channels-last heads and recorded CUDA graphs.

    Blocks are compiled one by one: they are alike, so that one compilation serves them all. A head is compiled whole,
    which makes one pass of statistics and one of normalisation and SiLU over each of its large maps. On a GPU the
    kernels of each batch shape are recorded once and replayed, as launching them one by one takes longer than a small
    batch takes to compute. Changes the network it is given.
    """

    def __init__(self, network: HumanModel, cuda_graphs: bool = True, channels_last: bool = True) -> None:
        """cuda_graphs, channels_last: have no effect on other devices than CUDA."""
        parameter = next(network.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        on_gpu = self.device.type == "cuda"
        if on_gpu and channels_last:
            network.heads.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in (*network.backbone.blocks, *network.heads.values()):
            part.compile(dynamic=False)
        self.network = network
        self._graphs: dict[tuple[Any, ...], CUDAGraph] | None = {} if on_gpu and cuda_graphs else None

    def __call__(self, images_B3HW: Tensor, heads: Sequence[str] | None = None) -> dict[str, Tensor]:
        """As Runtime. The first call of each batch size compiles for a while."""
        if self._graphs is None:
            return self.network(images_B3HW, heads)
        key = (tuple(images_B3HW.shape), tuple(heads or self.network.heads))
        if key not in self._graphs:
            self._graphs[key] = CUDAGraph(lambda images: self.network(images, heads), images_B3HW)
        return self._graphs[key](images_B3HW)


class CUDAGraph:
    """A function of images whose kernels are recorded once, for one shape, and replayed."""

    def __init__(self, function: Callable[[Tensor], dict[str, Tensor]], images_B3HW: Tensor) -> None:
        self._images = images_B3HW.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(stream):
            for _ in range(3):  # what compiles or tunes itself on first use must have done so before the recording
                function(self._images)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph):
            self._maps = function(self._images)

    def __call__(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The maps, copied: the next call writes into the same memory."""
        self._images.copy_(images_B3HW)
        self._graph.replay()
        return {head: maps.clone() for head, maps in self._maps.items()}


def runtime_of(network: nn.Module | Runtime) -> str:
    """The name of the runtime that a network is in, as start_runtime takes it."""
    names = {OpenVINORuntime: "openvino", ONNXRuntime: "onnx", CompiledRuntime: "compiled"}
    return names.get(type(network), "torch")


def place_of(network: nn.Module | Runtime) -> tuple[torch.device, torch.dtype]:
    """Where, and in which type, a network in any runtime takes its images."""
    place = next(network.parameters()) if isinstance(network, nn.Module) else network
    return place.device, place.dtype


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ValueError:  # what a module that must not be imported is marked with
        return False
