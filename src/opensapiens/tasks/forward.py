"""The one forward pass for validation, evaluation and inference, with or without the flip test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class FlipRule:
    """How a head's channels change when its input is mirrored.

    permutation: (C,) the channel of the mirrored maps that takes each channel's place; None = every channel stays.
    negated: channels whose sign turns (x of a surface normal).
    """

    permutation: Sequence[int] | None = None
    negated: tuple[int, ...] = ()

    def undo(self, maps_BChw: Tensor) -> Tensor:
        """Maps of mirrored images -> maps of the images as they were."""
        maps = maps_BChw.flip(-1)
        if self.permutation is not None:
            if len(self.permutation) != maps.shape[1]:
                raise ValueError(f"the flip rule has {len(self.permutation)} channels, the maps {maps.shape[1]}")
            maps = maps[:, torch.as_tensor(self.permutation, device=maps.device)]
        for channel in self.negated:
            maps[:, channel] = -maps[:, channel]  # `flip` has already copied
        return maps


class NotFinite(ValueError):
    """A network's output is not finite; the message names the heads."""


@torch.no_grad()
def maps(
    model: nn.Module | Callable[..., dict[str, Tensor]],
    images_B3HW: Tensor,
    flip: bool = False,
    flip_rules: Mapping[str, FlipRule] | None = None,
    heads: Sequence[str] | None = None,
    inputs: Mapping[str, Tensor] | None = None,
    mirrored_inputs: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Raw maps of each head, without gradients.

    With `flip`: the mean of the maps and of those of the mirrored images, mirrored back but not shifted, as published.

    Args:
        model: a HumanModel, or anything called with (images, heads), and `inputs` where there are some, that
            returns maps by head.
        images_B3HW: normalized images.
        flip_rules: head name -> its rule (`task.flip_rule`); needed for every head when `flip`.
        heads: heads to run; None = all.
        inputs: of the backbone, other than the pixels: `BackboneConfig.view_inputs`, in batches.
        mirrored_inputs: the same for the mirrored images (`BackboneConfig.mirrored`), where `flip`.

    Raises:
        ValueError: `flip` for a head without a rule, or a rule of another number of channels.
        NotFinite: maps that are not finite.
    """
    plain = model(images_B3HW, heads, inputs=inputs)
    if flip:
        rules = flip_rules or {}
        missing = [head for head in plain if head not in rules]
        if missing:
            raise ValueError(f"the flip test needs a flip rule for {', '.join(missing)}")
        mirrored = model(images_B3HW.flip(-1), heads, inputs=mirrored_inputs)
        plain = {head: (plain[head] + rules[head].undo(mirrored[head])) * 0.5 for head in plain}
    not_finite = [head for head, maps_BChw in plain.items() if not maps_BChw.isfinite().all()]
    if not_finite:
        type_name = str(images_B3HW.dtype).removeprefix("torch.")
        raise NotFinite(f"the network's output for {', '.join(not_finite)} is not finite, computed in {type_name}")
    return plain
