"""`opensapiens average`."""

from pathlib import Path
from typing import Annotated

import tyro


def average(
    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL MODEL [...]")],
    /,
    output: Path,
    shares: tuple[float, ...] | None = None,
) -> int:
    """Average the weights of several models that were trained from the same start.

    They may differ in seed, data or learning rate. The mean (a "model soup") is often better than each of them, and
    costs no more to run. Compare it with the others by `opensapiens evaluate`.

    For example:
    $ opensapiens average runs/seed_1/model runs/seed_2/model --output runs/mean
    $ opensapiens average before runs/after/model --shares 0.3 0.7 --output runs/mean

    Args:
        models: folders or names of models with the same network, labels and input size.
        output: the folder to write.
        shares: the weight of each model, in their order; divided by their sum. By default all are equal.
    """
    from opensapiens.checkpoints.catalog import model_folder
    from opensapiens.checkpoints.model_soup import average_models

    description = average_models([model_folder(model) for model in models], output, shares)
    print(f"{output}: {description.name}, {description.source}")
    return 0
