"""Ids of people from frame to frame, and keypoints without jitter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opensapiens.geometry.boxes import box_iou
from opensapiens.inference.results import Person

SAME_BOX = 0.3  # intersection over union from which a box may continue a person
SAME_POSE = 0.5  # object keypoint similarity from which a pose may
MEMORY = 30  # frames for which someone out of sight is remembered
SURE = 0.3  # heatmap maximum from which a point counts for the similarity of poses


@dataclass(eq=False)
class Track:
    """A person as last seen, in frame `seen`; keypoints K×2 and scores K are empty without a pose head."""

    id: int
    seen: int
    box: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    smoother: OneEuro | None = None


@dataclass(eq=False)
class Tracker:
    """Gives people lasting ids by the overlap of boxes and poses, best match first.

    sigmas: (K,) of the keypoint set, None without a pose head. smooth: also filter the keypoints. Its output depends
    only on the people seen so far, in their order; `state` and `restore` carry it over to another run.
    """

    sigmas: np.ndarray | None = None
    smooth: bool = False
    next_id: int = 1
    tracks: list[Track] = field(default_factory=list)

    def update(self, persons: Sequence[Person], frame: int, seconds: float, cut: bool = False) -> None:
        """Set the ids (and with `smooth` filter the keypoints) of the people in the frame at `seconds`.

        cut: the frame begins a new scene, so nobody is the same as before.
        """
        self.tracks = [] if cut else [track for track in self.tracks if frame - track.seen <= MEMORY]
        overlap = self._similarity(persons)
        matched: dict[int, Track] = {}
        while overlap.size and overlap.max() > 0:
            old, new = np.unravel_index(int(overlap.argmax()), overlap.shape)
            matched[int(new)] = self.tracks[int(old)]
            overlap[old], overlap[:, new] = 0, 0
        for index, person in enumerate(persons):
            track = matched.get(index)
            if track is None:
                track = Track(self.next_id, frame, person.box, person.keypoints, person.scores)
                self.next_id += 1
                self.tracks.append(track)
            track.seen, track.box = frame, person.box
            track.keypoints, track.scores = person.keypoints, person.scores
            person.id = track.id
            if self.smooth and len(person.keypoints):
                track.smoother = track.smoother or OneEuro()
                size = float(np.sqrt(np.prod(person.box[2:] - person.box[:2])))
                person.keypoints = track.smoother.step(person.keypoints, seconds, size)

    def _similarity(self, persons: Sequence[Person]) -> np.ndarray:
        """(tracks, people): IoU of the boxes plus similarity of the poses, 0 where they cannot be the same person."""
        boxes = box_iou(
            np.array([track.box for track in self.tracks]).reshape(-1, 4),
            np.array([person.box for person in persons]).reshape(-1, 4),
        )
        poses = np.zeros_like(boxes)
        if self.sigmas is not None:
            for i, track in enumerate(self.tracks):
                for j, person in enumerate(persons):
                    poses[i, j] = _pose_similarity(track, person, self.sigmas)
        return np.where((boxes >= SAME_BOX) | (poses >= SAME_POSE), boxes + poses, 0)

    def state(self) -> dict[str, Any]:
        """Everything that the next update depends on, for JSON, which keeps float32 exactly."""
        return {
            "next_id": self.next_id,
            "tracks": [
                {
                    "id": track.id,
                    "seen": track.seen,
                    "box": track.box.tolist(),
                    "keypoints": track.keypoints.tolist(),
                    "scores": track.scores.tolist(),
                    "smoother": None if track.smoother is None else track.smoother.state(),
                }
                for track in self.tracks
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state()."""
        self.next_id = state["next_id"]
        self.tracks = [
            Track(
                id=track["id"],
                seen=track["seen"],
                box=np.array(track["box"], np.float32),
                keypoints=np.array(track["keypoints"], np.float32).reshape(-1, 2),
                scores=np.array(track["scores"], np.float32),
                smoother=None if track["smoother"] is None else OneEuro.restored(track["smoother"]),
            )
            for track in state["tracks"]
        ]


def _pose_similarity(track: Track, person: Person, sigmas: np.ndarray) -> float:
    """COCO's object keypoint similarity over the points that are sure in both, 0 if there are fewer than three."""
    sure = (track.scores >= SURE) & (person.scores >= SURE)
    if sure.sum() < 3:
        return 0.0
    distance = ((track.keypoints[sure] - person.keypoints[sure]).astype(np.float64) ** 2).sum(axis=1)
    area = float(np.prod((track.box[2:] - track.box[:2]).astype(np.float64)))
    return float(np.exp(-distance / (2 * max(area, 1e-9) * (2 * sigmas[sure]) ** 2)).mean())


@dataclass(eq=False)
class OneEuro:
    """The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) on the keypoints of one person.

    A low-pass filter whose cutoff rises with speed: little jitter at rest, little lag in motion. Speed is measured in
    sizes of the person (the square root of the box's area) per second, so that near and far people are alike.
    """

    min_cutoff: float = 1.5  # Hz, for a point at rest
    beta: float = 4.0  # Hz more per size of the person and second
    speed_cutoff: float = 1.0  # Hz, of the speed itself
    time: float | None = None
    points: np.ndarray | None = None
    speed: np.ndarray | None = None

    def step(self, points: np.ndarray, time: float, size: float) -> np.ndarray:
        """The points (K×2 float32) at a time in seconds, filtered."""
        measured = points.astype(np.float64)
        if self.points is None or self.speed is None or self.time is None or time <= self.time:
            self.points, self.speed, self.time = measured, np.zeros_like(measured), time
            return points
        elapsed = time - self.time
        raw_speed = (measured - self.points) / elapsed
        self.speed = self.speed + _weight(self.speed_cutoff, elapsed) * (raw_speed - self.speed)
        pace = np.linalg.norm(self.speed, axis=1, keepdims=True) / max(size, 1e-9)
        self.points = self.points + _weight(self.min_cutoff + self.beta * pace, elapsed) * (measured - self.points)
        self.time = time
        return self.points.astype(np.float32)

    def state(self) -> dict[str, Any]:
        """For JSON."""
        assert self.points is not None and self.speed is not None
        return {"time": self.time, "points": self.points.tolist(), "speed": self.speed.tolist()}

    @staticmethod
    def restored(state: dict[str, Any]) -> OneEuro:
        """The filter of a state()."""
        return OneEuro(time=state["time"], points=np.array(state["points"]), speed=np.array(state["speed"]))


def _weight(cutoff: Any, elapsed: float) -> Any:
    """Of a new value in an exponential average with a cutoff f in Hz: 1 / (1 + tau / elapsed), tau = 1 / (2 pi f)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * elapsed))
