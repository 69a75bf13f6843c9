"""The same points under another set's numbering, and the 114 points that the sets of 308 and of 133 share."""

from __future__ import annotations

import numpy as np

from opensapiens.labels.keypoints import SAPIENS_308, TABLES, WHOLEBODY_133, KeypointSet, read_rows

# Names say which points are the same; in the sets of 308 and 133 the published map knows the 53 whose names agree. The
# joint at the root of each finger is also the same point, under two names ("left_thumb_third_joint", "left_thumb1"; the
# sets give both the same sigma), and we add those ten. The 68 points of the 133's face are no points of the 308.
FINGER_ROOTS = {
    f"{side}_{finger}1": f"{side}_{finger}_third_joint"
    for side in ("left", "right")
    for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
}


def _shared_points() -> tuple[KeypointSet, dict[str, np.ndarray]]:
    rows = read_rows(TABLES / "shared_114.csv", (WHOLEBODY_133.name, SAPIENS_308.name))
    known = (WHOLEBODY_133, SAPIENS_308)
    indices = {points.name: np.array([points.index(row[points.name]) for row in rows]) for points in known}
    return subset(WHOLEBODY_133, indices[WHOLEBODY_133.name], "shared_114"), indices


def subset(keypoints: KeypointSet, indices: np.ndarray, name: str) -> KeypointSet:
    """Some points of a set, as a set without limbs. ValueError when a point's mirror image is not among them."""
    place = {int(index): i for i, index in enumerate(indices)}
    mirrors = [place.get(int(index)) for index in keypoints.flip_indices[indices]]
    if None in mirrors:
        raise ValueError(f"{name}: some points' mirror images are not among them")
    pick = [int(index) for index in indices]
    return KeypointSet(
        name=name,
        names=tuple(keypoints.names[i] for i in pick),
        flip_indices=np.array(mirrors, dtype=np.int64),
        sigmas=keypoints.sigmas[pick],
        body_halves=tuple(keypoints.body_halves[i] for i in pick),
        groups=tuple(keypoints.groups[i] for i in pick),
        colors=keypoints.colors[pick],
        limbs=np.empty((0, 2), np.int64),
        limb_colors=np.empty((0, 3), np.uint8),
    )


SHARED_114, _SHARED_INDICES = _shared_points()
"""17 body, 6 foot, 40 finger and 51 inner face points that models of 308 and of 133 points can both be scored on.

A table of our own: the published list of 114 points is not public. Body, feet and fingers are the same points by
definition. For the face it names, for each of the 51 points inside the jaw line of the 68, the one of the 308 that lies
nearest to its place on the body mesh in the frontal view, some of them two or three millimeters off. Names and sigmas
are those of the 133. For scoring alone: `source_indices` does not take the face for the same points.
"""


def source_indices(source: KeypointSet, target: KeypointSet) -> np.ndarray:
    """For each point of `target` the index of the same point in `source`, -1 where it has none: (K_target,) int64.

    Points are the same when their names are, but for the roots of the fingers (see FINGER_ROOTS), and for SHARED_114 by
    its table. ValueError when the sets have no point in common.
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
    """Renumber points (..., K_source, 2) and scores (..., K_source) to `target`: (..., K_target, 2) and (...,
    K_target).

    Points that the source lacks become (0, 0) with score 0; scores may be visibilities, of which 0 means "unlabeled".
    ValueError when the sets have no point in common or the shapes do not fit.
    """
    if points.shape[-2:] != (len(source), 2) or scores.shape[-1] != len(source):
        raise ValueError(f"{source.name} has {len(source)} points; got points {points.shape} and scores {scores.shape}")
    indices = source_indices(source, target)
    present = indices >= 0
    return np.where(present[:, None], points[..., indices, :], 0), np.where(present, scores[..., indices], 0)
