"""One photo, from the file to the results and to files of results: elapsed time in each runtime, medians of one run.

    python benchmarks/photo.py                                                # nano, people looked for
    python benchmarks/photo.py --whole                                        # the photo is one person
    python benchmarks/photo.py --random sapiens-0.3b-seg28 --rounds 3         # a published shape, random weights

Runtimes take turns, plain float32 PyTorch first; a row has the seconds from file to results (decoding, looking for
people, networks, maps at the size of the photo), those of them inside the network, those of drawing and of writing all
files, how many times faster than plain PyTorch, the share of a float32 matrix product's rate that the network reaches
(measured beside it), the share of pixels with the same label, and the largest error of a head's maps over the largest
value. Wants a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import opensapiens
from opensapiens.checkpoints.catalog import model_folder
from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.checkpoints.model_folder import build_model, read_description, save_model
from opensapiens.checkpoints.published_table import PUBLISHED_MODELS
from opensapiens.evaluation.bench import difference
from opensapiens.export.export import portrait
from opensapiens.export.graph import extra_inputs
from opensapiens.export.parity import check_images
from opensapiens.inference.pipeline import People
from opensapiens.inference.runtimes import place_of
from opensapiens.models.cost import full_flops
from opensapiens.storage.pictures import read_image

SIDE = 3072  # of the square matrices that the machine's rate is measured with


class Timed:
    """A network in any runtime that counts the seconds spent in it, and the operations of its products."""

    def __init__(self, network: Any, description: ModelDescription) -> None:
        self.network, self.seconds, self.operations = network, 0.0, 0
        self.device, self.dtype = place_of(network)
        self.backbone = description.backbone
        with torch.device("meta"):
            self.heads: Any = build_model(description).heads

    def __call__(
        self, images_B3HW: Tensor, heads: Sequence[str] | None = None, inputs: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """As inference.runtimes.Runtime."""
        started = time.perf_counter()
        maps = self.network(images_B3HW, heads, inputs=inputs)
        self.seconds += time.perf_counter() - started
        asked = tuple(self.heads[name] for name in heads or self.heads)
        self.operations += len(images_B3HW) * full_flops(self.backbone, asked)
        return maps


def main() -> None:
    """Measure what the arguments name and print a row for each runtime."""
    options = arguments()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(options.random, Path(folder)) if options.random else model_folder(options.model)
        rows = measure(model, options, Path(folder) / "out")
    for row in rows:
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(model: Path, options: argparse.Namespace, output: Path) -> list[dict[str, Any]]:
    """A row for each runtime, all taking turns."""
    description = read_description(model)
    height, width = read_image(options.photo).shape[:2]
    boxes = [[0, 0, width, height]] if options.whole else None
    pipelines = {name: started(model, name) for name in dict.fromkeys(["torch", *options.runtimes])}
    taken: dict[str, list[list[float]]] = {name: [] for name in pipelines}
    rates, results = [], {}
    for round_number in range(options.rounds + 1):
        rates.append(matrix_rate())
        for name, people in pipelines.items():
            seconds, results[name] = one_photo(people, options.photo, boxes, output)
            if round_number:  # the first is slower: memory is taken, kernels are chosen
                taken[name].append(seconds)
    rate = statistics.median(rates)
    images = check_images(read_image(options.photo), description.preprocessing)[:1]
    expected: dict[str, Tensor] = {}
    rows = []
    for name, people in pipelines.items():
        whole, network, speed, drawing, writing = map(statistics.median, zip(*taken[name], strict=True))
        found = maps_of(people, images)
        expected = expected or found
        errors = [((found[head] - maps).norm() / maps.norm()).item() for head, maps in expected.items()]
        row: dict[str, Any] = {"runtime": name, "people": len(results[name].persons), "file to results s": whole}
        row |= {"of it network s": network, "drawing s": drawing, "writing s": writing}
        row["times torch"] = statistics.median([one[0] for one in taken["torch"]]) / whole
        row |= {"share of matrix rate": speed / rate, "matrix GFLOP/s": rate / 1e9, "map error": max(errors)}
        rows.append(row | difference(results["torch"], results[name]))
    return rows


def one_photo(
    people: People, photo: Path, boxes: list[list[int]] | None, output: Path
) -> tuple[list[float], opensapiens.Result]:
    """Seconds from file to results, of it in the network, operations a second there, seconds of drawing the overlays,
    and of drawing and writing all files."""
    network: Any = people.models[0].network
    network.seconds, network.operations = 0.0, 0
    moments = [time.perf_counter()]
    result = people(photo, boxes)
    moments.append(time.perf_counter())
    result.overlays()
    moments.append(time.perf_counter())
    result.save(output)
    moments.append(time.perf_counter())
    whole, drawing, writing = (after - before for before, after in itertools.pairwise(moments))
    return [whole, network.seconds, network.operations / network.seconds, drawing, writing], result


def started(model: Path, runtime: str) -> People:
    """The pipeline in a runtime; prints how long opening took, conversion included where it was not kept yet."""
    begun = time.perf_counter()
    people = opensapiens.load(model, device="cpu", runtime=runtime)
    print(f"{runtime}: opened in {time.perf_counter() - begun:.1f} s", flush=True)
    people.models[0].network = Timed(people.models[0].network, people.models[0].description)
    return people


def maps_of(people: People, images: Tensor) -> dict[str, Tensor]:
    """All maps of the network."""
    network: Any = people.models[0].network
    with torch.inference_mode():
        size = people.models[0].input_size
        return network(images, inputs=extra_inputs(people.models[0].description.backbone, size, len(images)))


def random_model(name: str, folder: Path) -> Path:
    """A folder with a published model's shape and random weights."""
    description = PUBLISHED_MODELS[name].description()
    torch.manual_seed(0)
    save_model(folder / "model", build_model(description), description)
    return folder / "model"


def matrix_rate() -> float:
    """Operations a second of a float32 product of square matrices, the best of some."""
    matrix = torch.randn(SIDE, SIDE)
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - begun)
    return 2 * SIDE**3 / min(times)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--random", metavar="NAME", help="a published model's shape instead, with random weights")
    parser.add_argument("--photo", type=Path, default=portrait(), help="by default the portrait of the package")
    parser.add_argument("--whole", action="store_true", help="take the photo for one person, look for nobody")
    parser.add_argument("--runtimes", nargs="+", default=["openvino", "openvino-int8"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="a file for all rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
