"""Pictures of the same moments from calibrated cameras: who is who, what the views agree on, and labels from that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from opensapiens.annotation.agreement import SURE, Agreement, Measured, Progress, agree, silent
from opensapiens.annotation.association import Detection, Following, associate
from opensapiens.annotation.picture_labels import PictureLabels, stem_of
from opensapiens.annotation.tool_files import person_annotation
from opensapiens.geometry.boxes import person_area
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.geometry.triangulation import triangulate
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

    Points that the views agree on are where they project, in every picture that they fall into, including those where
    the model missed them: visible (2) where the view itself agrees, else placed (1). Points that a person should look
    at, and all points of a left-out camera, are the model's own.
    """
    made: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for i, instance in enumerate(views.instances):
        for v, name in enumerate(views.rig.names[instance.frame]):
            annotation = None if name is None else _annotation(views, i, v, target)
            if name is not None and annotation is not None:
                made[name].append(annotation)
    last = max((instance.person for instance in views.instances), default=0)
    for name, people in views.alone.items():
        numbered = [replace(one, number=number) for number, one in enumerate(people, last + 1)]
        made[name] += [person_annotation(one, views.keypoint_set, target) for one in numbered]
    return made


def _annotation(views: Views, i: int, v: int, target: KeypointSet) -> dict[str, Any] | None:
    """Instance i in view v; None where it is not in the picture."""
    found, source, person = views.found, views.keypoint_set, views.instances[i].person
    one = views.detection[i][v]
    if found.left_out[v]:
        return None if one is None else person_annotation(replace(one, number=person), source, target)
    camera = views.rig.cameras[v]
    kept = found.reason[i] == 0
    inside = camera.in_picture(found.projected[i, v]) & kept
    if one is None:
        if inside.sum() < LEAST_IN_PICTURE:
            return None
        nothing = np.zeros(len(source))
        one = Detection(np.zeros((len(source), 2)), nothing, _box(found.projected[i, v][inside], camera))
    agreed = np.where(inside, np.where(found.agreeing[i, v], 2, 1), 0)
    visibility = np.where(kept, agreed, np.where(one.scores >= SURE, 2, 0))
    scores = np.where(visibility > 0, np.where(kept, found.scores[i], one.scores), 0)
    points = np.where(inside[:, None], found.projected[i, v], np.nan_to_num(one.points))
    row = person_annotation(Detection(points, scores, one.box, 0.0, person), source, target, visibility)
    pairs = zip(row["keypoint_scores"], row["keypoints"][2::3], strict=True)
    shown = [score for score, seen in pairs if seen]
    return {**row, "score": round(float(np.mean(shown)), 4) if shown else 0.0}


def _box(points: np.ndarray, camera: CalibratedCamera) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    margin = MARGIN * float((high - low).max())
    height, width = camera.size or (np.inf, np.inf)
    corners = [np.maximum(low - margin, 0), np.minimum(high + margin, [width, height])]
    return np.concatenate(corners)
