"""Label Studio: tasks with predictions to import, the project's labeling interface, and its JSON export read as COCO.

A person is a rectangle, and points are children of it (parentID), so that an export says whose they are. Places are
percentages of the image, measured from its corner, where our pixel centers are at whole numbers. Images are addressed
through Label Studio's local storage: serve the folder of images as LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np

from opensapiens.annotation.picture_labels import PictureLabels
from opensapiens.data.coco import AnnotationError, coco_category
from opensapiens.data.segmentations import FIELD
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.storage.files import write_bytes, written

IMAGE, PERSON, POINTS, PARTS = "image", "person", "points", "parts"  # names of the interface's tags
UNSEEN = "not seen"  # in a region's notes: the place of a point that was not seen here
POINT_SIZE = 0.4  # percent of the image's width
Row = tuple[PictureLabels, Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]


def write_interface(path: Path, keypoint_set: KeypointSet | None, part_set: PartSet | None) -> None:
    """The labeling interface, to be pasted into a project's settings: XML with the labels and their colors."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=IMAGE, value=f"${IMAGE}", zoom="true", zoomControl="true")
    if keypoint_set is not None:
        person = ElementTree.SubElement(view, "RectangleLabels", name=PERSON, toName=IMAGE)
        ElementTree.SubElement(person, "Label", value=PERSON, background="#ffffff")
        points = ElementTree.SubElement(view, "KeyPointLabels", name=POINTS, toName=IMAGE, strokeWidth="2")
        for number, (name, color) in enumerate(zip(keypoint_set.names, keypoint_set.colors, strict=True)):
            # Label Studio's converter to COCO and YOLO orders points by model_index.
            ElementTree.SubElement(points, "Label", value=name, background=_hex(color), model_index=str(number))
    if part_set is not None:
        parts = ElementTree.SubElement(view, "PolygonLabels", name=PARTS, toName=IMAGE, opacity="0.5")
        for name, color in zip(part_set.names[1:], part_set.colors[1:], strict=True):
            ElementTree.SubElement(parts, "Label", value=name, background=_hex(color))
    ElementTree.indent(view)
    write_bytes(path, ElementTree.tostring(view, "utf-8") + b"\n")


