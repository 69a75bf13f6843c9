"""Who is who: the same person in several calibrated views, and from frame to frame.

A pair of people in two views is a hypothesis: triangulated and projected into the other views, it scores one for each
view that has somebody there. The best hypothesis becomes a person, and so on with the people who remain. Errors are in
spreads (see agreement): medians over the points that both views are sure of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from opensapiens.annotation.agreement import SURE, WIDE
from opensapiens.geometry.boxes import person_area
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.geometry.triangulation import ABSENT, ray_errors, robust_triangulation, triangulate
from opensapiens.labels.keypoints import KeypointSet

SAME = 1.5  # median error in spreads up to which somebody in a view is a person
LEAST_POINTS = 5  # that two views must share
HYPOTHESES = 32  # pairs of people tried at most for each person, those that fit best
SAME_PLACE = 0.75  # of the person's size: how far somebody may move from frame to frame
MEMORY = 30  # frames for which somebody out of sight is remembered


@dataclass(frozen=True, eq=False)
class Detection:
    """One person in one view: points K×2 pixels, scores K, box (4,) xyxy; score: of the person; number: from 1, that of
    the person in the image, as in its map of instances."""

    points: np.ndarray
    scores: np.ndarray
    box: np.ndarray
    score: float = 1.0
    number: int = 1


def associate(
    cameras: Sequence[CalibratedCamera], detections: Sequence[Sequence[Detection]], keypoint_set: KeypointSet
) -> list[dict[int, int]]:
    """The people of one frame, each as {view: index of the detection in that view}, those seen in most views first.

    detections: per view. Somebody whom no second view confirms is a person seen in one view. Deterministic.
    """
    chosen = _points_that_tell(keypoint_set)
    extrinsics = np.stack([camera.extrinsics for camera in cameras])
    mirror = np.array([int(np.flatnonzero(chosen == keypoint_set.flip_indices[k])[0]) for k in chosen])
    sigmas = keypoint_set.sigmas[chosen]
    seen = [
        [_seen(camera, detection, chosen, sigmas) for detection in in_view]
        for camera, in_view in zip(cameras, detections, strict=True)
    ]
    free = {(v, d) for v, in_view in enumerate(seen) for d in range(len(in_view))}
    pairs = [(_pair_error(seen, a, b, extrinsics), a, b) for a, b in combinations(sorted(free), 2) if a[0] != b[0]]
    pairs = sorted(pair for pair in pairs if pair[0] <= SAME)
    people = []
    while free:
        usable = [(a, b) for _, a, b in pairs if a in free and b in free][:HYPOTHESES]
        hypotheses = [_grown(seen, free, dict((a, b)), extrinsics, mirror) for a, b in usable]
        if not hypotheses:
            people += [{v: d} for v, d in sorted(free)]
            break
        members, _ = max(hypotheses, key=lambda hypothesis: (len(hypothesis[0]), -hypothesis[1]))  # the first of equals
        people.append(members)
        free -= set(members.items())
    return people


@dataclass(frozen=True, eq=False)
class _Seen:
    """The chosen points of a detection: rays (k, 2), their expected errors (k,) and weights (k,)."""

    rays: np.ndarray
    expected: np.ndarray
    weights: np.ndarray


def _seen(camera: CalibratedCamera, detection: Detection, chosen: np.ndarray, sigmas: np.ndarray) -> _Seen:
    side = float(np.sqrt(person_area(detection.box)))
    scores = detection.scores[chosen]
    rays = camera.rays(detection.points[chosen])
    return _Seen(rays, sigmas * side / camera.focal, np.where(scores >= SURE, scores, 0))


def _points_that_tell(keypoint_set: KeypointSet) -> np.ndarray:
    """The body's joints where the set has some: faces and hands have many points in a small place."""
    body = np.flatnonzero(np.array(keypoint_set.groups) == "body")
    return body if len(body) >= LEAST_POINTS else np.arange(len(keypoint_set))


def _place(seen: list[list[_Seen]], members: dict[int, int], extrinsics: np.ndarray) -> np.ndarray:
    """The points of a person in some views, (k, 3); with three or more views, wrong points of one view do not count."""
    views = sorted(members)
    in_views = [seen[v][members[v]] for v in views]
    rays = np.stack([person.rays for person in in_views])
    expected = np.stack([person.expected for person in in_views])
    weights = np.stack([person.weights for person in in_views])
    if len(views) == 2:
        return triangulate(rays, extrinsics[views], weights / expected**2)
    return robust_triangulation(rays, extrinsics[views], expected, weights, WIDE).points


def _fit(person: _Seen, points: np.ndarray, camera: np.ndarray, mirror: np.ndarray | None = None) -> float:
    """The median error of somebody in a view against points in space; with `mirror`, also with left and right swapped,
    whichever is smaller."""
    fits = []
    for order in [np.arange(len(points))] + ([] if mirror is None else [mirror]):
        rays, weights = person.rays[order], person.weights[order]
        errors = ray_errors(points, rays[None], camera[None], person.expected[None])[0]
        known = np.isfinite(errors) & (weights > 0)
        fits.append(float(np.median(errors[known])) if known.sum() >= LEAST_POINTS else ABSENT)
    return min(fits)


def _pair_error(seen: list[list[_Seen]], a: tuple[int, int], b: tuple[int, int], extrinsics: np.ndarray) -> float:
    points = _place(seen, dict((a, b)), extrinsics)
    return max(_fit(seen[v][d], points, extrinsics[v]) for v, d in (a, b))


def _grown(
    seen: list[list[_Seen]],
    free: set[tuple[int, int]],
    pair: dict[int, int],
    extrinsics: np.ndarray,
    mirror: np.ndarray,
) -> tuple[dict[int, int], float]:
    """The members of a pair and of the other views who fit, and the mean of their errors: found twice, the second time
    against the points of all who fitted."""
    members, errors = pair, [0.0]
    for _ in range(2):
        points = _place(seen, members, extrinsics)
        grown, errors = {}, []
        for v in range(len(seen)):
            fits = [(_fit(seen[v][d], points, extrinsics[v], mirror), d) for d in range(len(seen[v])) if (v, d) in free]
            if fits and min(fits)[0] <= SAME:
                error, grown[v] = min(fits)
                errors.append(error)
        if len(grown) < 2:
            return pair, SAME
        members = grown
    return members, float(np.mean(errors))


class Following:
    """Gives people numbers, from 1, that they keep from frame to frame, by the nearest joints in earlier frames."""

    def __init__(self) -> None:
        self.last: dict[int, tuple[int, np.ndarray, float]] = {}
        self.next = 1

    def numbers(self, frame: int, people: Sequence[tuple[np.ndarray, float]]) -> list[int]:
        """people: joints (k, 3) and size in the world's unit of those in this frame; NaN of those without a place."""
        self.last = {number: seen for number, seen in self.last.items() if frame - seen[0] <= MEMORY}
        distances = []
        for number, (_, before, size) in self.last.items():
            for index, (now, _) in enumerate(people):
                both = np.isfinite(before).all(-1) & np.isfinite(now).all(-1)
                distance = float(np.median(np.linalg.norm(before - now, axis=-1)[both])) if both.any() else np.inf
                if distance <= SAME_PLACE * size:
                    distances.append((distance, number, index))
        given: dict[int, int] = {}
        for _, number, index in sorted(distances):
            if number not in given.values() and index not in given:
                given[index] = number
        for index, (points, size) in enumerate(people):
            if index not in given:
                given[index] = self.next
                self.next += 1
            self.last[given[index]] = (frame, points, size)
        return [given[index] for index in range(len(people))]
