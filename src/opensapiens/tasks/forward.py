"""The one forward pass for validation, evaluation and inference, with or without the flip test."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from opensapiens.tasks.location import at_locations


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


@torch.no_grad()
def maps(
    model: nn.Module | Callable[..., dict[str, Tensor]],
    images_B3HW: Tensor,
    flip: bool = False,
    flip_rules: Mapping[str, FlipRule] | None = None,
    heads: Sequence[str] | None = None,
    locations_B2: Tensor | None = None,
    located: Collection[str] = (),
) -> dict[str, Tensor]:
    """Raw maps of each head, without gradients.

    With `flip`: the mean of the maps and of those of the mirrored images, mirrored back but not shifted, as published.

    Args:
        model: a HumanModel, or anything called with (images, heads) that returns maps by head.
        images_B3HW: normalised images.
        flip_rules: head name -> its rule (`task.flip_rule`); needed for every head when `flip`.
        heads: heads to run; None = all.
        locations_B2, located: see `location.at_locations`.

    Raises:
        ValueError: `flip` for a head without a rule, or a rule of another number of channels.
    """
    plain = at_locations(model(images_B3HW, heads), locations_B2, located)
    if not flip:
        return plain
    rules = flip_rules or {}
    missing = [head for head in plain if head not in rules]
    if missing:
        raise ValueError(f"the flip test needs a flip rule for {', '.join(missing)}")
    if locations_B2 is not None:
        locations_B2 = locations_B2 * locations_B2.new_tensor([-1, 1])
    mirrored = at_locations(model(images_B3HW.flip(-1), heads), locations_B2, located)
    return {head: (plain[head] + rules[head].undo(mirrored[head])) * 0.5 for head in plain}