def write_tasks(
    path: Path, rows: Iterable[Row], keypoint_set: KeypointSet | None, part_set: PartSet | None, root: str
) -> None:
    """A task per picture with what the model says, written one after the other, since they may be too many for memory.

    rows: pictures with their people and their parts (as polygons), as COCO annotations. root: what an image's address
    begins with, before its path below the folder of images.
    """
    with written(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        separator = "["
        for picture, people, parts in rows:
            regions = [] if keypoint_set is None else list(_people(picture, people, keypoint_set.names))
            if part_set is not None:
                regions += [_part(picture, number, part, part_set.names) for number, part in enumerate(parts)]
            task = {
                "data": {IMAGE: root + quote(picture.name)},
                "predictions": [{"model_version": "opensapiens", "result": regions}],
            }
            file.write(separator + json.dumps(task, separators=(",", ":")))
            separator = ",\n"
        file.write("[]\n" if separator == "[" else "]\n")


def _people(
    picture: PictureLabels, people: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    height, width = picture.size
    for person in people:
        key = f"person_{person['attributes']['person_id']}"
        x, y, box_width, box_height = person["bbox"]
        place = {"x": x / width, "y": y / height, "width": box_width / width, "height": box_height / height}
        value = {name: 100 * share for name, share in place.items()} | {"rotation": 0}
        yield _region(picture, key, PERSON, "rectanglelabels", {**value, "rectanglelabels": [PERSON]})
        triples = np.array(person["keypoints"], float).reshape(-1, 3)
        scores = person["keypoint_scores"]
        for number, (x, y, seen) in enumerate(triples.tolist()):
            if seen > 0:
                value = {"x": 100 * (x + 0.5) / width, "y": 100 * (y + 0.5) / height, "width": POINT_SIZE}
                region = _region(
                    picture, f"{key}_{number}", POINTS, "keypointlabels", {**value, "keypointlabels": [names[number]]}
                )
                notes = {} if seen == 2 else {"meta": {"text": [UNSEEN]}}
                yield {**region, "parentID": key, "score": scores[number], **notes}


def _part(picture: PictureLabels, number: int, part: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    height, width = picture.size
    outline = np.array(part[FIELD][0]).reshape(-1, 2) / (width, height) * 100
    value = {"points": outline.tolist(), "closed": True, "polygonlabels": [names[part["category_id"]]]}
    return _region(picture, f"part_{number}", PARTS, "polygonlabels", value)


def _region(picture: PictureLabels, key: str, tag: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    height, width = picture.size
    return {
        "id": key, "type": kind, "from_name": tag, "to_name": IMAGE, "original_width": width,
        "original_height": height, "image_rotation": 0, "value": value,
    }  # fmt: skip


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in color)


@dataclass
class _Found:
    """What an export says, as COCO."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    part_ids: dict[str, int] = field(default_factory=dict)


def coco_of_export(tasks: Sequence[Any], path: Path | str, keypoint_set: KeypointSet) -> dict[str, Any]:
    """Label Studio's JSON export as the content of a COCO file: people with the points of a set, and polygons.

    Of several annotations of a task the last is taken; a task without any is left out. Raises AnnotationError for
    anything else than such an export.
    """
    found = _Found()
    for number, task in enumerate(tasks, start=1):
        try:
            given = [one for one in task["annotations"] if not one.get("was_cancelled")]
            if given:
                _read_task(number, _image_path(task["data"]), given[-1]["result"], found, keypoint_set)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as error:
            raise AnnotationError(f"{path}: task {number} is not of Label Studio's JSON export ({error!r})") from error
    if not found.images:
        raise AnnotationError(f"{path}: no task with an annotation; it is neither COCO nor Label Studio's JSON export")
    person = coco_category(keypoint_set) | {"id": 0}
    parts = [{"id": number, "name": name} for name, number in found.part_ids.items()]
    return {"images": found.images, "annotations": found.annotations, "categories": [person, *parts]}


def _image_path(data: Mapping[str, Any]) -> str:
    """The path of a task's image: after ?d= in the local storage, else that of the address."""
    address = str(data.get(IMAGE) or next(iter(data.values())))
    parts = urlsplit(address)
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0].lstrip("/")


def _read_task(
    number: int, image: str, regions: Sequence[Mapping[str, Any]], found: _Found, keypoint_set: KeypointSet
) -> None:
    placed = [region for region in regions if "value" in region]
    if not placed:
        return
    width, height = int(placed[0]["original_width"]), int(placed[0]["original_height"])
    found.images.append({"id": number, "file_name": image, "width": width, "height": height})
    boxes: dict[str, np.ndarray] = {}
    points: dict[str, np.ndarray] = {}
    for region in placed:
        value = region["value"]
        if "rectanglelabels" in value:
            x, y, right, down = (float(value[name]) for name in ("x", "y", "width", "height"))
            box = np.array([x * width, y * height, right * width, down * height]) / 100
            boxes[str(region["id"])], points[str(region["id"])] = box, np.zeros((len(keypoint_set), 3))
        elif "polygonlabels" in value:
            name = str(value["polygonlabels"][0])
            category = found.part_ids.setdefault(name, len(found.part_ids) + 1)
            outline = (np.array(value["points"], float) * (width, height) / 100).ravel().tolist()
            row = {"category_id": category, FIELD: [outline], "bbox": [0, 0, 0, 0]}
            found.annotations.append({"id": len(found.annotations) + 1, "image_id": number, **row})
    for region in placed:
        if "keypointlabels" in region["value"]:
            _read_point(region, (width, height), boxes, points, keypoint_set)
    for key, triples in points.items():
        row = {"category_id": 0, "bbox": boxes[key].tolist(), "keypoints": triples.ravel().tolist()}
        found.annotations.append({"id": len(found.annotations) + 1, "image_id": number, **row})


def _read_point(
    region: Mapping[str, Any],
    size: tuple[int, int],
    boxes: dict[str, np.ndarray],
    points: dict[str, np.ndarray],
    keypoint_set: KeypointSet,
) -> None:
    """Add a point to its parent; one that a person drew without a parent, to the smallest box around it."""
    value = region["value"]
    place = np.array([value["x"], value["y"]], float) * size / 100
    owner = str(region.get("parentID"))
    if owner not in boxes:
        around = [key for key, box in boxes.items() if ((place >= box[:2]) & (place <= box[:2] + box[2:])).all()]
        owner = min(around or boxes, key=lambda key: float(np.prod(boxes[key][2:])), default="")
    if owner == "":  # points without any rectangle are one person
        owner = "person"
        boxes[owner], points[owner] = np.zeros(4), np.zeros((len(keypoint_set), 3))
    unseen = UNSEEN in (region.get("meta") or {}).get("text", [])
    points[owner][keypoint_set.index(str(value["keypointlabels"][0]))] = [*(place - 0.5), 1 if unseen else 2]
