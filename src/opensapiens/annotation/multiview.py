"""Pictures of the same moments from calibrated cameras: who is who, what the views agree on, and labels from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from opensapiens.annotation.agreement import SURE, Agreement, Measured, Progress, agree, silent
from opensapiens.annotation.association import Detection, Following, associate
from opensapiens.annotation.picture_labels import PictureLabels, stem_of
from opensapiens.annotation.tool_files import person_annotation, prelabeled
from opensapiens.geometry.boxes import person_area
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.geometry.triangulation import triangulate
from opensapiens.labels.keypoint_maps import convert_keypoints
from opensapiens.labels.keypoints import KeypointSet

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
    found: Agreement
    alone: dict[str, list[Detection]]


def lay_out(images: Sequence[str], cameras: Sequence[CalibratedCamera]) -> tuple[Rig, list[str]]:
    """Which picture is which camera's, and of which frame: CAMERA/FRAME.jpg, frames of equal names being of one moment.

    Also a sentence for each camera without pictures (it is left out), folder without a camera, and frame that lacks
    pictures. Raises RigError with fewer than two cameras that have pictures.
    """
    by_name = {camera.name: camera for camera in cameras}
    found: dict[str, dict[str, str]] = {name: {} for name in by_name}
    strangers: dict[str, int] = {}
    for name in images:
        folder = PurePosixPath(name).parent.as_posix()
        if folder in found:
            found[folder][PurePosixPath(stem_of(name)).name] = name
        else:
            strangers[folder] = strangers.get(folder, 0) + 1
    failures = [
        f"{'pictures outside any folder' if folder == '.' else folder}: no camera of this name in the calibration; "
        f"{count} pictures were left out"
        for folder, count in sorted(strangers.items())
    ]
    empty = sorted(name for name in found if not found[name])
    failures += [f"camera {name}: no folder of that name with pictures; it was left out" for name in empty]
    used = [by_name[name] for name in sorted(found) if found[name]]
    if len(used) < 2:
        raise RigError(
            f"{len(used)} of {len(cameras)} cameras have a folder of pictures; at least two are needed. Folders are "
            f"named after cameras: {', '.join(sorted(by_name))}"
        )
    frames = sorted({frame for camera in used for frame in found[camera.name]})
    names = [[found[camera.name].get(frame) for camera in used] for frame in frames]
    for frame, row in zip(frames, names, strict=True):
        missing = [camera.name for camera, name in zip(used, row, strict=True) if name is None]
        if missing:
            failures.append(f"frame {frame}: no picture of {', '.join(missing)}")
    return Rig(used, frames, names), failures


def fitted(rig: Rig, labels: Mapping[str, PictureLabels]) -> tuple[Rig, list[str]]:
    """A rig without the pictures that have no picture or are not of their camera's size; cameras that do not say their
    size get that of their first picture. A sentence for each picture of another size."""
    failures = []
    cameras = []
    for v, camera in enumerate(rig.cameras):
        sizes = [labels[row[v]].size for row in rig.names if row[v] in labels]  # type: ignore[index]
        cameras.append(replace(camera, size=sizes[0]) if camera.size is None and sizes else camera)
    names: list[list[str | None]] = []
    for row in rig.names:
        kept: list[str | None] = []
        for camera, name in zip(cameras, row, strict=True):
            picture = labels.get(name or "")
            if picture is not None and picture.size != camera.size:
                assert camera.size is not None
                failures.append(
                    f"{name}: {picture.size[1]}×{picture.size[0]} pixels, but {camera.name} was calibrated at "
                    f"{camera.size[1]}×{camera.size[0]}"
                )
                picture = None
            kept.append(None if picture is None else name)
        names.append(kept)
    return Rig(cameras, rig.frames, names), failures


def compare(
    rig: Rig,
    labels: Mapping[str, PictureLabels],
    keypoint_set: KeypointSet,
    seed: int = 0,
    progress: Progress = silent,
) -> Views:
    """Tells people apart over views and frames, and finds what the views of each agree on."""
    following = Following()
    instances: list[Instance] = []
    detection: list[list[Detection | None]] = []
    alone: dict[str, list[Detection]] = {}
    for f in progress(range(len(rig.frames))):
        here = [labels[name].people if name is not None else [] for name in rig.names[f]]
        people = associate(rig.cameras, here, keypoint_set)
        confirmed = [person for person in people if len(person) > 1]
        together = [[here[v][one[v]] if v in one else None for v in range(len(here))] for one in confirmed]
        for person in people:
            for v, d in person.items():
                if len(person) == 1:
                    alone.setdefault(str(rig.names[f][v]), []).append(here[v][d])
        places = [_place(rig.cameras, one, keypoint_set) for one in together]
        for one, number in zip(together, following.numbers(f, places), strict=True):
            instances.append(Instance(f, number))
            detection.append(one)
    measured = _measured(instances, detection, len(rig.cameras), len(keypoint_set))
    found = agree(rig.cameras, measured, keypoint_set, seed, progress)
    return Views(rig, keypoint_set, instances, detection, measured, found, alone)


def _place(
    cameras: Sequence[CalibratedCamera], person: Sequence[Detection | None], keypoint_set: KeypointSet
) -> tuple[np.ndarray, float]:
    """Where the joints of a person are, roughly (k, 3), and the person's size, for following from frame to frame."""
    body = np.flatnonzero(np.array(keypoint_set.groups) == "body")
    chosen = body if len(body) else np.arange(len(keypoint_set))
    views = [v for v, one in enumerate(person) if one is not None]
    own = [one for one in person if one is not None]
    rays = np.stack([cameras[v].rays(one.points[chosen]) for v, one in zip(views, own, strict=True)])
    weights = np.stack([np.where(one.scores[chosen] >= SURE, one.scores[chosen], 0) for one in own])
    points = triangulate(rays, np.stack([cameras[v].extrinsics for v in views]), weights)
    sides = [np.sqrt(person_area(one.box)) / cameras[v].focal for v, one in zip(views, own, strict=True)]
    depths = [np.nanmedian(cameras[v].to_camera(points)[:, 2]) if np.isfinite(points).any() else np.nan for v in views]
    return points, float(np.median(np.array(sides) * np.array(depths)))


