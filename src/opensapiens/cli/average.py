"""`opensapiens average`."""

from pathlib import Path
from typing import Annotated

import tyro


def average(
    models: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL MODEL [...]")],
    /,
    output: Path,
    shares: tuple[float, ...] | None = None,
) -> int:
    """Make one model out of several that were trained on from the same start, with other seeds, data or rates.

    The mean of their weights (a "model soup") is often better than each of them, and costs no more to run. Judge it by
    `opensapiens evaluate` beside the others.

    For example:
    $ opensapiens average runs/seed_1/model runs/seed_2/model --output runs/mean
    $ opensapiens average before runs/after/model --shares 0.3 0.7 --output runs/mean

    Args:
        models: model folders of the same network, labels and input size.
        output: the folder to write.
        shares: how much of each, in their order; divided by their sum. By default as much of each.
    """
    from opensapiens.checkpoints.model_soup import average_models

    description = average_models(models, output, shares)
    print(f"{output}: {description.name}, {description.source}")
    return 0
