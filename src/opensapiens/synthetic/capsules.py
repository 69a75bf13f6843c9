"""Whether limbs pass through each other: capsules around the bones, and the depth of the deepest overlap."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from opensapiens.synthetic.rotations import lengths_of

ALLOWED_DEPTH = 0.03
"""Meters that limbs may sink into each other; flesh gives way."""
CAPSULES: dict[str, tuple[str, str, float, float]] = {
    "belly": ("spine05", "spine02", 0.0, 0.12),
    "breast": ("shoulder01.R", "shoulder01.L", 0.0, 0.1),
    "head": ("neck03", "head", 1.6, 0.095),
    "upper_arm": ("upperarm01", "lowerarm01", 0.0, 0.045),
    "forearm": ("lowerarm01", "wrist", 0.0, 0.036),
    "hand": ("wrist", "finger3-1", 0.5, 0.035),
    "thigh": ("upperleg01", "lowerleg01", 0.0, 0.075),
    "shin": ("lowerleg01", "foot", 0.0, 0.05),
}
"""Name: from bone, to bone, extension (share of the length), radius in meters; limbs exist on both sides."""
ARM_PAIRS = (
    ("hand", "belly"), ("forearm", "belly"), ("hand", "breast"), ("forearm", "breast"), ("hand", "head"),
    ("forearm", "head"), ("hand", "thigh"), ("forearm", "thigh"), ("hand", "shin"), ("forearm", "shin"),
)  # fmt: skip
ACROSS_PAIRS = (
    ("forearm", "forearm"), ("hand", "hand"), ("hand", "forearm"), ("forearm", "upper_arm"), ("hand", "upper_arm"),
    ("thigh", "thigh"), ("shin", "shin"), ("shin", "thigh"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Capsules:
    """Capsules of a skeleton: (from, to) bones (C, 2), extension (C,), radius (C,) in meters, and the pairs of
    capsules (P, 2) that must stay apart."""

    bones: np.ndarray
    stretch: np.ndarray
    radius: np.ndarray
    pairs: np.ndarray

    def overlap(self, places: np.ndarray) -> float:
        """Depth in meters of the deepest overlap, with the heads of the bones at positions (J, 3)."""
        start, end = places[self.bones[:, 0]], places[self.bones[:, 1]]
        end = end + self.stretch[:, None] * (end - start)
        first, second = self.pairs.T
        gap = segment_distance(start[first], end[first], start[second], end[second])
        return float(np.max(self.radius[first] + self.radius[second] - gap))


def capsules_of(index: Mapping[str, int]) -> Capsules:
    """The capsules of a skeleton, given the index of each bone by name."""
    names, bones, stretch, radius = [], [], [], []
    for name, (start, end, more, size) in CAPSULES.items():
        limb = f"{start}.L" in index
        for side in "LR" if limb else ("",):
            names.append(f"{name}.{side}" if limb else name)
            bones.append([index[f"{bone}.{side}" if limb else bone] for bone in (start, end)])
            stretch.append(more)
            radius.append(size)
    pairs = []
    for first, second in ARM_PAIRS:
        for side in "LR":
            for target in (second, f"{second}.L", f"{second}.R"):
                if target in names:
                    pairs.append((names.index(f"{first}.{side}"), names.index(target)))
    for first, second in ACROSS_PAIRS:
        pairs.append((names.index(f"{first}.L"), names.index(f"{second}.R")))
        if first != second:
            pairs.append((names.index(f"{first}.R"), names.index(f"{second}.L")))
    return Capsules(np.array(bones), np.array(stretch), np.array(radius), np.array(pairs))


def segment_distance(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Distances (P,) between segments a-b and c-d, all (P, 3)."""
    u, v, w = b - a, d - c, a - c
    uu, uv, vv = _dots(u, u) + 1e-12, _dots(u, v), _dots(v, v) + 1e-12
    uw, vw = _dots(u, w), _dots(v, w)
    s = np.clip((uv * vw - vv * uw) / np.maximum(uu * vv - uv * uv, 1e-9), 0, 1)
    t = np.clip((uv * s + vw) / vv, 0, 1)
    s = np.clip((uv * t - uw) / uu, 0, 1)
    return lengths_of(w + s[:, None] * u - t[:, None] * v)


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, y, z = (a * b).T
    return np.asarray(x + y + z)
