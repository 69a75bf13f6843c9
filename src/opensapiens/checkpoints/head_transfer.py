"""A head for new labels that starts from a trained one: what has the same name keeps its weights."""

import numpy as np
import torch

from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import IGNORED, PartSet, part_lookup
from opensapiens.models.upsampling_head import UpsamplingHead

from .model_description import ModelDescription
from .strict_loading import CheckpointError


def shared_channels(old: ModelDescription, new: ModelDescription, head: str) -> np.ndarray:
    """For each channel of the new model's head the one of the old head with the same label: (C,), -1 = none.

    Points are the same as `labels.keypoint_maps.source_indices` has it, parts when their names are. Channels without
    labels are the same where their number is.

    Raises:
        CheckpointError: the old model has no such head, one with layers of other widths, or other channels without
            labels.
    """
    if head not in old.heads:
        raise CheckpointError(f"{old.name} has no {head} head to start from; it has {', '.join(old.heads) or 'none'}")
    for key in ("deconv_channels", "conv_channels"):
        if getattr(old.heads[head], key) != getattr(new.heads[head], key):
            raise CheckpointError(f"the {head} head of {old.name} has other {key} than that of {new.name}")
    known, wanted = old.heads[head].label_set, new.heads[head].label_set
    if isinstance(known, KeypointSet) and isinstance(wanted, KeypointSet):
        try:
            return source_indices(known, wanted)
        except ValueError:  # no point in common
            return np.full(len(wanted), -1)
    if isinstance(known, PartSet) and isinstance(wanted, PartSet):
        table = part_lookup(wanted, known)[: len(wanted)].astype(int)
        return np.where(table == IGNORED, -1, table)
    if old.heads[head].out_channels != new.heads[head].out_channels:
        raise CheckpointError(f"the {head} head of {old.name} has other out_channels than that of {new.name}")
    return np.arange(new.heads[head].out_channels)


@torch.no_grad()
def start_head(fresh: UpsamplingHead, trained: UpsamplingHead, channels: np.ndarray, known: int) -> None:
    """Give a fresh head the layers of a trained one, and of its output the given channels; those of -1 stay fresh.

    known: channels that the trained head predicts. What both compute beside the predicted channels goes over as well.
    """
    weights = trained.state_dict()
    fresh_rows = torch.from_numpy(np.flatnonzero(channels >= 0))
    trained_rows = torch.from_numpy(channels[channels >= 0])
    for name, parameter in fresh.named_parameters():
        if not name.startswith("output."):
            parameter.copy_(weights[name])
            continue
        parameter[fresh_rows] = weights[name][trained_rows]
        if len(parameter) - len(channels) == len(weights[name]) - known:
            parameter[len(channels) :] = weights[name][known:]
