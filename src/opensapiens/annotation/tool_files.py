"""Files for labeling tools, and what comes back from them.

keypoints.json is COCO person keypoints without segmentations: CVAT rejects a polygon of a category that is a skeleton,
and Label Studio's converter an empty segmentation. parts.json is COCO instances. Both are read by CVAT, by
Label Studio's converter and by COCO Annotator. Visibility: 2 seen, 1 a place that was not seen there (unsure, hidden or
projected from other views), 0 none.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.annotation.agreement import SURE
from opensapiens.annotation.association import Detection
from opensapiens.annotation.label_studio import coco_of_export
from opensapiens.annotation.options import MaskKind
from opensapiens.annotation.picture_labels import PictureLabels
from opensapiens.data.coco import (
    AnnotationError,
    checked_annotations,
    coco_category,
    coco_images,
    coco_person,
    coco_persons,
)
from opensapiens.data.segmentations import FIELD, mask_in, polygons_of, run_lengths_of
from opensapiens.geometry.boxes import person_area
from opensapiens.inference.results import MINIMUM_SCORE
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import IGNORED, PartSet
from opensapiens.storage.files import write_json, written
from opensapiens.storage.json_files import MAX_ANNOTATION_BYTES, read_json
from opensapiens.storage.pictures import MAX_PIXELS
from opensapiens.storage.text_files import FileError

INFO = {"description": "opensapiens annotate"}
MARGIN = 0.1  # of the extent of a person's points, around them, where a tool gives no box


def person_annotation(
    points: np.ndarray, visibility: np.ndarray, scores: np.ndarray, box: np.ndarray, person: int, score: float
) -> dict[str, Any]:
    """One person as a COCO annotation, ids still missing. points (K, 2) pixels; visibility (K,) 0, 1 or 2; box xyxy."""
    placed = np.column_stack([np.where((visibility > 0)[:, None], points, 0.0), visibility])
    row = coco_person(box, round(float(person_area(box)), 1), placed, scores, score=score, digits=2)
    return {**row, "attributes": {"person_id": person}}  # where CVAT and Datumaro look for what is not COCO's


def prelabeled(person: Detection) -> dict[str, Any]:
    """A model's person: points that it is sure of are visible, others are placed but marked as not seen."""
    visibility = np.where(person.scores >= SURE, 2, np.where(person.scores >= MINIMUM_SCORE, 1, 0))
    return person_annotation(person.points, visibility, person.scores, person.box, person.number, person.score)


def write_keypoints(
    path: Path, images: Iterable[tuple[PictureLabels, list[dict[str, Any]]]], keypoint_set: KeypointSet
) -> None:
    """COCO keypoints of images with their annotations."""
    content: dict[str, Any] = {"info": INFO, "licenses": [], "images": [], "annotations": []}
    content["categories"] = [coco_category(keypoint_set)]
    for number, (picture, people) in enumerate(images, start=1):
        content["images"].append(_image(number, picture))
        for annotation in people:
            content["annotations"].append({"id": len(content["annotations"]) + 1, "image_id": number, **annotation})
    write_json(path, content, indent=None)


def part_annotations(parts: np.ndarray, people: np.ndarray, kind: MaskKind) -> list[dict[str, Any]]:
    """The parts (H, W) of the people (H, W) of an image as COCO annotations: one per piece as polygons, one per person
    and part as run lengths."""
    annotations = []
    for person in np.unique(people[(people > 0) & (parts > 0)]).tolist():
        x, y, width, height = cv2.boundingRect((people == person).view(np.uint8))
        window = np.s_[y : y + height, x : x + width]
        persons_parts = np.where(people[window] == person, parts[window], 0)
        for part in np.unique(persons_parts[(persons_parts > 0) & (persons_parts != IGNORED)]).tolist():
            mask = np.zeros(parts.shape, bool)
            mask[window] = persons_parts == part
            if kind == "rle":
                box, area = cv2.boundingRect(mask.view(np.uint8)), float(mask.sum())
                annotations.append(_part_annotation(part, person, run_lengths_of(mask), box, area))
                continue
            for polygon in polygons_of(mask):
                points = np.array(polygon).reshape(-1, 2)
                area = cv2.contourArea(points.astype(np.float32))
                box = [*points.min(0), *np.ptp(points, 0)]
                annotations.append(_part_annotation(part, person, [polygon], box, area))
    return annotations


def _part_annotation(part: int, person: int, segmentation: Any, box: Sequence[float], area: float) -> dict[str, Any]:
    return {
        "category_id": part, "bbox": [float(value) for value in box], "area": area, "iscrowd": 0,
        FIELD: segmentation, "attributes": {"person_id": person},
    }  # fmt: skip


