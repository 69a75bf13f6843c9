"""`openpose`: one JSON file per photo or frame, as OpenPose 1.7 writes it with --face and --hand, for tools that read
OpenPose's files (Pose2Sim, OpenSim's converters, ControlNet).

BODY_25 of `pose/poseParameters.cpp`: the neck and the middle of the hips are means of two joints, as they were in
OpenPose's training data. 70 points of the face: iBUG's 68 and the pupils, right first. 21 of each hand, from the wrist.
Coordinates are pixels of the image; a point that was not found is 0, 0, 0. A set without face and hands has empty lists
there, as OpenPose writes them without --face and --hand.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from opensapiens.inference.formats.format import Files, Format, Frame, Photo
from opensapiens.inference.formats.wholebody import whole_body
from opensapiens.inference.results import MINIMUM_SCORE, Person, Result
from opensapiens.labels.keypoints import WHOLEBODY_133, KeypointSet
from opensapiens.storage.files import write_json
from opensapiens.tasks.pose import PoseTask

VERSION = 1.3
FOLDER = "openpose_json"
"""Pose2Sim takes folders with "json" in their name."""
UNTRACKED = -1  # the id of a person who is not followed

BODY_25 = (
    ("nose",), ("left_shoulder", "right_shoulder"),
    ("right_shoulder",), ("right_elbow",), ("right_wrist",), ("left_shoulder",), ("left_elbow",), ("left_wrist",),
    ("left_hip", "right_hip"),
    ("right_hip",), ("right_knee",), ("right_ankle",), ("left_hip",), ("left_knee",), ("left_ankle",),
    ("right_eye",), ("left_eye",), ("right_ear",), ("left_ear",),
    ("left_big_toe",), ("left_small_toe",), ("left_heel",), ("right_big_toe",), ("right_small_toe",), ("right_heel",),
)  # fmt: skip
"""OpenPose's points in its order, each the mean of these."""
PUPILS = ("r_center_of_pupil", "l_center_of_pupil")


def person_row(person: Person, keypoint_set: KeypointSet, number: int) -> dict[str, list[float]]:
    """A person as OpenPose writes one. number: the id, or UNTRACKED."""
    points, scores = whole_body(person.keypoints, person.scores, keypoint_set)
    found = np.where(scores >= MINIMUM_SCORE, scores, 0)
    has_face = "face" in keypoint_set.groups
    has_hands = any("hand" in group for group in keypoint_set.groups)
    face = np.concatenate([_group(points, found, "face"), _pupils(person, keypoint_set)])
    flat = {
        "pose_keypoints": _numbers(np.stack([_mean(points, found, names) for names in BODY_25])),
        "face_keypoints": _numbers(face) if has_face else [],
        "hand_left_keypoints": _numbers(_group(points, found, "left_hand")) if has_hands else [],
        "hand_right_keypoints": _numbers(_group(points, found, "right_hand")) if has_hands else [],
    }
    row: dict[str, list[float]] = {"person_id": [number]}
    row |= {f"{name}_2d": numbers for name, numbers in flat.items()}
    return row | {f"{name}_3d": [] for name in flat}


def _mean(points: np.ndarray, scores: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(3,) x, y, score: of the worst of the points; zeros where one is missing."""
    channels = [WHOLEBODY_133.index(name) for name in names]
    score = scores[channels].min()
    return np.array([*points[channels].mean(axis=0), score]) if score > 0 else np.zeros(3)


def _group(points: np.ndarray, scores: np.ndarray, group: str) -> np.ndarray:
    channels = WHOLEBODY_133.group(group)
    triples = np.column_stack([points[channels], scores[channels]])
    return np.where(scores[channels, None] > 0, triples, 0)


def _pupils(person: Person, keypoint_set: KeypointSet) -> np.ndarray:
    triples = np.zeros((2, 3))
    for row, name in enumerate(PUPILS):
        if name in keypoint_set.names:
            channel = keypoint_set.index(name)
            if person.scores[channel] >= MINIMUM_SCORE:
                triples[row] = [*person.keypoints[channel], person.scores[channel]]
    return triples


def _numbers(triples: np.ndarray) -> list[float]:
    clipped = np.column_stack([triples[:, :2].round(3), triples[:, 2].clip(0, 1).round(6)])
    return clipped.ravel().tolist()


def content(result: Result, tracked: bool) -> dict[str, object]:
    """The content of the file of a photo or frame. tracked: whether ids tell who is who in other frames."""
    assert result.keypoint_set is not None
    rows = [person_row(one, result.keypoint_set, one.id if tracked else UNTRACKED) for one in result.persons]
    return {"version": VERSION, "people": rows}


def _of_photo(photo: Photo) -> Files:
    return {"openpose.json": partial(write_json, content=content(photo.result, tracked=False), indent=None)}


def _of_frame(frame: Frame) -> Files:
    name = f"{frame.name}_{frame.number:012d}_keypoints.json"
    return {name: partial(write_json, content=content(frame.result, tracked=True), indent=None)}


OPENPOSE = Format(
    _of_photo,
    _of_frame,
    folder=FOLDER,
    inside=r".*_\d{12}_keypoints\.json",
    needs=(PoseTask.name,),
    endings=("openpose.json",),
)
