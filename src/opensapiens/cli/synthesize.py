"""`opensapiens synthesize`."""

from __future__ import annotations

import sys
from pathlib import Path

from opensapiens.cli.arguments import Flat
from opensapiens.synthetic.options import SynthesizeOptions


def synthesize(out: Path, options: Flat[SynthesizeOptions] = SynthesizeOptions()) -> int:
    """Make synthetic people with exact labels for every task, as tar shards to train and evaluate on.

    Needs the extra "synthetic". Run an interrupted command again and it goes on where it stopped; the same seed gives
    the same frames. Beside the shards: a contact sheet, a data card (card.png, card.json) and a manifest.

    For example:
    $ opensapiens synthesize --out shards/train --count 20000 --workers 2
    $ opensapiens synthesize --out shards/scans --scans RenderPeople --environment panoramas --size 1024 768

    Args:
        out: the folder for the shards.
    """
    from opensapiens.synthetic.synthesize import make_set

    failures = make_set(out, options)
    also = [f"unpacked in {options.folders}"] if options.folders else []
    also += [f"their people cut out in {options.cutouts}"] if options.cutouts else []
    print(", ".join([f"{options.count} frames are in {out}", *also]))
    for failure in failures:
        print(f"opensapiens synthesize: left out {failure}", file=sys.stderr)
    return 1 if failures else 0
