"""One model out of several that were trained on from the same start: the mean of their weights.

"Model soups" (Wortsman et al., ICML 2022): such a mean is often better than each of them, and costs no more to run.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from opensapiens.storage.folders import check_output

from .model_description import ModelDescription
from .model_folder import folder_tensors, read_description, save_tensors
from .strict_loading import CheckpointError


def average_models(
    sources: Sequence[Path], target: Path, shares: Sequence[float] | None = None, dtype: torch.dtype | None = None
) -> ModelDescription:
    """Write the model folder `target`, the mean of the folders `sources`, and return its description.

    The mean is taken in float32. Name, license and preprocessing are of the first; scores are left out, since they are
    of none of them any more.

    Args:
        sources: at least two, of the same network for the same labels and input. Random starts of their own cannot be
            averaged, which the weights do not show.
        shares: one for each, positive; divided by their sum. None = equal.
        dtype: type to store the tensors in, by default as the first stores them.

    Raises:
        CheckpointError: too few folders, shares that do not fit them, folders that differ in network, labels or
            input, or that cannot be read.
    """
    if len(sources) < 2:
        raise CheckpointError(f"a mean is of two models or more, not of {len(sources)}")
    shares = [1.0] * len(sources) if shares is None else list(shares)
    if len(shares) != len(sources) or not all(0 < share < math.inf for share in shares):
        raise CheckpointError(f"{len(sources)} models need as many shares above 0, not {shares}")
    descriptions = [read_description(source) for source in sources]
    for source, description in zip(sources[1:], descriptions[1:], strict=True):
        for part in ("backbone", "heads", "decoder", "preprocessing"):
            if getattr(description, part) != getattr(descriptions[0], part):
                raise CheckpointError(f"{source} and {sources[0]} differ in their {part}; see their config.json")
    check_output(target, sources)
    first = folder_tensors(sources[0], descriptions[0])
    mean = {name: tensor.float() * (shares[0] / sum(shares)) for name, tensor in first.items()}
    for source, description, share in zip(sources[1:], descriptions[1:], shares[1:], strict=True):
        for name, tensor in folder_tensors(source, description).items():
            mean[name].add_(tensor.float(), alpha=share / sum(shares))
    origins = dict.fromkeys(description.source or description.name for description in descriptions)
    averaged = replace(descriptions[0], metrics={}, source=f"mean of {len(sources)}: {'; '.join(origins)}")
    save_tensors(target, {name: tensor.to(dtype or first[name].dtype) for name, tensor in mean.items()}, averaged)
    return averaged
