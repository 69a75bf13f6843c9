"""From a folder of pictures to a folder of labels that a person can correct, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.annotation.calibration import read_cameras, write_cameras
from opensapiens.annotation.label_studio import write_interface, write_tasks
from opensapiens.annotation.map_files import parts_of, write_agreed_maps, write_maps, write_parts_of
from opensapiens.annotation.multiview import Views, agreed_annotations, compare, converted, lay_out
from opensapiens.annotation.options import AnnotateOptions, OptionsError
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
from opensapiens.annotation.tables import write_points_json, write_tracks
from opensapiens.annotation.tool_files import (
    has_points,
    holds_both,
    person_annotation,
    prelabeled,
    read_corrected,
    read_corrected_parts,
    read_tool_file,
    write_cvat_labels,
    write_keypoints,
)
from opensapiens.data.coco import CocoImage
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.inference.detection import WholeImage
from opensapiens.inference.formats.c3d import c3d_library
from opensapiens.inference.loading import load
from opensapiens.inference.output import described_models
from opensapiens.inference.pipeline import People
from opensapiens.inference.prefetch import prefetch
from opensapiens.inference.results import Result
from opensapiens.labels.keypoints import SAPIENS_308, KeypointSet
from opensapiens.labels.own_labels import find_keypoint_set
from opensapiens.labels.parts import SAPIENS_28, PartSet
from opensapiens.storage.folders import check_output, claim, clear
from opensapiens.storage.listing import counted
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.progress import progress

RESULTS_AHEAD = 2


class AnnotateError(ValueError):
    """Something that cannot be annotated as asked; the message says why."""


@dataclass
class LabelSummary:
    """How many pictures were labeled, how many people are in them, notes for the user, and a sentence per problem."""

    images: int = 0
    people: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Known:
    """What each picture says by itself, by name; part maps lie in `folder`. visibility: of the points of each person in
    pictures that somebody has corrected."""

    folder: Path
    pictures: Mapping[str, PictureLabels]
    keypoint_set: KeypointSet | None
    part_set: PartSet | None
    visibility: Mapping[str, list[np.ndarray]] = field(default_factory=dict)


def annotate_images(images: Path, output: Path, options: AnnotateOptions = AnnotateOptions()) -> LabelSummary:
    """Label the pictures of a folder (and of folders in it) with a model, or take over what a person has corrected, and
    write files for labeling tools and for training.

    With cameras, labels are those that the views agree on, and there is a list of what a person should look at; of
    corrected points, those marked as seen are what each view says. What a model says about each picture is kept in
    output/predictions, so that a stopped run can `resume`.

    Raises FileNotFoundError without pictures; OptionsError for an unknown keypoint set; CalibrationError; RigError;
    AnnotateError for models without a fitting head; AnnotationError for corrected files that are not COCO; FolderError
    for an output that holds something else, and to `resume` a run of other models or pictures.
    """
    try:
        wanted = None if options.keypoints is None else find_keypoint_set(options.keypoints)
    except ValueError as error:
        raise OptionsError(str(error)) from error
    cameras = None if options.cameras is None else read_cameras(options.cameras)  # before the long part
    if options.c3d:
        c3d_library()
    names, failures, passed_over = find_images(images)
    summary = LabelSummary(notes=[passed_over] if passed_over else [], failures=failures)
    if options.corrected:
        known = _corrected(images, output, options, names, wanted or SAPIENS_308, failures)
    else:
        known = _predicted(images, output, options, names, failures)
    summary.images = len(known.pictures)
    summary.people = sum(len(picture.people) for picture in known.pictures.values())
    if known.pictures:
        _write(images, output, options, known, wanted or known.keypoint_set, cameras, summary)
    return summary


def _load(options: AnnotateOptions) -> People:
    names = options.model or ("nano",)
    detector = WholeImage() if options.whole_image else options.detector
    return load(names, options.device, options.dtype, detector, options.batch_size, runtime=options.runtime)


def _predicted(images: Path, output: Path, options: AnnotateOptions, names: list[str], failures: list[str]) -> _Known:
    people = _load(options)
    keypoint_set, part_set = people.keypoint_set, people.part_set
    if keypoint_set is None and (part_set is None or options.cameras is not None):
        alternative = "" if options.cameras is not None else ", or one for body parts"
        raise AnnotateError(f"pre-labels need a model with a pose head{alternative}")
    folder = output / "predictions"
    _claim_labels(output, images, options)
    if not options.resume:
        clear(folder, "predictions")
    claim(folder, "predictions", {"images": str(images.resolve()), **described_models(people)})
    todo = [name for name in names if not is_saved(folder, name)]
    results = prefetch(people.each([images / name for name in todo]), RESULTS_AHEAD)
    for name, (_, result) in zip(todo, progress(results, "pictures", len(todo)), strict=True):
        if isinstance(result, Result):
            parts = None if result.parts is None else result.parts.labels
            people_numbers = None if parts is None else people_map(result)
            save_labels(folder, labels_of(name, result), parts, people_numbers, part_set)
        else:
            failures.append(_named(name, result))
    labels = {name: load_labels(folder, name) for name in names if is_saved(folder, name)}
    return _Known(folder, labels, keypoint_set, part_set)


def _claim_labels(output: Path, images: Path, options: AnnotateOptions) -> None:
    check_output(output, [options.cameras, *options.corrected])
    check_output(output, [images], inside=False)  # or the maps would be among the pictures of the next run
    claim(output, "labels")


def _corrected(
    images: Path,
    output: Path,
    options: AnnotateOptions,
    names: list[str],
    keypoint_set: KeypointSet,
    failures: list[str],
) -> _Known:
    stems = {stem_of(name): name for name in names}
    people: dict[str, list] = {}
    maps: dict[str, np.ndarray] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for file in options.corrected:
        exported = read_tool_file(file, keypoint_set)
        contents = []
        if has_points(exported):
            contents.append(read_corrected(exported, file, images, stems, keypoint_set))
        if not contents or holds_both(exported):
            contents.append(read_corrected_parts(exported, file, stems, SAPIENS_28))
        for content in contents:
            people |= content.people
            maps |= content.maps
            sizes |= content.sizes
            failures += [sentence for sentence in content.failures if sentence not in failures]
    folder = output / "corrected"
    _claim_labels(output, images, options)
    clear(folder, "corrected labels")
    claim(folder, "corrected labels")
    labels: dict[str, PictureLabels] = {}
    visibility: dict[str, list[np.ndarray]] = {}
    for name in progress(sorted(people.keys() | maps.keys()), "pictures"):
        try:
            height, width = CocoImage(name, images / name, sizes[name]).read().shape[:2]
        except ImageError as error:
            failures.append(_named(name, error))
            continue
        persons = people.get(name, [])
        visibility[name] = [visible for _, visible in persons]
        labels[name] = PictureLabels(name, (height, width), [detection for detection, _ in persons])
        parts = maps.get(name)
        save_labels(folder, labels[name], parts, None if parts is None else _owners(parts, labels[name]), SAPIENS_28)
    return _Known(folder, labels, keypoint_set if people else None, SAPIENS_28 if maps else None, visibility)


def _owners(parts: np.ndarray, picture: PictureLabels) -> np.ndarray:
    """The number of the person (H, W) uint8 at each pixel that is a part: of the person in whose box it lies, of
    several the smallest box; 1 in a picture without boxes."""
    if not picture.people:
        return (parts > 0).astype(np.uint8)
    numbers = np.zeros(parts.shape, np.uint8)
    for person in sorted(picture.people, key=lambda person: -float(np.prod(person.box[2:] - person.box[:2]))):
        x1, y1 = np.floor(person.box[:2]).astype(int).clip(0)
        x2, y2 = np.ceil(person.box[2:]).astype(int).clip(0)
        numbers[y1:y2, x1:x2] = person.number
    return np.where(parts > 0, numbers, 0).astype(np.uint8)


def _named(name: str, error: Exception) -> str:
    return str(error) if name in str(error) else f"{name}: {error}"


def _write(
    images: Path,
    output: Path,
    options: AnnotateOptions,
    known: _Known,
    target: KeypointSet | None,
    cameras: list[CalibratedCamera] | None,
    summary: LabelSummary,
) -> None:
    source, part_set, pictures = known.keypoint_set, known.part_set, known.pictures
    views = None
    annotations: Mapping[str, list[dict[str, Any]]] = {}
    if source is not None and target is not None:
        if cameras is None:
            annotations = {
                name: _annotations(picture, source, target, known.visibility.get(name))
                for name, picture in pictures.items()
            }
        else:
            views = _compared(images, output, options, pictures, source, cameras, summary)
            annotations = agreed_annotations(views, target)
        rows = [(picture, annotations.get(name, [])) for name, picture in pictures.items()]
        write_keypoints(output / "keypoints.json", rows, target)
    if part_set is not None:
        if views is None:
            write_maps(known.folder, output, list(pictures), part_set)
        else:
            summary.notes.append(
                write_agreed_maps(
                    views, known.folder, output, list(pictures), part_set, options.workers, summary.failures
                )
            )
        write_parts_of(output, pictures, part_set, options.masks)
    points = target if source else None
    write_cvat_labels(output / "cvat_labels.json", points, part_set)
    write_interface(output / "label_studio.xml", points, part_set)
    tasks = (
        (picture, annotations.get(name, []), parts_of(output, name, part_set)) for name, picture in pictures.items()
    )
    write_tasks(output / "label_studio.json", tasks, points, part_set, options.image_root)


def _annotations(
    picture: PictureLabels, source: KeypointSet, target: KeypointSet, visibility: list[np.ndarray] | None
) -> list[dict[str, Any]]:
    """A picture's people as annotations; corrected ones with the visibilities that a person gave them."""
    if visibility is None:
        return [prelabeled(converted(person, source, target)) for person in picture.people]
    rows = []
    for person, visible in zip(picture.people, visibility, strict=True):
        mapped = converted(replace(person, scores=visible.astype(float)), source, target)
        seen, scores = mapped.scores.astype(int), np.minimum(mapped.scores, 1)
        rows.append(person_annotation(mapped.points, seen, scores, person.box, person.number, person.score))
    return rows


