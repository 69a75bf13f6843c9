"""Pictures of the same moments from calibrated cameras: who is who, what the views agree on, and labels from that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from opensapiens.annotation.agreement import SURE, Agreement, Measured, agree
from opensapiens.annotation.association import Detection, Following, associate
from opensapiens.annotation.picture_labels import PictureLabels, stem_of
from opensapiens.annotation.tool_files import person_annotation, prelabeled
from opensapiens.geometry.boxes import person_area
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.geometry.triangulation import triangulate
from opensapiens.labels.keypoint_maps import convert_keypoints
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.storage.listing import counted
from opensapiens.storage.progress import progress

LEAST_IN_PICTURE = 3  # points of a person whom a view's model has missed, for a label there
MARGIN = 0.05  # of the extent of the points, around them, for the box of such a person


class RigError(ValueError):
    """Pictures that are not those of a calibrated rig; the message says what was expected."""


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras with their pictures: frames are names, names[frame][view] the picture below the folder of images."""

    cameras: list[CalibratedCamera]
    frames: list[str]
    names: list[list[str | None]]


@dataclass(frozen=True)
class Instance:
    """One person in one frame: the place of the frame in the rig's list, and the person's number."""

    frame: int
    person: int


@dataclass(frozen=True, eq=False)
class Views:
    """Everything that the views of a rig say. detection[i][v]: of instance i in view v, None where there is none.
    alone: by picture, the people whom no other view confirms."""

    rig: Rig
    keypoint_set: KeypointSet
    instances: list[Instance]
    detection: list[list[Detection | None]]
    measured: Measured
    agreement: Agreement
    alone: dict[str, list[Detection]]


def lay_out(pictures: Mapping[str, PictureLabels], cameras: Sequence[CalibratedCamera]) -> tuple[Rig, list[str]]:
    """Which camera and frame each picture is of: CAMERA/FRAME.jpg; frames of the same name show the same moment.

    Also a sentence for each camera without pictures (it is left out), folder without a camera, frame that lacks
    pictures, and picture that is not of its camera's size (it is left out). A camera of unknown size gets that of its
    first picture. Raises RigError with fewer than two cameras that have pictures.
    """
    by_name = {camera.name: camera for camera in cameras}
    names: dict[str, dict[str, str]] = {name: {} for name in by_name}  # of pictures, by camera and frame
    strangers: Counter[str] = Counter()
    for path in pictures:
        folder = PurePosixPath(path).parent.as_posix()
        if folder in names:
            names[folder][PurePosixPath(stem_of(path)).name] = path
        else:
            strangers[folder] += 1
    failures = [
        f"{'pictures outside any folder' if folder == '.' else folder}: no camera of this name in the calibration; "
        f"{counted(count, 'picture')} left out"
        for folder, count in sorted(strangers.items())
    ]
    empty = sorted(name for name in names if not names[name])
    failures += [f"camera {name}: no folder of that name with pictures; it was left out" for name in empty]
    used = sorted(name for name in names if names[name])
    if len(used) < 2:
        raise RigError(
            f"{len(used)} of {len(cameras)} cameras have a folder of pictures; at least two are needed. Folders are "
            f"named after cameras: {', '.join(sorted(by_name))}"
        )
    frames = sorted({frame for camera in used for frame in names[camera]})
    rows = [[names[camera].get(frame) for camera in used] for frame in frames]
    for frame, row in zip(frames, rows, strict=True):
        missing = [camera for camera, name in zip(used, row, strict=True) if name is None]
        if missing:
            failures.append(f"frame {frame}: no picture of {', '.join(missing)}")
    sizes = [by_name[camera].size or pictures[names[camera][min(names[camera])]].size for camera in used]
    for row in rows:
        for v, name in enumerate(row):
            if name is not None and pictures[name].size != sizes[v]:
                (height, width), (camera_height, camera_width) = pictures[name].size, sizes[v]
                failures.append(
                    f"{name}: {width}×{height} pixels, but {used[v]} was calibrated at {camera_width}×{camera_height}"
                )
                row[v] = None
    rig_cameras = [replace(by_name[camera], size=size) for camera, size in zip(used, sizes, strict=True)]
    return Rig(rig_cameras, frames, rows), failures


def compare(rig: Rig, labels: Mapping[str, PictureLabels], keypoint_set: KeypointSet, seed: int = 0) -> Views:
    """Tells people apart over views and frames, and finds what the views of each agree on."""
    following = Following()
    instances: list[Instance] = []
    detection: list[list[Detection | None]] = []
    alone: dict[str, list[Detection]] = {}
    for frame, names in enumerate(progress(rig.names, "views", unit="frames")):
        detected = [labels[name].people if name is not None else [] for name in names]
        confirmed: list[list[Detection | None]] = []
        for members in associate(rig.cameras, detected, keypoint_set):
            if len(members) > 1:
                confirmed.append([detected[v][members[v]] if v in members else None for v in range(len(names))])
            else:
                for v, d in members.items():
                    alone.setdefault(str(names[v]), []).append(detected[v][d])
        places = [_place(rig.cameras, person, keypoint_set) for person in confirmed]
        instances += [Instance(frame, number) for number in following.numbers(frame, places)]
        detection += confirmed
    measured = _measured(instances, detection, len(rig.cameras), len(keypoint_set))
    agreement = agree(rig.cameras, measured, keypoint_set, seed)
    return Views(rig, keypoint_set, instances, detection, measured, agreement, alone)


