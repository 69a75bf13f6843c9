"""The same points under another set's numbering: 308 -> 133, 308 -> 17, 133 -> 17."""

from __future__ import annotations

import numpy as np

from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, WHOLEBODY_133, KeypointSet

CONVERTIBLE = {
    (SAPIENS_308.name, WHOLEBODY_133.name),
    (SAPIENS_308.name, COCO_17.name),
    (WHOLEBODY_133.name, COCO_17.name),
}

# The published map from 308 to 133 knows the 53 points whose names are the same in both sets. The joint at the root
# of each finger is also the same point, under two names ("left_thumb_third_joint", "left_thumb1"; the sets give both
# the same sigma), and we fill those ten as well. The face contour and WholeBody's hand roots have no counterpart.
FINGER_ROOTS = {
    f"{side}_{finger}1": f"{side}_{finger}_third_joint"
    for side in ("left", "right")
    for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
}


def source_indices(source: KeypointSet, target: KeypointSet) -> np.ndarray:
    """For each point of `target` the index of the same point in `source`, -1 where it has none: (K_target,) int64.

    ValueError when no map between the two sets is known.
    """
    if source is target:
        return np.arange(len(target))
    if (source.name, target.name) not in CONVERTIBLE:
        raise ValueError(f"no map from the keypoints {source.name} to {target.name}")
    positions = {name: i for i, name in enumerate(source.names)}
    return np.array([positions.get(name, positions.get(FINGER_ROOTS.get(name, ""), -1)) for name in target.names])


def convert_keypoints(
    points: np.ndarray, scores: np.ndarray, source: KeypointSet, target: KeypointSet
) -> tuple[np.ndarray, np.ndarray]:
    """Renumber points (..., K_source, 2) and scores (..., K_source) to `target`: (..., K_target, 2) and (...,
    K_target).

    Points that the source lacks become (0, 0) with score 0. ValueError when no map is known or the shapes do not fit.
    """
    if points.shape[-2:] != (len(source), 2) or scores.shape[-1] != len(source):
        raise ValueError(f"{source.name} has {len(source)} points; got points {points.shape} and scores {scores.shape}")
    indices = source_indices(source, target)
    present = indices >= 0
    return np.where(present[:, None], points[..., indices, :], 0), np.where(present, scores[..., indices], 0)
