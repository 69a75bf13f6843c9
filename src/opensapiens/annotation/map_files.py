"""Part maps of all pictures as files: the model's own, or those that the views agree on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from opensapiens.annotation.multiview import Views
from opensapiens.annotation.options import MaskKind
from opensapiens.annotation.parts import PartView, agree_on_parts
from opensapiens.annotation.picture_labels import PictureLabels, load_maps, save_people, stem_of
from opensapiens.annotation.tool_files import part_annotations, write_parts
from opensapiens.data.label_maps import read_array, read_parts
from opensapiens.data.workers import WorkerDied, run_in_processes
from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.labels.parts import PartSet
from opensapiens.storage.files import written
from opensapiens.storage.progress import progress
from opensapiens.tasks.segmentation import save_parts

MARGIN = 0.12  # of a person's extent, around the points, for what lies beyond them


def write_maps(folder: Path, output: Path, names: Sequence[str], part_set: PartSet) -> None:
    """output/parts/NAME.png and output/people/NAME.png as `folder` has them of each picture."""
    for name in progress(names, "part maps", unit="pictures"):
        maps = load_maps(folder, name, part_set)
        if maps is not None:
            _save(output, name, *maps, part_set)


def _save(output: Path, name: str, parts: np.ndarray, people: np.ndarray, part_set: PartSet) -> None:
    stem = stem_of(name)
    save_parts(output / "parts" / f"{stem}.png", parts, part_set)
    save_people(output / "people" / f"{stem}.png", people)


def write_parts_of(output: Path, labels: Mapping[str, PictureLabels], part_set: PartSet, masks: MaskKind) -> None:
    """parts.json of the maps in output/parts and output/people."""

    def rows() -> Iterator[tuple[PictureLabels, list[dict[str, Any]]]]:
        for name in progress(list(labels), "parts.json", unit="pictures"):
            if _map_file(output, name).is_file():
                yield labels[name], parts_of(output, name, part_set, masks)

    write_parts(output / "parts.json", rows(), part_set)


def parts_of(output: Path, name: str, part_set: PartSet | None, masks: MaskKind = "polygons") -> list[dict[str, Any]]:
    """The parts of a picture as COCO annotations, from its maps in output; none where there are no maps."""
    parts, people = _map_file(output, name), output / "people" / f"{stem_of(name)}.png"
    if part_set is None or not parts.is_file():
        return []
    return part_annotations(read_parts(parts, part_set), read_array(people), masks)


def _map_file(output: Path, name: str) -> Path:
    return output / "parts" / f"{stem_of(name)}.png"


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame for a worker. names, cameras, fits (the camera fits the others): of the views with a picture. persons:
    number, the person's numbers in the views' own maps (0: not seen there), and the corners of a box in the world."""

    folder: Path
    output: Path
    names: list[str]
    cameras: list[CalibratedCamera]
    fits: list[bool]
    persons: list[tuple[int, list[int], np.ndarray, np.ndarray]]
    part_set: PartSet


def write_agreed_maps(
    views: Views, folder: Path, output: Path, names: Sequence[str], part_set: PartSet, workers: int, failures: list[str]
) -> str:
    """Part maps that the views agree on, people under the numbers that they keep; output/parts_review/NAME.png is white
    where the views do not agree and a person should look. Pictures outside the rig keep their own. Returns a sentence
    for the user; failures gets one for each frame that could not be done.
    """
    frames = [_frame(views, f, folder, output, part_set) for f in range(len(views.rig.frames))]
    in_rig = {name for frame in frames for name in frame.names}
    write_maps(folder, output, [name for name in names if name not in in_rig], part_set)
    total = np.zeros(5, int)
    results = run_in_processes(_agree_frame, frames, workers) if workers > 1 else map(_agree_frame, frames)
    for frame, counts in zip(frames, progress(results, "votes on parts", len(frames), "frames"), strict=True):
        if isinstance(counts, WorkerDied):
            failures.append(f"{', '.join(frame.names)}: no part maps, {counts}")
        else:
            total += counts
    seen, changed, doubtful, before, after = total.tolist()
    if not seen:
        return "no part was seen by three views: part maps are the model's own"
    return (
        f"body parts: of the pixels that three views or more see, {before / seen:.1%} agreed with the vote before and "
        f"{after / seen:.1%} after; {changed / seen:.1%} were changed; on {doubtful / seen:.1%} the views do not agree "
        f"({output / 'parts_review'})"
    )


def _frame(views: Views, f: int, folder: Path, output: Path, part_set: PartSet) -> _Frame:
    names, agreement = views.rig.names[f], views.agreement
    pictured = [v for v, name in enumerate(names) if name is not None]
    persons = []
    for i, instance in enumerate(views.instances):
        points = agreement.points[i][agreement.reason[i] == 0]
        if instance.frame == f and len(points) >= 2:
            margin = MARGIN * float(np.ptp(points, axis=0).max())
            detections = [views.detection[i][v] for v in pictured]
            numbers = [0 if detection is None else detection.number for detection in detections]
            persons.append((instance.person, numbers, points.min(0) - margin, points.max(0) + margin))
    return _Frame(
        folder, output, [str(names[v]) for v in pictured], [views.rig.cameras[v] for v in pictured],
        [not agreement.left_out[v] for v in pictured], persons, part_set,
    )  # fmt: skip


def _agree_frame(frame: _Frame) -> np.ndarray:
    """Writes the maps of one frame; counts of pixels: seen, changed, doubtful, agreed before and after."""
    maps = {k: load_maps(frame.folder, name, frame.part_set) for k, name in enumerate(frame.names)}
    loaded = {k: pair for k, pair in maps.items() if pair is not None}
    voted = {k: parts.copy() for k, (parts, _) in loaded.items()}
    doubtful = {k: np.zeros(parts.shape, bool) for k, (parts, _) in loaded.items()}
    counts = np.zeros(5, int)
    for _, numbers, low, high in frame.persons:
        views = {}
        for k, (parts, people) in loaded.items():
            if frame.fits[k] and numbers[k]:
                person = people == numbers[k]
                views[k] = PartView(frame.cameras[k], parts, person, (people > 0) & ~person)
        if len(views) < 3:
            continue
        agreed = agree_on_parts(list(views.values()), low, high, len(frame.part_set))
        for (k, view), parts, doubt in zip(views.items(), agreed.parts, agreed.doubtful, strict=True):
            np.copyto(voted[k], parts, where=view.person)
            doubtful[k] |= doubt
        counts += [agreed.seen, agreed.changed, agreed.disagreed, agreed.agreed_before, agreed.agreed_after]
    for k, parts in voted.items():
        name = frame.names[k]
        _save(frame.output, name, parts, _renumbered(loaded[k][1], k, frame), frame.part_set)
        with written(frame.output / "parts_review" / f"{stem_of(name)}.png") as temporary:
            Image.fromarray(doubtful[k]).save(temporary, "PNG")
    return counts


def _renumbered(people: np.ndarray, k: int, frame: _Frame) -> np.ndarray:
    """A view's map of people under the numbers that they keep; people whom no other view confirms get the next ones."""
    table = np.zeros(256, np.uint8)
    for person, numbers, _, _ in frame.persons:
        if numbers[k]:
            table[numbers[k]] = min(person, 255)
    last = max((person for person, *_ in frame.persons), default=0)
    for number in np.unique(people).tolist():
        if number and not table[number]:
            last += 1
            table[number] = min(last, 255)
    return table[people]