def _place(
    cameras: Sequence[CalibratedCamera], person: Sequence[Detection | None], keypoint_set: KeypointSet
) -> tuple[np.ndarray, float]:
    """Where the joints of a person are, roughly (k, 3), and the person's size, for following from frame to frame."""
    body = np.flatnonzero(np.array(keypoint_set.groups) == "body")
    chosen = body if len(body) else np.arange(len(keypoint_set))
    views = [(camera, detection) for camera, detection in zip(cameras, person, strict=True) if detection is not None]
    rays = np.stack([camera.rays(detection.points[chosen]) for camera, detection in views])
    scores = np.stack([detection.scores[chosen] for _, detection in views])
    extrinsics = np.stack([camera.extrinsics for camera, _ in views])
    points = triangulate(rays, extrinsics, np.where(scores >= SURE, scores, 0))
    sides = [np.sqrt(person_area(detection.box)) / camera.focal for camera, detection in views]
    depths = [
        np.nanmedian(camera.to_camera(points)[:, 2]) if np.isfinite(points).any() else np.nan for camera, _ in views
    ]
    return points, float(np.median(np.array(sides) * np.array(depths)))


def _measured(
    instances: Sequence[Instance], detection: Sequence[Sequence[Detection | None]], views: int, count: int
) -> Measured:
    points = np.full((len(instances), views, count, 2), np.nan)
    scores = np.zeros((len(instances), views, count))
    boxes = np.full((len(instances), views, 4), np.nan)
    for i, row in enumerate(detection):
        for v, seen in enumerate(row):
            if seen is not None:
                points[i, v], scores[i, v], boxes[i, v] = seen.points, seen.scores, seen.box
    return Measured(points, scores, boxes, np.array([instance.person for instance in instances], int))


def agreed_annotations(views: Views, target: KeypointSet) -> dict[str, list[dict[str, Any]]]:
    """By picture the people's annotations with the points of `target`.

    Points that the views agree on are where they project, in every picture that they fall into, also where its model
    missed them: visible (2) where the view itself agrees, else placed (1). Points that a person should look at, and all
    of a left-out camera, are the model's own.
    """
    annotations: dict[str, list[dict[str, Any]]] = defaultdict(list)
    agreement, source = views.agreement, views.keypoint_set
    for i, instance in enumerate(views.instances):
        agreed = agreement.reason[i] == 0
        for v, camera in enumerate(views.rig.cameras):
            name = views.rig.names[instance.frame][v]
            if name is None:
                continue
            detection = views.detection[i][v]
            if agreement.left_out[v]:
                if detection is not None:
                    annotations[name].append(_by_the_model(detection, instance.person, source, target))
                continue
            projected = agreement.projected[i, v]
            inside = camera.in_picture(projected) & agreed
            if detection is None and inside.sum() < LEAST_IN_PICTURE:
                continue
            model_scores = np.zeros(len(agreed)) if detection is None else detection.scores
            visibility = np.where(agreement.agreeing[i, v], 2, 1) * inside
            visibility = np.where(agreed, visibility, np.where(model_scores >= SURE, 2, 0))
            scores = np.where(visibility > 0, np.where(agreed, agreement.scores[i], model_scores), 0)
            points = np.where(inside[:, None], projected, np.nan_to_num(views.measured.points[i, v]))
            box = _box(points[inside], camera) if detection is None else detection.box
            if source is not target:
                scores = convert_keypoints(points, scores, source, target)[1]
                points, visible = convert_keypoints(points, visibility, source, target)
                visibility = visible.astype(int)
            score = float(scores[visibility > 0].mean()) if (visibility > 0).any() else 0.0
            annotations[name].append(person_annotation(points, visibility, scores, box, instance.person, score))
    last = max((instance.person for instance in views.instances), default=0)
    for name, people in views.alone.items():
        annotations[name] += [
            _by_the_model(detection, number, source, target) for number, detection in enumerate(people, last + 1)
        ]
    return annotations


def _by_the_model(detection: Detection, person: int, source: KeypointSet, target: KeypointSet) -> dict[str, Any]:
    return prelabeled(converted(replace(detection, number=person), source, target))


def converted(detection: Detection, source: KeypointSet, target: KeypointSet) -> Detection:
    """A detection with the points of another set; those that the source lacks have score 0."""
    if source is target:
        return detection
    points, scores = convert_keypoints(detection.points, detection.scores, source, target)
    return replace(detection, points=points, scores=scores)


def _box(points: np.ndarray, camera: CalibratedCamera) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    margin = MARGIN * float((high - low).max())
    height, width = camera.size or (np.inf, np.inf)
    return np.concatenate([np.maximum(low - margin, 0), np.minimum(high + margin, [width, height])])
