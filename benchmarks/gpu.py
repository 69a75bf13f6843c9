"""Published shapes on a GPU: plain bfloat16 PyTorch against the compiled runtime, and what share of the matrix rate.

    python benchmarks/gpu.py --json gpu.json                          # 0.3b and 1b, four tasks, batch 1, 8, 32
    python benchmarks/gpu.py --sizes 0.3b --tasks pose --train        # also a training step
    python benchmarks/gpu.py --sizes 0.3b --tasks pose --video 600    # also so many frames of a 1080p video, end to end
    python benchmarks/gpu.py --device cpu --sizes toy --batches 1 2   # does it run at all

Weights are random: speed does not depend on them. All variants of a case take turns in one run, the least time counts,
and the rate of a plain bfloat16 matrix product is measured in the same run. A case that does not fit is reported and
skipped; every finished row is in the JSON file at once. A video is read from its file, people are followed, and the
results and the video with what was found are written; beside its rate is that of the network on as many people alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photo import random_model
from scaling import film
from torch import Tensor

from opensapiens.backbones.sapiens import SapiensBackbone, SapiensConfig, published_config
from opensapiens.checkpoints.catalog import model_folder
from opensapiens.inference.compiled import CompiledRuntime
from opensapiens.inference.loading import load
from opensapiens.inference.options import PredictOptions
from opensapiens.inference.recording import record_video
from opensapiens.inference.runtimes import runtime_of
from opensapiens.models.cost import full_flops, masked_autoencoder_flops
from opensapiens.models.heads import build_head
from opensapiens.models.human_model import HumanModel
from opensapiens.models.masked_autoencoder import HEAD, MaskedAutoencoder
from opensapiens.models.upsampling_head import UpsamplingHead
from opensapiens.tasks import TASKS
from opensapiens.tasks.masked_pretraining import reconstruction_error

CHANNELS = {"pose": 308, "segmentation": 28, "depth": 1, "normals": 3}
PUBLISHED = {"pose": "pose308", "segmentation": "seg28", "depth": "depth", "normals": "normals"}
BATCH = 8  # people of a video that go through the network together
TOY = SapiensConfig((64, 48), 48, 2, 2)
TOY_DECODER = SapiensConfig((64, 64), 32, 1, 2)
DECODER = SapiensConfig((1024, 1024), 512, 8, 16)
Variant = Callable[[Tensor], dict[str, Tensor]]


def main() -> None:
    """Run all cases that the arguments name and print a row for each."""
    options = arguments()
    device = torch.device(options.device)
    rate = matrix_rate(device, options.rounds)
    print(f"bfloat16 matrix product: {rate / 1e12:.2f} TFLOP/s")
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        for task in options.tasks:
            for batch in options.batches:
                rows += case(size, task, batch, device, rate, options.rounds)
                save(options.json, rate, rows)
        if options.video:
            rows += [video_case(size, task, options.video, device) for task in options.tasks]
            save(options.json, rate, rows)
        if options.train:
            rows += [training_case(size, device, rate, options.rounds, compiled) for compiled in (False, True)]
            save(options.json, rate, rows)


def case(size: str, task: str, batch: int, device: torch.device, rate: float, rounds: int) -> list[dict[str, Any]]:
    """One size, task and batch in every variant."""
    config = TOY if size == "toy" else published_config(size, (1024, 768))
    images = torch.randn(batch, 3, *config.image_size, device=device, dtype=torch.bfloat16)
    rows: list[dict[str, Any]] = []
    torch.compiler.reset()  # compilations of other cases count against PyTorch's limit
    try:
        made = variants(config, task, size, device)
        flops = batch * full_flops(config, tuple(made["eager"].heads.values()))
        seconds = dict.fromkeys(made, float("inf"))
        expected = {head: maps.float() for head, maps in timed(made["eager"], images, device)[1].items()}
        memory: dict[str, float] = {}
        errors: dict[str, float] = {}
        for _ in range(rounds + 1):
            for name, variant in made.items():
                reset_peak(device)
                used, maps = timed(variant, images, device)
                seconds[name] = min(seconds[name], used)
                memory[name] = peak(device)
                errors[name] = max(
                    ((maps[head].float() - expected[head]).abs().max() / expected[head].abs().max()).item()
                    for head in expected
                )
        for name, used in seconds.items():
            rows.append(
                {
                    "size": size,
                    "task": task,
                    "batch": batch,
                    "variant": name,
                    "images/s": batch / used,
                    "ms": used * 1e3,
                    "share of matrix rate": flops / used / rate,
                    "times eager": seconds["eager"] / used,
                    "peak GB": memory[name] / 1e9,
                    "difference": errors[name],
                }
            )
    except torch.OutOfMemoryError:
        rows.append({"size": size, "task": task, "batch": batch, "variant": "does not fit"})
    for row in rows:
        print("  ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    gc.collect()
    torch.cuda.empty_cache()
    return rows


def variants(config: SapiensConfig, task: str, size: str, device: torch.device) -> dict[str, Any]:
    """The plain network, and compiled ones with one thing added after the other; equal weights."""
    torch.manual_seed(0)
    eager = network(config, task, size).to(device, torch.bfloat16)
    made: dict[str, Any] = {"eager": eager}
    steps = {"compiled": (False, False), "+ channels last": (False, True), "+ CUDA graphs": (True, True)}
    for name, (graphs, channels_last) in steps.items():
        copy = network(config, task, size).to(device, torch.bfloat16)
        copy.load_state_dict(eager.state_dict())
        made[name] = CompiledRuntime(copy, cuda_graphs=graphs, channels_last=channels_last)
    return made


def network(config: SapiensConfig, task: str, size: str) -> HumanModel:
    """A published backbone and head, or toys, with random weights."""
    if size == "toy":
        head = UpsamplingHead(config.embed_dim, CHANNELS[task], (16, 16), (16,))
    else:
        head = build_head(config.embed_dim, CHANNELS[task], TASKS[task].published)
    return HumanModel(SapiensBackbone(config), {task: head}).eval().requires_grad_(False)


def training_case(size: str, device: torch.device, rate: float, rounds: int, compiled: bool) -> dict[str, Any]:
    """A step of masked pretraining, fused AdamW and all: tokens a second and utilization."""
    toy = size == "toy"
    square = (64, 64) if toy else (1024, 1024)
    toy_config = SapiensConfig(square, 48, 2, 2, class_token=True)
    config = toy_config if toy else published_config(size, square, class_token=True)
    decoder = TOY_DECODER if toy else DECODER
    batch = 2 if toy else 16
    model = MaskedAutoencoder(config, decoder.embed_dim, decoder.layers, decoder.heads).to(device).train()
    if compiled:
        for block in (*model.backbone.blocks, *model.decoder.blocks):
            block.compile()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    images = torch.randn(batch, 3, *config.image_size, device=device)

    def step(images: Tensor) -> dict[str, Tensor]:
        with torch.autocast(device.type, torch.bfloat16):
            made = model(images)[HEAD]
        mask = made.masking.mask_BN
        loss = reconstruction_error(made.prediction_BNP, made.target_BNP, mask).sum() / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    reset_peak(device)
    with torch.enable_grad():
        used = min(timed(step, images, device)[0] for _ in range(rounds + 2))
    rows, columns = config.grid()
    flops = masked_autoencoder_flops(config, decoder.embed_dim, decoder.layers, 0.75)
    row = {
        "size": size,
        "task": "pretraining step",
        "batch": batch,
        "variant": "compiled" if compiled else "eager",
        "images/s": batch / used,
        "tokens/s": batch * rows * columns / used,
        "share of matrix rate": 3 * batch * flops / used / rate,
        "peak GB": peak(device) / 1e9,
    }
    print("  ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    return row


def video_case(size: str, task: str, frames: int, device: torch.device) -> dict[str, Any]:
    """A 1080p video with one person, whose box is known, from its file to files of results; the toy is nano."""

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[300, 40, 1500, 1080]], np.float32), np.ones(1, np.float32)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = model_folder("nano") if size == "toy" else random_model(f"sapiens-{size}-{PUBLISHED[task]}", folder)
        people = load(model, device, torch.bfloat16, find, BATCH, runtime="auto")
        network, inputs = people.models[0].network, people.models[0].input_size
        images = torch.randn(BATCH, 3, *inputs, device=device, dtype=torch.bfloat16)
        alone = min(timed(network, images, device)[0] for _ in range(5)) / BATCH
        film(folder / "clip.mp4", frames, (1920, 1080))
        settings = PredictOptions(flip=False)  # once a person, as the network is timed
        record_video(people, folder / "clip.mp4", folder / "first", "clip", settings)
        reset_peak(device)
        started = time.perf_counter()
        record_video(people, folder / "clip.mp4", folder / "out", "clip", settings)
        used = time.perf_counter() - started
    row = {
        "size": size,
        "task": task,
        "batch": BATCH,
        "variant": f"1080p video, {runtime_of(network)}",
        "frames/s": frames / used,
        "network alone/s": 1 / alone,
        "share of the network's rate": alone * frames / used,
        "peak GB": peak(device) / 1e9,
    }
    print("  ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    return row


def timed(function: Variant, images: Tensor, device: torch.device) -> tuple[float, dict[str, Tensor]]:
    """Seconds of a call, waiting for the device, and what it returned."""
    synchronize(device)
    started = time.perf_counter()
    made = function(images)
    synchronize(device)
    return time.perf_counter() - started, made


def matrix_rate(device: torch.device, rounds: int) -> float:
    """Operations a second of a bfloat16 product of large square matrices, the best of some batches of ten."""
    side = 8192 if device.type == "cuda" else 256
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)

    def products(matrix: Tensor) -> dict[str, Tensor]:
        return {"last": [matrix @ matrix for _ in range(10)][-1]}

    return 10 * 2 * side**3 / min(timed(products, matrix, device)[0] for _ in range(rounds + 2))


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Count a GPU's memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> float:
    """Bytes that tensors held at most on a GPU; 0 elsewhere."""
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0.0


def save(path: Path | None, rate: float, rows: list[dict[str, Any]]) -> None:
    """All rows so far."""
    if path is not None:
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        path.write_text(json.dumps({"device": name, "torch": torch.__version__, "rate": rate, "rows": rows}, indent=1))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", nargs="+", default=["0.3b", "1b"], choices=["0.3b", "0.6b", "1b", "2b", "toy"])
    parser.add_argument("--tasks", nargs="+", default=list(CHANNELS), choices=list(CHANNELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--video", type=int, default=0, metavar="FRAMES", help="also a video of so many frames")
    parser.add_argument("--train", action="store_true", help="also a step of masked pretraining")
    parser.add_argument("--json", type=Path, help="a file for all rows")
    return parser.parse_args()


if __name__ == "__main__":
    with torch.inference_mode(False), torch.no_grad():
        main()
