"""`opensapiens synthesize`."""

from __future__ import annotations

import sys
from pathlib import Path


def synthesize(out: Path, count: int = 4096, seed: int = 0, workers: int = 1) -> int:
    """Make synthetic people with exact labels for every task, as tar shards to train and evaluate on.

    Needs the extra "synthetic". A run that was stopped goes on where it was; the same seed gives the same frames.

    For example:
    $ opensapiens synthesize --out shards/train --count 20000 --workers 2

    Args:
        out: the folder for the shards.
        count: how many frames; each has one to three people.
        seed: another seed, other frames.
        workers: processes; one per core.
    """
    try:
        from opensapiens.synthetic.synthesize import synthesize as make

        make(count, out, seed=seed, workers=workers)
    except ModuleNotFoundError as error:
        message = f"making people needs {error.name}: pip install opensapiens[synthetic]"
        raise ModuleNotFoundError(message, name=error.name) from error
    except ValueError as error:  # the folder belongs to another run
        print(f"opensapiens synthesize: {error}", file=sys.stderr)
        return 2
    print(f"{count} frames are in {out}")
    return 0
