"""The mean of the weights of several models that were trained from the same start: often better than each of them.

"Model soups" (Wortsman et al., ICML 2022).
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
    """Writes the model folder `target`, the float32 mean of the folders `sources`, and returns its description.

    Name, license and preprocessing are those of the first; there are no scores.

    Args:
        sources: at least two, of the same network for the same labels and input. Models from different random starts
            cannot be averaged; this is not checked.
        shares: positive weights of the models, normalized here. None = equal.
        dtype: type to store the tensors in, by default that of the first.

    Raises:
        CheckpointError: too few folders, invalid shares, or folders that differ in network, labels or input or cannot
            be read.
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
