"""How long finding the people of a photo takes, and all of it: median times, and the share that finding them has.

python benchmarks/detection.py PHOTO ... --width 640
python benchmarks/detection.py PHOTO ... --width 1920 --height 1080 --runtime torch
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

import opensapiens
from opensapiens.storage.pictures import read_image


def median_ms(call: Callable[[np.ndarray], object], photo: np.ndarray, rounds: int) -> float:
    """Of a call with a photo, after a first one that warms up."""
    call(photo)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call(photo)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Print a row for each photo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, help="by default as the photo's aspect")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    people = opensapiens.load(options.model, detector=options.detector, runtime=options.runtime)
    detector = people.detector
    for path in options.photos:
        photo = read_image(path)
        height = options.height or round(photo.shape[0] * options.width / photo.shape[1])
        photo = np.ascontiguousarray(cv2.resize(photo, (options.width, height), interpolation=cv2.INTER_AREA))
        finding, everything = (median_ms(call, photo, options.rounds) for call in (detector, people))
        print(
            f"{path.name}, {options.width}x{height}, {len(people(photo).persons)} people: found in {finding:.0f} ms, "
            f"found and predicted in {everything:.0f} ms; {finding / everything:.0%} of it finding"
        )


if __name__ == "__main__":
    main()
