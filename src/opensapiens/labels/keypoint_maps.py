"""Maps points between keypoint sets, and the 114 points that the sets of 308 and of 133 share."""

from __future__ import annotations

import numpy as np

from opensapiens.labels.keypoints import SAPIENS_308, TABLES, WHOLEBODY_133, KeypointSet, read_rows

# Points of the same name are the same: 53 of the 308 and 133, as in the published map. We add the joint at the root of
# each finger, which has two names ("left_thumb_third_joint", "left_thumb1") and the same sigma in both sets. None of
# the 68 face points of the 133 is in the 308.
FINGER_ROOTS = {
    f"{side}_{finger}1": f"{side}_{finger}_third_joint"
    for side in ("left", "right")
    for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
}


def _shared_points() -> tuple[KeypointSet, dict[str, np.ndarray]]:
    sets = (WHOLEBODY_133, SAPIENS_308)
    rows = read_rows(TABLES / "shared_114.csv", (WHOLEBODY_133.name, SAPIENS_308.name))
    indices = {points.name: np.array([points.index(row[points.name]) for row in rows]) for points in sets}
    return subset(WHOLEBODY_133, indices[WHOLEBODY_133.name], "shared_114"), indices


def subset(keypoints: KeypointSet, indices: np.ndarray, name: str) -> KeypointSet:
    """Some points of a set, as a set without limbs. ValueError if a point's mirror image is not among them."""
    new_index = {int(index): i for i, index in enumerate(indices)}
    mirrors = [new_index.get(int(index)) for index in keypoints.flip_indices[indices]]
    if None in mirrors:
        raise ValueError(f"{name}: some points' mirror images are not among them")
    return KeypointSet(
        name=name,
        names=tuple(keypoints.names[i] for i in indices),
        flip_indices=np.array(mirrors, dtype=np.int64),
        sigmas=keypoints.sigmas[indices],
        body_halves=tuple(keypoints.body_halves[i] for i in indices),
        groups=tuple(keypoints.groups[i] for i in indices),
        colors=keypoints.colors[indices],
        limbs=np.empty((0, 2), np.int64),
        limb_colors=np.empty((0, 3), np.uint8),
    )


SHARED_114, _SHARED_INDICES = _shared_points()
"""17 body, 6 foot, 40 finger and 51 inner face points, on which models of 308 and of 133 points can both be scored.

Our own table, since the published list of 114 points is not public. Body, feet and fingers are the same points by
definition. For each of the 51 face points inside the jaw line it has the nearest of the 308 on the body mesh in the
frontal view, some of them two or three millimeters off. Names and sigmas are those of the 133. For scoring only:
`source_indices` does not map face points.
"""


def source_indices(source: KeypointSet, target: KeypointSet) -> np.ndarray:
    """For each point of `target` its index in `source`, or -1: (K_target,) int64.

    Points correspond by name (see also FINGER_ROOTS), for SHARED_114 by its table. ValueError if the sets have no point
    in common.
    """
    if target is SHARED_114 and source.name in _SHARED_INDICES:
        return _SHARED_INDICES[source.name].copy()
    other_names = FINGER_ROOTS | {published: ours for ours, published in FINGER_ROOTS.items()}
    positions = {name: i for i, name in enumerate(source.names)}
    indices = np.array([positions.get(name, positions.get(other_names.get(name, ""), -1)) for name in target.names])
    if (indices < 0).all():
        raise ValueError(f"the keypoints {source.name} and {target.name} have no point in common")
    return indices


def convert_keypoints(
    points: np.ndarray, scores: np.ndarray, source: KeypointSet, target: KeypointSet
) -> tuple[np.ndarray, np.ndarray]:
    """Points (..., K_source, 2) and scores or visibilities (..., K_source) as those of `target`.

    Points that the source lacks become (0, 0) with score 0. ValueError if the sets have no point in common or the
    shapes do not fit.
    """
    if points.shape[-2:] != (len(source), 2) or scores.shape[-1] != len(source):
        raise ValueError(f"{source.name} has {len(source)} points; got points {points.shape} and scores {scores.shape}")
    indices = source_indices(source, target)
    present = indices >= 0
    return np.where(present[:, None], points[..., indices, :], 0), np.where(present, scores[..., indices], 0)
