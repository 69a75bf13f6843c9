"""The speed of a model on this machine, part by part, in every runtime, compared with plain PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.model_folder import build_model, read_description
from opensapiens.evaluation.evaluate import evaluate
from opensapiens.evaluation.options import BenchOptions, EvaluateOptions
from opensapiens.inference.forward import network_inputs, raw_maps, read_maps, view_inputs
from opensapiens.inference.loading import load, usable_device
from opensapiens.inference.pipeline import People, SourceImage
from opensapiens.inference.results import Result
from opensapiens.inference.runtimes import available_settings, place_of
from opensapiens.models.cost import full_flops
from opensapiens.storage.pictures import read_image
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.normals import NormalsTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask

REFERENCE = ("torch", "float32")
MATRIX_SIDE = {"cpu": 1536, "cuda": 8192, "mps": 4096}
COLUMNS = (
    ("runtime", "{}"),
    ("type", "{}"),
    ("decode ms", "{:.1f}"),
    ("pre ms", "{:.1f}"),
    ("network ms", "{:.1f}"),
    ("post ms", "{:.1f}"),
    ("images/s", "{:.2f}"),
    ("peak GB", "{:.2f}"),
    ("matrix rate", "{:.0%}"),
    ("x float32", "{:.2f}"),
    ("x bfloat16", "{:.2f}"),
    ("same labels", "{:.2%}"),
    ("points off px", "{:.3f}"),
    ("mean OKS", "{:.4f}"),
    ("mIoU", "{:.4f}"),
    ("depth R2", "{:.4f}"),
    ("normals deg", "{:.2f}"),
)
SHOWN_QUALITY = {
    PoseTask.name: ("mean OKS", "mean_OKS"),
    SegmentationTask.name: ("mIoU", "mIoU"),
    DepthTask.name: ("depth R2", "r2"),
    NormalsTask.name: ("normals deg", "mean"),
}
"""Task -> a column of the table and the figure of `evaluate` in it; all figures are under "quality"."""


@dataclass(eq=False)
class Setting:
    """One way of running the model, and the least time of each part in seconds per image.

    network .. decode: on a CPU processor time of all threads, which other programs disturb less; else elapsed time.
    figures: the row of bench().
    """

    runtime: str
    dtype: str
    people: People
    network: float = float("inf")
    preprocessing: float = float("inf")
    postprocessing: float = float("inf")
    decode: float = float("inf")
    end_to_end: float = float("inf")
    peak_bytes: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)


def bench(model: str | Path, photo: str | Path, options: BenchOptions = BenchOptions()) -> list[dict[str, Any]]:
    """One row of figures per (runtime, type), in rounds over all settings, so that a busy machine disturbs them alike.

    Each row has the milliseconds per image of decoding the photo, preprocessing, network and postprocessing; images per
    second end to end; peak memory; the network's share of the rate of a matrix product in its type, measured in the
    same run; its speedup over plain PyTorch in float32 and in bfloat16; and how its predictions differ from those of
    plain float32. photo: is taken for one person. Raises what load() and evaluate() raise.
    """
    place = usable_device(options.device)
    settings = [_setting(text) for text in options.settings] or available_settings(place)
    batch_size = options.batch_size
    rows = []
    for runtime, dtype in dict.fromkeys([REFERENCE, *settings]):
        people = load(model, device=place, dtype=dtype, runtime=runtime, batch_size=batch_size)
        rows.append(Setting(runtime, dtype, people))
    image = read_image(photo)
    for _ in range(options.rounds + 1):  # the first round compiles and warms up; its times are not the shortest
        for row in rows:
            _time(row, Path(photo), image, batch_size)
    rates = {dtype: matrix_rate(place, dtype, options.rounds) for dtype in {row.dtype for row in rows}}
    bfloat16 = next((row for row in rows if (row.runtime, row.dtype) == ("torch", "bfloat16")), None)
    expected = _answers(rows[0].people, image)
    flops = _flops(model)
    for row in rows:
        row.figures = {
            "runtime": row.runtime,
            "type": row.dtype,
            "device": str(place),
            "batch": batch_size,
            "threads": torch.get_num_threads(),
            "decode ms": row.decode * 1e3,
            "pre ms": row.preprocessing * 1e3,
            "network ms": row.network * 1e3,
            "post ms": row.postprocessing * 1e3,
            "images/s": 1 / row.end_to_end,
            "peak GB": row.peak_bytes / 1e9,
            "matrix rate": flops / row.network / rates[row.dtype],
            "matrix GFLOP/s": rates[row.dtype] / 1e9,
            "x float32": rows[0].network / row.network,
            **({} if bfloat16 is None else {"x bfloat16": bfloat16.network / row.network}),
            **difference(expected, _answers(row.people, image)),
        }
        if options.data is not None:
            scores = row.figures["quality"] = quality(row.people, options.data, options.limit)
            row.figures |= {
                column: scores[task][figure] for task, (column, figure) in SHOWN_QUALITY.items() if task in scores
            }
    return [row.figures for row in rows]


def _setting(text: str) -> tuple[str, str]:
    runtime, _, dtype = text.partition(":")
    return runtime, dtype or "float32"


def quality(people: People, data: str | Path, limit: int | None = None) -> dict[str, dict[str, Any]]:
    """The figures of evaluate() on a folder of synthetic shards, by task."""
    options = EvaluateOptions(limit=limit)
    return {task: evaluate(task, people, data, None, options) for task in people.model_of_task}


def matrix_rate(device: torch.device, dtype: str, rounds: int = 3) -> float:
    """Floating-point operations per second of a product of two large square matrices, the best of `rounds`.

    On a CPU per second of processor time, as in the rows: the rate of one core.
    """
    side = MATRIX_SIDE.get(device.type, 2048)
    matrix = torch.randn(side, side, device=device, dtype=getattr(torch, dtype))
    seconds = [_clocked(lambda: matrix @ matrix, device)[device.type == "cpu"] for _ in range(rounds + 1)]
    return 2 * side**3 / min(seconds)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as lines of text under a line of names; a figure that a row lacks is a dash."""
    columns = [(name, form) for name, form in COLUMNS if any(name in row for row in rows)]
    cells = [[name for name, _ in columns]]
    cells += [[form.format(row[name]) if name in row else "-" for name, form in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def _flops(model: str | Path) -> int:
    """Operations of one image through all heads, counted without the weights."""
    description = read_description(model_folder(model))
    with torch.device("meta"):
        network = build_model(description)
    return full_flops(description.backbone, network.heads.values())  # type: ignore[arg-type]


def _time(row: Setting, photo: Path, image: np.ndarray, count: int) -> None:
    """Time each part once, and keep the least times so far."""
    loaded, people = row.people.models[0], row.people
    box = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
    shown = [(image, view) for view in loaded.views(box, image.shape[:2])] * count
    with loaded.ready() as network, torch.inference_mode():
        device, _ = place_of(network)
        cpu = device.type == "cpu"
        _reset_peak(device)
        images, inputs = network_inputs(loaded, network, shown), view_inputs(loaded, shown, device)
        parts: dict[str, Callable[[], Any]] = {
            "decode": lambda: [read_image(photo) for _ in range(count)],
            "preprocessing": lambda: network_inputs(loaded, network, shown),
            "network": lambda: network(images, inputs=inputs),
        }
        for name, part in parts.items():
            setattr(row, name, min(getattr(row, name), _clocked(part, device)[cpu] / count))
        maps = list(raw_maps(loaded, shown, batch_size=count))

        def postprocess() -> None:
            for maps_of_head, (_, view) in zip(maps, shown, strict=True):
                read_maps(loaded, maps_of_head, view)

        row.postprocessing = min(row.postprocessing, _clocked(postprocess, device)[cpu] / count)
    frames = [SourceImage(image, box, source=photo) for _ in range(count)]
    elapsed, _ = _clocked(lambda: [read_image(photo) for _ in range(count)] + list(people.stream(frames)), device)
    row.end_to_end = min(row.end_to_end, elapsed / count)
    row.peak_bytes = max(row.peak_bytes, _peak(device))


def _clocked(work: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds elapsed and seconds of processor time (all threads)."""
    started, used = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, time.process_time() - used


def _answers(people: People, image: np.ndarray) -> Result:
    return people(image, [[0, 0, image.shape[1], image.shape[0]]])


def difference(expected: Result, actual: Result) -> dict[str, float]:
    """Share of pixels with the same part, mean distance of the keypoints in pixels of the photo."""
    figures: dict[str, float] = {}
    if expected.parts is not None and actual.parts is not None:
        figures["same labels"] = float((expected.parts.labels == actual.parts.labels).mean())
    if expected.persons and len(expected.persons[0].keypoints):
        off = expected.persons[0].keypoints - actual.persons[0].keypoints
        figures["points off px"] = float(np.linalg.norm(off, axis=-1).mean())
    return figures


def _reset_peak(device: torch.device) -> None:
    """Restart the peak of memory; where the system cannot, it stays that of the process so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> float:
    """Bytes: of the GPU's tensors, or of the whole process with everything that the other settings hold."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) * 1024
