"""How time and memory grow with the work: batch, resolution, people in a picture, frames of a video.

    python benchmarks/scaling.py --json scaling.json
    python benchmarks/scaling.py --model sapiens-0.3b-seg28 --only resolution

Times are processor time of all threads (other programs disturb it least), the least of some repeats, with nano unless
another model is named. Of a video the memory that the process holds is noted after every tenth of it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import opensapiens
from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.model_folder import load_model
from opensapiens.export.export import portrait
from opensapiens.export.graph import extra_inputs
from opensapiens.inference.options import PredictOptions
from opensapiens.inference.recording import record_video
from opensapiens.inference.runtimes import start_runtime
from opensapiens.models.cost import full_flops


def main() -> None:
    """Run the measurements that the arguments name."""
    options = arguments()
    measurements = {"batch": batch, "resolution": resolution, "people": people, "video": video}
    found: dict[str, list[dict[str, Any]]] = {}
    for name in options.only or measurements:
        found[name] = []
        for row in measurements[name](options):
            found[name].append(row)
            print(name, "  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1))


def batch(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Images in a batch: seconds of the network per image."""
    network, description = load_model(model_folder(options.model))
    size = description.preprocessing.input_size
    runtime = start_runtime(options.runtime, network, description.preprocessing)
    for count in (1, 2, 4, 8, 16, 32):
        images = torch.randn(count, 3, *size)
        inputs = extra_inputs(description.backbone, size, count)
        seconds = least(lambda images=images, inputs=inputs: runtime(images, inputs=inputs))
        yield {"images": count, "ms per image": seconds / count * 1e3}


def resolution(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Height of the input: seconds of the network, and per counted operation, which shows what attention adds."""
    network, description = load_model(model_folder(options.model))
    for height in options.heights:
        size = (height, height * 3 // 64 * 16)
        preprocessing = replace(description.preprocessing, input_size=size)
        runtime = start_runtime(options.runtime, network, preprocessing)
        images = torch.randn(1, 3, *size)
        inputs = extra_inputs(description.backbone, size, 1)
        seconds = least(lambda runtime=runtime, images=images, inputs=inputs: runtime(images, inputs=inputs))
        counted = full_flops(description.backbone, heads(network), size)
        yield {"height": size[0], "ms": seconds * 1e3, "GFLOP": counted / 1e9, "GFLOP/s": counted / seconds / 1e9}


def people(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """People with boxes in one picture of 1920x1080: seconds end to end."""
    pipeline = opensapiens.load(options.model, device="cpu", runtime=options.runtime, batch_size=8)
    for count in (1, 2, 4, 8, 16, 32):
        image, boxes = crowd(count)
        seconds = least(lambda image=image, boxes=boxes: pipeline(image, boxes))
        yield {"people": count, "ms": seconds * 1e3, "ms per person": seconds * 1e3 / count}


def video(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Frames of a video, one person: frames per second of processor time, and memory held."""
    pipeline = opensapiens.load(options.model, device="cpu", runtime=options.runtime, batch_size=8)
    for frames in options.frames:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            film(path, frames)
            before, started = held(), time.process_time()
            reset_peak()
            record_video(pipeline, path, Path(folder) / "out", "clip", PredictOptions())
            used = time.process_time() - started
            yield {"frames": frames, "ms per frame": used / frames * 1e3, "MB before": before, "MB at most": peak()}


def crowd(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The portrait `count` times on a 1920x1080 picture, in rows of eight, with the boxes."""
    photo = Image.open(portrait()).convert("RGB").resize((220, 258))
    paper = Image.new("RGB", (1920, 1080), (90, 100, 110))
    corners = [(10 + 238 * (index % 8), 10 + 266 * (index // 8)) for index in range(count)]
    for corner in corners:
        paper.paste(photo, corner)
    return np.asarray(paper), np.array([[x, y, x + 220, y + 258] for x, y in corners], np.float32)


def film(path: Path, frames: int, size: tuple[int, int] = (640, 400)) -> None:
    """A video (width, height) of the portrait moving slowly from left to right."""
    import av

    photo = Image.open(portrait()).convert("RGB")
    photo = photo.resize((photo.width * size[1] // 400, photo.height * size[1] // 400))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            picture = Image.new("RGB", size, (90, 100, 110))
            picture.paste(photo, (round(size[0] * (0.23 + 0.16 * np.sin(number / 40))), size[1] // 20))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def heads(network: Any) -> tuple[Any, ...]:
    """Of the network, to count from."""
    return tuple(network.heads.values())


def least(work: Callable[[], Any], repeats: int = 3) -> float:
    """Seconds of processor time, the least of some calls after a first one."""
    times = []
    with torch.inference_mode():
        work()
        for _ in range(repeats):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
    return min(times)


def held() -> float:
    """Memory of the process in MB (1e6 bytes)."""
    return memory_line("VmRSS")


def peak() -> float:
    """The most since reset_peak, in MB."""
    return memory_line("VmHWM")


def reset_peak() -> None:
    """Start to look for the peak anew; Linux only."""
    Path("/proc/self/clear_refs").write_text("5")


def memory_line(name: str) -> float:
    """A figure of /proc/self/status, in MB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / 1e6


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--only", nargs="+", choices=["batch", "resolution", "people", "video"])
    parser.add_argument("--heights", nargs="+", type=int, default=[256, 512, 1024, 2048], help="multiples of 64")
    parser.add_argument("--frames", nargs="+", type=int, default=[50, 200, 800])
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