def write_parts(path: Path, images: Iterable[tuple[PictureLabels, list[dict[str, Any]]]], part_set: PartSet) -> None:
    """COCO instances of images with their annotations, image after image, since they may be too many for memory."""
    head = {"info": INFO, "licenses": [], "categories": part_categories(part_set)}
    number, listed = 0, []
    with written(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, separators=(",", ":"))[:-1] + ',"annotations":[')
        separator = ""
        for image, (picture, pieces) in enumerate(images, start=1):
            listed.append(_image(image, picture))
            for annotation in pieces:
                number += 1
                row = json.dumps({"id": number, "image_id": image, **annotation}, separators=(",", ":"))
                file.write(f"{separator}{row}")
                separator = ",\n"
        file.write('],"images":' + json.dumps(listed, separators=(",", ":")) + "}\n")


def part_categories(part_set: PartSet) -> list[dict[str, Any]]:
    """The parts as COCO categories, their ids the numbers in the label maps; without the background."""
    return [
        {"id": number, "name": name, "supercategory": "person", "color": part_set.colors[number].tolist()}
        for number, name in enumerate(part_set.names)
        if number > 0
    ]


def _image(number: int, picture: PictureLabels) -> dict[str, Any]:
    return {"id": number, "file_name": picture.name, "width": picture.size[1], "height": picture.size[0]}


def write_cvat_labels(path: Path, keypoint_set: KeypointSet | None, part_set: PartSet | None) -> None:
    """The labels of a CVAT project, to be pasted into the "Raw" tab: the person as a skeleton, the parts as masks.

    CVAT draws a new skeleton like its template, so the points stand in a grid there; imported ones are where they are.
    """
    labels: list[dict[str, Any]] = []
    if keypoint_set is not None:
        labels.append(_skeleton(keypoint_set))
    if part_set is not None:
        labels += [
            {"name": name, "color": _hex(color), "type": "any", "attributes": []}
            for name, color in zip(part_set.names[1:], part_set.colors[1:], strict=True)
        ]
    write_json(path, labels)


