"""From a folder of pictures to a folder of labels that a person can correct, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from opensapiens.annotation.agreement import Progress
from opensapiens.annotation.calibration import read_cameras, write_cameras
from opensapiens.annotation.map_files import write_agreed_maps, write_maps, write_parts_of
from opensapiens.annotation.multiview import Views, agreed_annotations, compare, fitted, lay_out
from opensapiens.annotation.picture_labels import (
    PictureLabels,
    find_images,
    is_saved,
    labels_of,
    load_labels,
    people_map,
    save_labels,
    stem_of,
)
from opensapiens.annotation.review import write_review_page, write_review_table
from opensapiens.annotation.tables import Up, write_points_json, write_trc
from opensapiens.annotation.tool_files import (
    Corrected,
    MaskKind,
    person_annotation,
    read_corrected,
    write_cvat_labels,
    write_keypoints,
)
from opensapiens.data.coco import CocoImage
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.inference.output import described_models
from opensapiens.inference.pipeline import People
from opensapiens.inference.prefetch import prefetch
from opensapiens.inference.results import Result
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import SAPIENS_28, PartSet
from opensapiens.storage.folders import check_output, claim, clear
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.progress import progress

RESULTS_AHEAD = 2


class AnnotateError(ValueError):
    """Something that cannot be annotated as asked; the message says why."""


@dataclass(frozen=True)
class Settings:
    """How labels are made and written. keypoints: the set (by default the model's own); masks: of parts.json; seed: of
    the triangulation; up, unit and rate: of the TRC files; workers: processes for the parts (the labels stay)."""

    keypoints: KeypointSet | None = None
    masks: MaskKind = "polygons"
    seed: int = 0
    up: Up = "z"
    unit: Literal["m", "mm"] = "m"
    rate: float = 30.0
    workers: int = 1


@dataclass
class LabelSummary:
    """What came of it: pictures done, people in them, sentences to tell, and one for each thing that went wrong."""

    images: int = 0
    people: int = 0
    told: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of the pictures before anything is written: labels by name, whose maps lie in `folder`, and
    visibilities of the points of those that a person has corrected."""

    images: Path
    output: Path
    folder: Path
    labels: Mapping[str, PictureLabels]
    keypoint_set: KeypointSet | None
    part_set: PartSet | None
    visible: Mapping[str, list[np.ndarray]] = field(default_factory=dict)


def prelabel(
    people: People, images: Path, output: Path, settings: Settings, cameras: Path | None = None, resume: bool = False
) -> LabelSummary:
    """Labels of a model for the pictures of a folder (and of folders in it), as files for labeling tools; with
    cameras, those that the views agree on and a list of what a person should look at.

    What each picture says is kept in output/predictions, so that a stopped run can `resume`. Raises FileNotFoundError
    without pictures, CalibrationError, RigError, AnnotateError for models that have no fitting head, FolderError for
    an output that holds something else, and to `resume` a run of other models or pictures.
    """
    keypoint_set, part_set = people.keypoint_set, people.part_set
    if keypoint_set is None and (part_set is None or cameras is not None):
        raise AnnotateError("pre-labels need a model with a pose head" + ("" if cameras else ", or one for body parts"))
    rig = None if cameras is None else read_cameras(cameras)  # before the long part: it may be wrong
    names, failures, passed_over = find_images(images)
    folder = output / "predictions"
    _claim_labels(output, images, cameras)
    if not resume:
        clear(folder, "predictions")
    claim(folder, "predictions", {"images": str(images.resolve()), **described_models(people)})
    todo = [name for name in names if not is_saved(folder, name)]
    results = prefetch(people.each([images / name for name in todo]), RESULTS_AHEAD)
    for name, (_, result) in zip(todo, _bar("pictures")(results, len(todo)), strict=True):
        if isinstance(result, Result):
            parts = None if result.parts is None else result.parts.labels
            drawn = None if parts is None else people_map(result)
            save_labels(folder, labels_of(name, result), parts, drawn, part_set)
        else:
            failures.append(_named(name, result))
    labels = {name: load_labels(folder, name) for name in names if is_saved(folder, name)}
    known = _Known(images, output, folder, labels, keypoint_set, part_set)
    return _finish(known, settings, rig, LabelSummary(told=[passed_over] if passed_over else [], failures=failures))


def _claim_labels(output: Path, images: Path, *files: Path | None) -> None:
    check_output(output, files)
    check_output(output, [images], inside=False)  # or the maps would be among the pictures of the next run
    claim(output, "labels")


def take_corrections(
    files: Sequence[Path],
    images: Path,
    output: Path,
    keypoint_set: KeypointSet,
    settings: Settings,
    cameras: Path | None = None,
) -> LabelSummary:
    """Labels that a person has corrected, as training reads them; with cameras the views are compared again, points
    that are marked as seen being what each view says.

    files: COCO keypoints and COCO instances of parts, as tools export them. Raises FileNotFoundError, CalibrationError,
    RigError, AnnotationError for files that are none, FolderError.
    """
    rig = None if cameras is None else read_cameras(cameras)
    names, failures, passed_over = find_images(images)
    stems = {stem_of(name): name for name in names}
    corrected = Corrected(failures=failures)
    for file in files:
        found = read_corrected(file, images, stems, keypoint_set, SAPIENS_28)
        corrected.people |= found.people
        corrected.maps |= found.maps
        corrected.sizes |= found.sizes
        failures += found.failures
    people, maps = corrected.people, corrected.maps
    folder = output / "corrected"
    _claim_labels(output, images, cameras, *files)
    clear(folder, "corrected labels")
    claim(folder, "corrected labels")
    labels: dict[str, PictureLabels] = {}
    visible: dict[str, list[np.ndarray]] = {}
    for name in _bar("pictures")(sorted(people.keys() | maps.keys())):
        try:
            height, width = CocoImage(name, images / name, corrected.sizes[name]).read().shape[:2]
        except ImageError as error:
            failures.append(_named(name, error))
            continue
        own = people.get(name, [])
        visible[name] = [visibility for _, visibility in own]
        labels[name] = PictureLabels(name, (height, width), [one for one, _ in own])
        save_labels(folder, labels[name], maps.get(name), _whose(maps.get(name), labels[name]), SAPIENS_28)
    known = _Known(
        images, output, folder, labels, keypoint_set if people else None, SAPIENS_28 if maps else None, visible
    )
    summary = LabelSummary(told=[passed_over] if passed_over else [], failures=failures)
    return _finish(known, settings, rig if people else None, summary)


def _whose(parts: np.ndarray | None, picture: PictureLabels) -> np.ndarray | None:
    """The person at each pixel that is a part: the one in whose box it lies, of several the smallest box; 1 without."""
    if parts is None or not picture.people:
        return None if parts is None else (parts > 0).astype(np.uint8)
    numbers = np.zeros(parts.shape, np.uint8)
    for one in sorted(picture.people, key=lambda one: -float(np.prod(one.box[2:] - one.box[:2]))):
        x1, y1 = np.floor(one.box[:2]).astype(int).clip(0)
        x2, y2 = np.ceil(one.box[2:]).astype(int).clip(0)
        numbers[y1:y2, x1:x2] = one.number
    return np.where(parts > 0, numbers, 0).astype(np.uint8)


def _named(name: str, error: Exception) -> str:
    return str(error) if name in str(error) else f"{name}: {error}"


def _bar(what: str) -> Progress:
    """A progress bar with the time that is left, for a loop of any length; silent where nobody watches."""
    return lambda items, total=None: progress(items, what, total)


def _finish(
    known: _Known, settings: Settings, rig: list[CalibratedCamera] | None, summary: LabelSummary
) -> LabelSummary:
    """Everything that is written once the pictures' own labels are known."""
    summary.images = len(known.labels)
    summary.people = sum(len(picture.people) for picture in known.labels.values())
    if not known.labels:
        return summary
    source = known.keypoint_set
    target = settings.keypoints or source
    views = None
    if source is not None and target is not None:
        if rig is None:
            listed = {
                name: _own(picture, source, target, known.visible.get(name)) for name, picture in known.labels.items()
            }
        else:
            views = _agreed(known, source, settings, rig, summary)
            listed = agreed_annotations(views, target)
        rows = [(picture, listed.get(name, [])) for name, picture in known.labels.items()]
        write_keypoints(known.output / "keypoints.json", rows, target)
    if known.part_set is not None:
        if views is None:
            write_maps(known.folder, known.output, list(known.labels), known.part_set, _bar("part maps"))
        else:
            summary.told += write_agreed_maps(
                views,
                known.folder,
                known.output,
                known.labels,
                known.part_set,
                settings.workers,
                _bar("part maps"),
                summary.failures,
            )
        write_parts_of(known.output, known.labels, known.part_set, settings.masks, _bar("parts.json"))
    write_cvat_labels(known.output / "cvat_labels.json", target if source else None, known.part_set)
    return summary


def _own(
    picture: PictureLabels, source: KeypointSet, target: KeypointSet, visible: list[np.ndarray] | None
) -> list[dict[str, Any]]:
    """A picture's own people as annotations; corrected ones with the visibilities that a person gave them."""
    if visible is None:
        return [person_annotation(one, source, target) for one in picture.people]
    return [
        person_annotation(replace(one, scores=np.minimum(seen, 1)), source, target, seen)
        for one, seen in zip(picture.people, visible, strict=True)
    ]


def _agreed(
    known: _Known, keypoint_set: KeypointSet, settings: Settings, cameras: list[CalibratedCamera], summary: LabelSummary
) -> Views:
    """Compares the views and writes what is known in space, and what a person should look at."""
    rig, wrong = lay_out(list(known.labels), cameras)
    summary.failures += wrong
    rig, wrong = fitted(rig, known.labels)
    summary.failures += wrong
    views = compare(rig, known.labels, keypoint_set, settings.seed, _bar("views"))
    found, output = views.found, known.output
    write_cameras(output / "cameras.json", rig.cameras)
    write_points_json(output / "points_3d.json", views, settings.unit)
    for person in sorted({instance.person for instance in views.instances}):
        points = np.full((len(rig.frames), len(keypoint_set), 3), np.nan)
        for i, instance in enumerate(views.instances):
            if instance.person == person:
                points[instance.frame] = np.where((found.reason[i] == 0)[:, None], found.points[i], np.nan)
        write_trc(
            output / f"person_{person}.trc", range(1, len(rig.frames) + 1), points, keypoint_set.names, settings.rate,
            settings.unit, settings.up,
        )  # fmt: skip
    asked = write_review_table(output / "review.csv", views)
    write_review_page(output / "review.html", known.images, views, _bar("review page"))
    total = found.reason.size
    summary.told.append(
        f"{len(views.instances)} people in {len(rig.frames)} frames; {asked} of {total} points "
        f"({asked / max(total, 1):.1%}) are for a person to look at: {output / 'review.html'}, review.csv"
    )
    alone = sum(map(len, views.alone.values()))
    if alone:
        summary.told.append(
            f"{alone} people in single views, whom no other view confirms, are labeled by the model alone"
        )
    summary.told += _about_cameras(views)
    return views


def _about_cameras(views: Views) -> list[str]:
    """A sentence for each camera that does not fit the others."""
    usual = np.nanmedian(views.found.camera_error) if np.isfinite(views.found.camera_error).any() else np.nan
    return [
        f"camera {camera.name} does not fit the others ({views.found.camera_error[v]:.1f} times the expected error, "
        f"where {usual:.1f} is usual): it was left out. Check its calibration, and whether its pictures are of the "
        "same moments"
        for v, camera in enumerate(views.rig.cameras)
        if views.found.left_out[v]
    ]
