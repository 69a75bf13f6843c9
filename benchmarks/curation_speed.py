"""How fast curation is, how much memory it takes, and whether a killed run gives the same manifest.

$ python benchmarks/curation_speed.py stages --images collection/images --out /tmp/speed
$ python benchmarks/curation_speed.py workers --images collection/images --out /tmp/speed
$ python benchmarks/curation_speed.py memory --out /tmp/speed --counts 1000 10000 100000
$ python benchmarks/curation_speed.py kill --images collection/images --out /tmp/speed

stages: images per second of each stage in one worker. workers: with 1, 2 and 4. memory: the largest sum of memory of
all processes of the run (proportional set size: shared pages count once), for small images with the model stages
left out. kill: the run is killed with all its processes at a random moment, continued, and compared with one that was
not. Ratios mean something on any machine, rates only on an idle one. Linux.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from opensapiens.curation.engine import ray_running
from opensapiens.curation.score import ScoreSummary, score
from opensapiens.curation.stages import FILE, PERCEPTUAL_HASH, QUALITY, default_stages

RUN = "import sys; from opensapiens.cli import main; sys.exit(main(sys.argv[1:]))"
DONE = (0, 1)  # 1: some images cannot be read


def fresh(folder: Path) -> Path:
    """The folder, emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def timed(images: Path, out: Path, workers: int) -> tuple[ScoreSummary, float]:
    """A run of all stages, and the seconds between its first part and its last: without the start of Ray."""
    folder = fresh(out)
    summary = score([images], folder, default_stages(), workers)
    return summary, sum(summary.seconds.values())


def print_stages(images: Path, out: Path) -> None:
    """Images per second of each stage, and its share of the time."""
    summary, total = timed(images, out / "stages", 1)
    print("| stage | images per second | share of the time |\n|---|--:|--:|")
    for name, seconds in summary.seconds.items():
        print(f"| {name} | {summary.images / seconds:.1f} | {seconds / total:.0%} |")


def print_workers(images: Path, out: Path) -> None:
    """Images per second with 1, 2 and 4 workers, relative to one: with loading models, without the start of Ray."""
    print("| workers | images per second | relative |\n|--:|--:|--:|")
    first = 0.0
    with ray_running(4):  # one for all runs
        for workers in (1, 2, 4):
            start = time.perf_counter()
            summary, _ = timed(images, out / f"workers{workers}", workers)
            rate = summary.images / (time.perf_counter() - start)
            first = first or rate
            print(f"| {workers} | {rate:.2f} | {rate / first:.2f} |", flush=True)


def small_images(path: Path, count: int) -> None:
    """A Parquet file with `count` distinct small JPEG images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, pa.schema([("image", pa.binary())])) as writer:
        for start in range(0, count, 256):
            coarse = generator.integers(0, 256, (min(256, count - start), 4, 4, 3), dtype=np.uint8)
            data = [cv2.imencode(".jpg", cv2.resize(one, (64, 64)))[1].tobytes() for one in coarse]
            writer.write_table(pa.table({"image": data}))


def memory_of_tree(root: int) -> int:
    """Proportional set size in bytes of a process and all that stem from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    total, todo = 0, [root]
    while todo:
        process = todo.pop()
        todo += [child for child, parent in parents.items() if parent == process]
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):
            continue
    return total


def print_memory(out: Path, counts: list[int]) -> None:
    """The largest memory of a run, for each number of inputs, each in a process of its own."""
    print("| inputs | peak memory, MB | of that above the first |\n|--:|--:|--:|")
    first = 0
    for count in counts:
        source = out / f"small{count}.parquet"
        small_images(source, count)
        fresh(out / f"memory{count}")
        command = [sys.executable, __file__, "cheap", "--images", str(source), "--out", str(out / f"memory{count}")]
        process = subprocess.Popen(command)
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory_of_tree(process.pid))
            time.sleep(1)
        if process.returncode:
            raise SystemExit(f"the run over {count} inputs failed")
        first = first or peak
        print(f"| {count} | {peak / 1e6:.0f} | {(peak - first) / 1e6:+.0f} |", flush=True)


def print_kill(images: Path, out: Path, seed: int) -> None:
    """Whether a run that is killed several times at random moments ends with the manifest of one that is not."""
    import pyarrow.parquet as pq

    skip = ["--skip", "text", "person", "embedding", "--workers", "2"]
    command = [sys.executable, "-c", RUN, "curate", "score", str(images), *skip, "--out"]
    start = time.perf_counter()
    if subprocess.run([*command, str(fresh(out / "whole"))]).returncode not in DONE:
        raise SystemExit("the run failed")
    length = time.perf_counter() - start
    killed, generator, deaths = fresh(out / "killed"), random.Random(seed), 0
    while True:
        process = subprocess.Popen([*command, str(killed)], start_new_session=True)
        timer = threading.Timer(generator.uniform(0.2, 1.0) * length, os.killpg, (process.pid, signal.SIGKILL))
        if deaths < 3:
            timer.start()
        code = process.wait()
        timer.cancel()
        if code in DONE:
            break
        deaths += 1
        print(f"killed with {len(list(killed.glob('parts/*/*.parquet')))} parts done", flush=True)
    tables = [pq.read_table(folder / "manifest.parquet") for folder in (out / "whole", killed)]
    print(f"killed {deaths} times; the manifests of {len(tables[0])} rows are equal: {tables[0].equals(tables[1])}")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stages", "workers", "memory", "kill", "cheap"])
    parser.add_argument("--images", type=Path, help="folder of images")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in; its subfolders are emptied")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.what == "memory":
        print_memory(arguments.out, arguments.counts)
    elif arguments.what == "kill":
        print_kill(arguments.images, arguments.out, arguments.seed)
    elif arguments.what == "cheap":
        score([arguments.images], arguments.out, [FILE, PERCEPTUAL_HASH, QUALITY], workers=1)
    elif arguments.what == "workers":
        print_workers(arguments.images, arguments.out)
    else:
        print_stages(arguments.images, arguments.out)


if __name__ == "__main__":
    main()
