"""How a runtime's answers differ from plain float32 PyTorch's on photos: the same boxes given to both.

    python benchmarks/agreement.py FOLDER ... --runtimes openvino-int8

Each photo is asked about twice: with the boxes of the people that plain PyTorch finds in it, where there are any, and
with all of it as one person. A row has the share of the photo's pixels with the same part and the mean distance of the
points in pixels of the photo; the means over the photos stand at the end.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import opensapiens
from opensapiens.evaluation.bench import difference
from opensapiens.inference.files import find_inputs
from opensapiens.storage.pictures import read_image


def main() -> None:
    """Print a row for each photo, its boxes and each runtime, and the means."""
    options = arguments()
    plain = opensapiens.load(options.model, device="cpu", runtime="torch")
    others = {name: opensapiens.load(options.model, device="cpu", runtime=name) for name in options.runtimes}
    shares: dict[tuple[str, str], list[float]] = {}
    for path in find_inputs(options.photos).files:
        photo = read_image(path)
        height, width = photo.shape[:2]
        found = [person.box.tolist() for person in plain(photo).persons]
        for kind, boxes in {"found": found, "whole": [[0, 0, width, height]]}.items():
            if not boxes:
                continue
            expected = plain(photo, boxes)
            for name, people in others.items():
                row = difference(expected, people(photo, boxes))
                shares.setdefault((name, kind), []).append(row["same labels"])
                figures = (f"{key} {value:.4f}" for key, value in row.items())
                print(f"{path.name}, {len(boxes)} boxes {kind}, {name}:", *figures, flush=True)
    for (name, kind), values in shares.items():
        mean = statistics.fmean(values)
        print(f"{name}, boxes {kind}: same labels, mean of {len(values)} photos {mean:.4f}, least {min(values):.4f}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="photos or folders of them")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--runtimes", nargs="+", default=["openvino", "openvino-int8"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
