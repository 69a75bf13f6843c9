"""A network compiled by PyTorch. Imports little else, so that it can be measured where nothing else is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from opensapiens.models.human_model import HumanModel

IMAGES = "images"  # beside the names of the backbone's other inputs
COMPILATIONS = 64  # of one function: blocks, or heads, times batch sizes


class CompiledRuntime:
    """A network through torch.compile, on a CUDA GPU with channels-last heads and recorded CUDA graphs.

    Blocks are compiled one by one: they are alike, so that one compilation serves them all. A head is compiled whole,
    which makes one pass of statistics and one of normalization and SiLU over each of its large maps. On a GPU the
    kernels of each batch shape are recorded once and replayed, since launching them one by one takes longer than
    computing a small batch. Changes the network it is given.
    """

    def __init__(self, network: HumanModel, cuda_graphs: bool = True, channels_last: bool = True) -> None:
        """cuda_graphs, channels_last: have no effect on other devices than CUDA."""
        import torch._dynamo  # slow to import, and only needed here

        parameter = next(network.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        on_gpu = self.device.type == "cuda"
        if on_gpu and channels_last:
            network.heads.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # After 8 compilations of one function PyTorch silently goes on uncompiled: too few for several heads and batch
        # sizes.
        torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, COMPILATIONS)
        for part in (*network.blocks(), *network.heads.values()):
            part.compile(dynamic=False)
        self.network = network
        self._lock = Lock()  # compiling, recording and replaying a graph are not thread-safe
        self._graphs: dict[tuple[Any, ...], CUDAGraph] | None = {} if on_gpu and cuda_graphs else None

    def __call__(
        self,
        images_B3HW: Tensor,
        heads: Sequence[str] | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """As runtimes.Runtime. The first call of each batch size compiles for a while.

        Batches are filled up to a power of two with copies of the last image, so that few sizes are compiled.
        """
        count = len(images_B3HW)
        padding = (1 << (count - 1).bit_length()) - count
        batch = {IMAGES: images_B3HW, **(inputs or {})}
        if padding:
            batch = {
                name: torch.cat([rows, rows[-1:].expand(padding, *rows.shape[1:])]) for name, rows in batch.items()
            }
        with self._lock:
            return {head: maps[:count] for head, maps in self._maps(batch, heads).items()}

    def _maps(self, batch: dict[str, Tensor], heads: Sequence[str] | None) -> dict[str, Tensor]:
        def run(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
            inputs = {name: values for name, values in batch.items() if name != IMAGES}
            return self.network(batch[IMAGES], heads, inputs=inputs)

        if self._graphs is None:
            return run(batch)
        shapes = tuple((name, tuple(values.shape)) for name, values in batch.items())
        key = (shapes, tuple(heads or self.network.heads))
        if key not in self._graphs:
            self._graphs[key] = CUDAGraph(run, batch)
        return self._graphs[key](batch)


class CUDAGraph:
    """A function of named tensors whose kernels are recorded once, for their shapes, and replayed."""

    def __init__(
        self, function: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], inputs: Mapping[str, Tensor]
    ) -> None:
        self._inputs = {name: values.clone() for name, values in inputs.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(stream):
            for _ in range(3):  # compilation and tuning on first use must be over before the recording
                function(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph):
            self._maps = function(self._inputs)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The maps, copied: the next call writes into the same memory."""
        for name, values in inputs.items():
            self._inputs[name].copy_(values)
        self._graph.replay()
        return {head: maps.clone() for head, maps in self._maps.items()}
