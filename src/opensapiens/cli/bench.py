"""`opensapiens bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from opensapiens.cli.arguments import Flat
from opensapiens.evaluation.options import BenchOptions


def bench(
    model: Annotated[str, tyro.conf.Positional] = "nano",
    /,
    photo: Path | None = None,
    options: Flat[BenchOptions] = BenchOptions(),
    json: Path | None = None,
) -> int:
    """Measure how fast a model runs on this machine, in every runtime that is installed.

    Each row gives, per image, the time to decode the photo, to preprocess it, of the network, and to postprocess its
    maps; images per second end to end; peak memory; the network's share of the rate of a matrix product, measured in
    the same run; its speedup over plain PyTorch; and how its predictions differ from float32. With --data each row also
    has one score per task, and the JSON file has all scores.
    All settings take turns, and the shortest of each time counts. On a CPU, times are processor time of all threads,
    except images per second, so that other programs disturb them little.

    For example:
    $ opensapiens bench nano
    $ opensapiens bench nano --data shards/test --limit 50 --json bench.json
    $ opensapiens bench sapiens-1b-pose308 --device cuda --batch-size 32

    Args:
        model: name or folder of a model.
        photo: taken for one person; by default a portrait that comes with the package.
        json: a file for all figures.
    """
    from opensapiens.evaluation.bench import bench as measure
    from opensapiens.evaluation.bench import table
    from opensapiens.export.export import portrait
    from opensapiens.storage.files import write_json
    from opensapiens.storage.folders import check_output

    if json is not None:
        check_output(json, [photo, options.data])
    rows = measure(model, photo or portrait(), options)
    print(f"{model} on {rows[0]['device']}, {rows[0]['threads']} threads, batch {options.batch_size}")
    print("\n".join(table(rows)))
    if json is not None:
        write_json(json, rows)
        print(f"all figures are in {json}", file=sys.stderr)
    return 0
