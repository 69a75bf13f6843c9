"""How fast people are rendered, and what share of the time goes where.

    python benchmarks/synthetic.py                          # 384x288 and 1024x768, one and four people, one process
    python benchmarks/synthetic.py --workers 2 --frames 64  # one process a core

Every process renders its own frames after a warm-up; their rates are added up. Shares are of the time of one process:
bodies (Anny), clothes and scene (garments, hair, things, places, one mesh), rendering (z-buffer, shadows, shading,
silhouettes), points and boxes (of people in sight), photo (sky, exposure, lens, noise), files (JPEG and PNG, which
training on the fly does not pay for), drawing (all random choices about people). The last column is the rate beside
that of the first row.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from opensapiens.data.shards import encode_frame
from opensapiens.synthetic.style import FRAMES_PER_BATCH, Style

SIZES = ((384, 288), (1024, 768))
PEOPLE = (1, 4)


def main(frames: int = 32, workers: int = 1, output: Path | None = None) -> None:
    """Prints the table.

    Args:
        frames: how many each process renders for each row.
        workers: processes at once.
        output: also write the figures here, as JSON.
    """
    rows = []
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for size in SIZES:
            for people in PEOPLE:
                jobs = [(size, people, frames, seed) for seed in range(workers)]
                measured = pool.map(measure, jobs, chunksize=1)
                shares = sum((Counter(share) for _, share in measured), Counter())
                total = sum(shares.values())
                rate = sum(rate for rate, _ in measured)
                row = {"size": size, "people": people, "frames_per_second": rate}
                rows.append({**row, "shares": {name: value / total for name, value in shares.most_common()}})
                print(describe(rows[-1], rows[0]), flush=True)
    if output is not None:
        output.write_text(json.dumps({"workers": workers, "rows": rows}, indent=1) + "\n")


def describe(row: dict[str, Any], first: dict[str, Any]) -> str:
    """One line of the table."""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in row["shares"].items())
    ratio = row["frames_per_second"] / first["frames_per_second"]
    height, width = row["size"]
    rate = row["frames_per_second"]
    bare = rate / (1 - row["shares"].get("files", 0.0))
    return (
        f"{height}x{width}, {row['people']} people: {rate:.1f} frames/s, {bare:.1f} without files ({shares}); "
        f"{ratio:.2f} of the first row"
    )


def measure(job: tuple[tuple[int, int], int, int, int]) -> tuple[float, dict[str, float]]:
    """Frames per second of this process, and the seconds of each stage."""
    import cv2
    import torch

    from opensapiens.synthetic import frame as frame_module
    from opensapiens.synthetic import people_renderer as renderer_module

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    size, people, count, seed = job
    style = Style(size=size, people=(0.0,) * (people - 1) + (1.0,), framing=(1.0, 0.0, 0.0, 0.0))
    renderer = renderer_module.PeopleRenderer()
    for _ in renderer.frames(seed, 0, 2, style):  # kernels are compiled and loaded
        pass
    spent: Counter[str] = Counter()
    places = (
        ("drawing", renderer_module, "plan_scene"),
        ("bodies", renderer.model, "vertices"),
        ("clothes and scene", renderer_module, "build_scene"),
        ("rendering", frame_module, "render"),
        ("photo", frame_module, "develop"),
        ("points and boxes", renderer_module, "describe_people"),
    )
    originals = [(place, name, getattr(place, name)) for _, place, name in places]
    for stage, place, name in places:
        setattr(place, name, timed(getattr(place, name), stage, spent))
    encode = timed(encode_frame, "files", spent)
    begin = time.perf_counter()
    for first in range(0, count, FRAMES_PER_BATCH):
        for frame in renderer.frames(seed, first, min(FRAMES_PER_BATCH, count - first), style):
            encode(frame.image, frame.instances, frame.labels, frame.record)
    seconds = time.perf_counter() - begin
    spent["other"] = max(seconds - sum(spent.values()), 0.0)
    for place, name, original in originals:
        setattr(place, name, original)
    return count / seconds, dict(spent)


def timed(function: Callable[..., Any], stage: str, spent: Counter[str]) -> Callable[..., Any]:
    """The function, with its time added to a stage."""

    def call(*arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        result = function(*arguments, **named)
        spent[stage] += time.perf_counter() - begin
        return result

    return call


if __name__ == "__main__":
    tyro.cli(main)