def _measured(
    instances: Sequence[Instance], detection: Sequence[Sequence[Detection | None]], views: int, count: int
) -> Measured:
    points = np.full((len(instances), views, count, 2), np.nan)
    scores = np.zeros((len(instances), views, count))
    boxes = np.full((len(instances), views, 4), np.nan)
    for i, row in enumerate(detection):
        for v, one in enumerate(row):
            if one is not None:
                points[i, v], scores[i, v], boxes[i, v] = one.points, one.scores, one.box
    return Measured(points, scores, boxes, np.array([one.person for one in instances], int))


def agreed_annotations(views: Views, target: KeypointSet) -> dict[str, list[dict[str, Any]]]:
    """By picture the people's annotations with the points of `target`.

    Points that the views agree on are where they project, in every picture that they fall into, also where its model
    missed them: visible (2) where the view itself agrees, else placed (1). Points that a person should look at, and all
    of a left-out camera, are the model's own.
    """
    made: dict[str, list[dict[str, Any]]] = {}
    found, source = views.found, views.keypoint_set
    for i, instance in enumerate(views.instances):
        kept = found.reason[i] == 0
        for v, camera in enumerate(views.rig.cameras):
            name = views.rig.names[instance.frame][v]
            if name is None:
                continue
            one = views.detection[i][v]
            if found.left_out[v]:
                if one is not None:
                    made.setdefault(name, []).append(_by_the_model(one, instance.person, source, target))
                continue
            inside = camera.in_picture(found.projected[i, v]) & kept
            own = np.zeros(len(kept), int) if one is None else np.where(one.scores >= SURE, 2, 0)
            visibility = np.where(kept, np.where(inside, np.where(found.agreeing[i, v], 2, 1), 0), own)
            scores = np.where(kept, found.scores[i], np.zeros(len(kept)) if one is None else one.scores)
            points = np.where(inside[:, None], found.projected[i, v], np.nan_to_num(views.measured.points[i, v]))
            if one is None and inside.sum() < LEAST_IN_PICTURE:
                continue
            box = _box(points[inside], camera) if one is None else one.box
            points, visibility, scores = _converted(
                points, visibility, np.where(visibility > 0, scores, 0), source, target
            )
            score = float(scores[visibility > 0].mean()) if (visibility > 0).any() else 0.0
            row = person_annotation(points, visibility, scores, box, instance.person, score)
            made.setdefault(name, []).append(row)
    known = max((instance.person for instance in views.instances), default=0)
    for name, people in views.alone.items():
        rows = [_by_the_model(one, known + k, source, target) for k, one in enumerate(people, start=1)]
        made.setdefault(name, []).extend(rows)
    return made


def _by_the_model(one: Detection, person: int, source: KeypointSet, target: KeypointSet) -> dict[str, Any]:
    return prelabeled(converted(replace(one, number=person), source, target))


def converted(one: Detection, source: KeypointSet, target: KeypointSet) -> Detection:
    """A detection with the points of another set; those that the source lacks have score 0."""
    if source is target:
        return one
    points, scores = convert_keypoints(one.points, one.scores, source, target)
    return replace(one, points=points, scores=scores)


def _converted(
    points: np.ndarray, visibility: np.ndarray, scores: np.ndarray, source: KeypointSet, target: KeypointSet
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if source is target:
        return points, visibility, scores
    moved, seen = convert_keypoints(points, visibility, source, target)
    return moved, seen.astype(int), convert_keypoints(points, scores, source, target)[1]


def _box(points: np.ndarray, camera: CalibratedCamera) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    margin = MARGIN * float((high - low).max())
    height, width = camera.size or (np.inf, np.inf)
    corners = [np.maximum(low - margin, 0), np.minimum(high + margin, [width, height])]
    return np.concatenate(corners)
