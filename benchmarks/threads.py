"""Threads that share one model: their answers against those of single calls, and the memory they take.

$ python benchmarks/threads.py --calls 1000 --threads 4

In every runtime, nano predicts all its tasks for the people of four pictures, whom it finds itself in every fifth call,
first one call after the other, then in threads. The answers must be equal to the bit. Each runtime is a process of its
own, with one thread inside an operation: what is asked is what the callers' threads do to each other. Needs the extra
export.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

import opensapiens
from opensapiens.storage.pictures import read_image

RUNTIMES = ("torch", "compiled", "openvino", "openvino-int8", "onnx")
FINDS = 5  # of so many calls one finds the people; it takes five times as long
PHOTOS = Path(__file__).parent.parent / "examples" / "photos"


def pictures() -> list[np.ndarray]:
    """Four small ones of different sizes, all with somebody."""
    rendered, hopper = (read_image(PHOTOS / name) for name in ("rendered_person.jpg", "grace_hopper.jpg"))
    return [
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        for picture, size in ((rendered, (240, 320)), (hopper, (240, 300)), (rendered[:, ::-1], (200, 270)))
    ] + [np.concatenate([cv2.resize(picture, (160, 220)) for picture in (rendered, hopper)], axis=1)]


def resident_mb() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def measure(runtime: str, calls: int, threads: int) -> bool:
    """Prints one row; whether all answers were right."""
    people = opensapiens.load("nano", device="cpu", runtime=runtime)
    inputs = pictures()
    boxes = [people.detector(picture)[0] for picture in inputs]
    assert all(len(found) for found in boxes), "nobody was found in one of the pictures"

    def answer(number: int) -> list[np.ndarray]:
        picture = number % len(inputs)
        result = people(inputs[picture], None if number % FINDS == 0 else boxes[picture])
        found = [np.concatenate([person.box, person.keypoints.ravel(), person.scores]) for person in result.persons]
        assert result.parts is not None and result.depth is not None and result.normals is not None
        return [*found, result.parts.labels, result.depth.values, result.normals.values]

    kinds = FINDS * len(inputs)
    alone = [answer(number) for number in range(kinds)]
    wrong, memory, start = 0, [], time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for number, found in enumerate(pool.map(answer, range(calls))):
            right = alone[number % kinds]
            same = len(found) == len(right)
            wrong += not (same and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(found, right, strict=True)))
            if (number + 1) % max(calls // 5, 1) == 0:
                memory.append(f"{resident_mb():.0f}")
    seconds = time.monotonic() - start
    print(f"{runtime:14} {wrong:4} wrong of {calls}, {seconds:.0f} s, MB at each fifth: {' '.join(memory)}", flush=True)
    return wrong == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="for each runtime (default: 1000)")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--runtime", choices=RUNTIMES, help="one alone, in this process")
    options = parser.parse_args()
    if options.runtime:
        return 0 if measure(options.runtime, options.calls, options.threads) else 1
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = ["--calls", str(options.calls), "--threads", str(options.threads)]
    codes = [
        subprocess.run([sys.executable, __file__, "--runtime", name, *arguments], env=environment).returncode
        for name in RUNTIMES
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
