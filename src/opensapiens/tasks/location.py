"""What a crop's place in its picture does to depth and normals (see `geometry.location`).

A network sees a person as a camera would that is turned towards them. The picture's own camera is turned away by an
angle that grows with the distance from the picture's middle and with how wide the lens is: its depth has another slope
across the crop, and its normals are turned. A "located" head has one channel more than its task, which says how much at
each pixel, since lens and proportions differ. It starts at 1: a focal length of the picture's diagonal.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

SLOPE = 2.0
"""How many times longer the diagonal of a crop is than the person in it is deep, about: depth is in the latter."""


def at_locations(
    maps_of_head: Mapping[str, Tensor], locations_B2: Tensor | None, located: Collection[str]
) -> dict[str, Tensor]:
    """Maps of each head, those of the `located` heads, with a channel more, as the picture's camera sees them.

    Args:
        locations_B2: `Sample.location` of each, right and down; None = all in the middle of their pictures.
    """
    placed = dict(maps_of_head)
    for head in placed.keys() & set(located):
        maps, change_B1hw = placed[head].float().split([placed[head].shape[1] - 1, 1], dim=1)
        if locations_B2 is not None:
            right, down = locations_B2.to(maps)[:, :, None, None, None].unbind(dim=1)
            maps = LOCATED[head](maps, change_B1hw * right, change_B1hw * down)
        placed[head] = maps
    return placed


def _sloped(depth_B1hw: Tensor, right_B1hw: Tensor, down_B1hw: Tensor) -> Tensor:
    """Depth with a slope across the crop, `right` and `down` for each SLOPE-th of the crop's diagonal."""
    height, width = depth_B1hw.shape[-2:]
    diagonal = (height**2 + width**2) ** 0.5
    across = (torch.arange(width, device=depth_B1hw.device) - (width - 1) / 2) / diagonal
    below = (torch.arange(height, device=depth_B1hw.device) - (height - 1) / 2) / diagonal
    return depth_B1hw - SLOPE * (right_B1hw * across + down_B1hw * below[:, None])


def _turned(normals_B3hw: Tensor, right_B1hw: Tensor, down_B1hw: Tensor) -> Tensor:
    """Normals (+x right, +y up) turned by small angles: what faces a camera that looks to the right faces left."""
    x, y, z = normals_B3hw.split(1, dim=1)
    return torch.cat([x - right_B1hw * z, y + down_B1hw * z, z + right_B1hw * x - down_B1hw * y], dim=1)


LOCATED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"depth": _sloped, "normals": _turned}
"""The tasks whose heads can be located."""