def _skeleton(keypoint_set: KeypointSet) -> dict[str, Any]:
    columns = int(np.ceil(np.sqrt(len(keypoint_set))))
    places = [(5 + 90 * (k % columns) / columns, 5 + 90 * (k // columns) / columns) for k in range(len(keypoint_set))]
    lines = [
        f'<line x1="{places[a][0]:.2f}" y1="{places[a][1]:.2f}" x2="{places[b][0]:.2f}" y2="{places[b][1]:.2f}" '
        f'data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in keypoint_set.limbs.tolist()
    ]
    nodes = [
        f'<circle r="0.75" cx="{x:.2f}" cy="{y:.2f}" data-type="element node" data-element-id="{k + 1}" '
        f'data-node-id="{k + 1}" data-label-name="{html.escape(keypoint_set.names[k])}"></circle>'
        for k, (x, y) in enumerate(places)
    ]
    sublabels = [
        {"name": name, "color": _hex(color), "type": "points", "attributes": []}
        for name, color in zip(keypoint_set.names, keypoint_set.colors, strict=True)
    ]
    person: dict[str, Any] = {"name": "person_id", "mutable": False, "input_type": "number", "default_value": "1"}
    person["values"] = ["1", "255", "1"]  # least, largest, step
    return {
        "name": "person", "color": "#ffffff", "type": "skeleton", "attributes": [person],
        "sublabels": sublabels, "svg": "".join(lines + nodes),
    }  # fmt: skip


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in color)


@dataclass
class Corrected:
    """The content of a tool's file, by picture: people with their points' visibilities, or part maps (H, W) uint8; the
    (height, width) that the file states; and a sentence for each thing that could not be used."""

    people: dict[str, list[tuple[Detection, np.ndarray]]] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def read_tool_file(path: Path, keypoint_set: KeypointSet) -> dict[str, Any]:
    """What a tool has exported, as the content of a COCO file: COCO, or Label Studio's JSON. Raises AnnotationError."""
    try:
        content = read_json(path, limit=MAX_ANNOTATION_BYTES)
    except FileError as error:
        raise AnnotationError(str(error)) from error
    return (
        coco_of_export(content, path, keypoint_set) if isinstance(content, list) else checked_annotations(content, path)
    )


def has_points(content: Mapping[str, Any]) -> bool:
    """Whether there are people with points in the content of a file."""
    return any(row.get("keypoints") for key in ("categories", "annotations") for row in content[key])


def holds_both(content: Mapping[str, Any]) -> bool:
    """Whether there are masks of something else than people, too, as in Label Studio's export."""
    return any(FIELD in row and "keypoints" not in row for row in content["annotations"]) and has_points(content)


def read_corrected(
    content: dict[str, Any], path: Path, images: Path, stems: Mapping[str, str], keypoint_set: KeypointSet
) -> Corrected:
    """People as somebody has corrected them in a tool. content: of the file `path`, from `read_tool_file`.

    A point marked as seen has score 1, any other 0: it is kept, but is no evidence for other views. stems: of the
    pictures -> their paths below `images`. Where a tool left out the box, it is drawn around the points. Raises
    AnnotationError.
    """
    for annotation in content["annotations"]:
        if "keypoints" in annotation and not (isinstance(annotation.get("bbox"), list) and any(annotation["bbox"])):
            annotation["bbox"] = _box_around(annotation["keypoints"])
    corrected, names = _pictures(content, path, stems)
    for person in coco_persons(content, path, images, keypoint_set):
        name = names.get(person.image.id)
        if name is None or person.keypoints is None or person.is_crowd:
            continue
        people = corrected.people.setdefault(name, [])
        visibility = person.keypoints[:, 2].astype(int)
        points, seen = person.keypoints[:, :2].astype(float), (visibility == 2).astype(float)
        people.append((Detection(points, seen, person.box.astype(float), 1.0, len(people) + 1), visibility))
    for name in names.values():
        corrected.people.setdefault(name, [])
    return corrected


def read_corrected_parts(content: dict[str, Any], path: Path, stems: Mapping[str, str], part_set: PartSet) -> Corrected:
    """Part maps from the instances of a COCO file; large parts are drawn first, so that a part inside another stays.
    Categories are matched by name. Raises AnnotationError."""
    lowered = [name.lower() for name in part_set.names]
    numbers = {
        str(category.get("id")): lowered.index(str(category.get("name")).lower())
        for category in content["categories"]
        if str(category.get("name")).lower() in lowered
    }
    corrected, names = _pictures(content, path, stems)
    masks: dict[str, list[tuple[int, int, np.ndarray]]] = {}
    for annotation in content["annotations"]:
        name, part = names.get(_hashable(annotation.get("image_id"))), numbers.get(str(annotation.get("category_id")))
        if name is None or part is None:
            continue
        try:
            mask = mask_in(annotation, corrected.sizes[name])
        except ValueError as error:
            corrected.failures.append(f"{path}: annotation {annotation.get('id')} of {name}: {error}")
            continue
        if mask is not None:
            masks.setdefault(name, []).append((int(mask.sum()), part, np.packbits(mask)))
    for name, drawn in masks.items():
        height, width = corrected.sizes[name]
        corrected.maps[name] = np.zeros((height, width), np.uint8)
        for _, part, packed in sorted(drawn, key=lambda piece: -piece[0]):
            corrected.maps[name][np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool)] = part
    return corrected


def _pictures(content: dict[str, Any], path: Path, stems: Mapping[str, str]) -> tuple[Corrected, dict[Any, str]]:
    """The sizes of a file's pictures that are among ours, a sentence for each other one, and the names by id."""
    corrected, names = Corrected(), {}
    for number, image in coco_images(content, str(path), Path()).items():
        name = _find_picture(image.path.as_posix(), stems)
        if name is None or image.size[0] * image.size[1] > MAX_PIXELS:
            corrected.failures.append(f"{path}: {image.path} is not among the pictures, or too large")
        else:
            names[number] = name
            corrected.sizes[name] = image.size
    return corrected, names


def _hashable(value: Any) -> int | str | None:
    return value if isinstance(value, int | str) else None


def _find_picture(file_name: str, stems: Mapping[str, str]) -> str | None:
    """The picture that a tool means: some drop the folders before a path, or add their own."""
    stem = file_name.replace("\\", "/").rpartition(".")[0] or file_name
    if stem in stems:
        return stems[stem]
    ends = [name for known, name in stems.items() if known.endswith("/" + stem) or stem.endswith("/" + known)]
    return ends[0] if len(ends) == 1 else None


def _box_around(keypoints: Any) -> list[float]:
    try:
        points = np.array(keypoints, np.float64).reshape(-1, 3)
    except (TypeError, ValueError):
        return [0.0, 0.0, 0.0, 0.0]  # reading the points says what is wrong with them
    placed = points[(points[:, 2] > 0) & np.isfinite(points).all(1), :2]
    if not len(placed):
        return [0.0, 0.0, 0.0, 0.0]
    low, high = placed.min(0), placed.max(0)
    margin = MARGIN * float((high - low).max())
    return [*(low - margin).tolist(), *(high - low + 2 * margin).tolist()]