def _compared(
    images: Path,
    output: Path,
    options: AnnotateOptions,
    pictures: Mapping[str, PictureLabels],
    keypoint_set: KeypointSet,
    cameras: list[CalibratedCamera],
    summary: LabelSummary,
) -> Views:
    """Compares the views and writes what is known in space, and what a person should look at."""
    rig, failures = lay_out(pictures, cameras)
    summary.failures += failures
    views = compare(rig, pictures, keypoint_set, options.seed)
    agreement = views.agreement
    write_cameras(output / "cameras.json", rig.cameras)
    write_points_json(output / "points_3d.json", views, options.unit)
    write_tracks(output, views, options)
    doubtful = write_review_table(output / "review.csv", views)
    write_review_page(output / "review.html", images, views)
    total = agreement.reason.size
    summary.notes.append(
        f"{counted(len(views.instances), 'person')} in {counted(len(rig.frames), 'frame')}; {doubtful} of "
        f"{counted(total, 'point')} ({doubtful / max(total, 1):.1%}) should be looked at by a person: "
        f"{output / 'review.html'}, review.csv"
    )
    alone = sum(map(len, views.alone.values()))
    if alone:
        verb = "is" if alone == 1 else "are"
        summary.notes.append(
            f"{counted(alone, 'person')} in a single view, confirmed by no other, {verb} labeled by the model alone"
        )
    summary.notes += _about_cameras(views)
    return views


def _about_cameras(views: Views) -> list[str]:
    """A sentence for each camera that does not fit the others."""
    errors, left_out = views.agreement.camera_error, views.agreement.left_out
    usual = np.nanmedian(errors) if np.isfinite(errors).any() else np.nan
    return [
        f"camera {camera.name} does not fit the others ({errors[v]:.1f} times the expected error, where {usual:.1f} is "
        "usual): it was left out. Check its calibration, and whether its pictures are of the same moments"
        for v, camera in enumerate(views.rig.cameras)
        if left_out[v]
    ]
