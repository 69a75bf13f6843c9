"""Boxes of people that the caller gives, in a call or in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.data.coco import (
    MAX_PEOPLE,
    MAX_SIDE,
    AnnotationError,
    checked_annotations,
    coco_images,
    is_of,
    person_category,
)
from opensapiens.storage.json_files import read_json
from opensapiens.storage.text_files import FileError

MAX_FILE_BYTES = 1_000_000_000
NOBODY = np.empty((0, 4), np.float32)


class BoxesError(ValueError):
    """Boxes that cannot be used; the message says which and why."""


def checked_boxes(boxes: np.ndarray | Sequence, image_size: tuple[int, int]) -> np.ndarray:
    """The caller's boxes as (N, 4) float32 xyxy clipped to the image.

    Raises BoxesError for another shape, numbers that are not finite, and boxes without area inside the image.
    """
    array = np.asarray(boxes, dtype=np.float32)
    if array.size == 0:
        return NOBODY
    array = np.atleast_2d(array)
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise BoxesError(f"boxes must be N×4 finite numbers x1, y1, x2, y2; got shape {array.shape}")
    inside = in_image(array, image_size)
    if not inside.all():
        raise BoxesError(
            f"box {array[~inside][0].tolist()} (x1, y1, x2, y2) has no area in the image of "
            f"{image_size[1]}×{image_size[0]}"
        )
    return _clipped(array, image_size)


def in_image(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(N,) bool: which boxes (N, 4) xyxy have an area inside an image of (height, width)."""
    clipped = _clipped(boxes, image_size)
    return np.all(clipped[:, 2:] > clipped[:, :2], axis=1)


def _clipped(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return np.clip(boxes, 0, np.array(image_size[::-1] * 2, np.float32))


def read_boxes(path: str | Path) -> dict[str, np.ndarray]:
    """Boxes of people by the name of the image file, with the folders in that name: (N, 4) float32 xyxy pixels.

    The JSON file is one of: a list of {"image": name, "bbox": [x, y, width, height]} (or "file_name" instead of
    "image"); a COCO annotation file, of which the people's boxes are taken; or {name: [[x1, y1, x2, y2], …]}.
    `boxes_of` finds those of an image. Raises BoxesError, also for more than MAX_PEOPLE in one image.
    """
    try:
        content = read_json(path, limit=MAX_FILE_BYTES)
        boxes = _from_coco(content, path) if isinstance(content, dict) and "annotations" in content else None
    except (FileError, AnnotationError) as error:
        raise BoxesError(str(error)) from error
    if boxes is None:
        boxes = {}
        if isinstance(content, dict):
            for name, listed in content.items():
                if not isinstance(listed, list):
                    raise BoxesError(f"{path}: the boxes of {name!r} are not a list")
                boxes[_plain_name(name)] = [_four_numbers(box, f"{path}: a box of {name!r}") for box in listed]
        elif isinstance(content, list):
            for number, entry in enumerate(content):
                name = entry.get("image", entry.get("file_name")) if isinstance(entry, dict) else None
                if not isinstance(name, str) or "bbox" not in entry:
                    raise BoxesError(f'{path}: entry {number} is not {{"image": name, "bbox": [x, y, width, height]}}')
                boxes.setdefault(_plain_name(name), []).append(_corners(entry["bbox"], f"{path}: entry {number}"))
        else:
            raise BoxesError(f"{path}: neither a list of boxes nor boxes by file name")
    for name, listed in boxes.items():
        if len(listed) > MAX_PEOPLE:
            raise BoxesError(
                f"{path}: {len(listed)} boxes for {name}; at most {MAX_PEOPLE} people are read in an image"
            )
    return {name: np.array(listed, np.float32).reshape(-1, 4) for name, listed in boxes.items()}


def boxes_of(boxes: Mapping[str, np.ndarray], file: Path) -> np.ndarray:
    """The boxes (N, 4) of an image: those under the longest name that its path ends with."""
    name = _name_of(boxes, file)
    return NOBODY if name is None else boxes[name]


def check_boxes(boxes: Mapping[str, np.ndarray], file: Path, files: Sequence[Path]) -> None:
    """Raises BoxesError for an image without boxes, and for one that shares its boxes with another of the files."""
    name = _name_of(boxes, file)
    if name is None:
        namesakes = [named for named in boxes if named.rpartition("/")[2] == file.name]
        hint = f" (there are some for {', '.join(namesakes[:3])})" if namesakes else ""
        raise BoxesError(f"{file}: no boxes for it in the file of boxes{hint}")
    for other in files:
        if other.name == file.name and other.resolve() != file.resolve() and _name_of(boxes, other) == name:
            raise BoxesError(f"{file}: the boxes of {name!r} could be those of {other} too: add the folder to the name")


def _name_of(boxes: Mapping[str, np.ndarray], file: Path) -> str | None:
    parts = file.absolute().parts
    endings = ["/".join(parts[first:]) for first in range(1, len(parts))]
    return next((ending for ending in ["/" + endings[0], *endings] if ending in boxes), None)


def _plain_name(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _from_coco(content: dict[str, Any], path: str | Path) -> dict[str, list[list[float]]]:
    content = checked_annotations(content, path)
    category = person_category(content, str(path))
    images = coco_images(content, str(path), Path(), sized=False)
    boxes: dict[str, list[list[float]]] = {_plain_name(str(image.path)): [] for image in images.values()}
    for annotation in content["annotations"]:
        if is_of(annotation, category) and not annotation.get("iscrowd", 0):
            where, image_id = f"{path}: annotation {annotation.get('id')}", annotation.get("image_id")
            if not isinstance(image_id, int | str) or image_id not in images:
                raise BoxesError(f"{where}: no picture has the id {image_id!r}")
            boxes[_plain_name(str(images[image_id].path))].append(_corners(annotation.get("bbox"), where))
    return boxes


def _four_numbers(box: Any, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4 or not all(type(value) in (int, float) for value in box):
        raise BoxesError(f"{where} is not four numbers")
    if max(map(abs, box)) > MAX_SIDE:
        raise BoxesError(f"{where} is not in pixels: {box}")
    return [float(value) for value in box]


def _corners(box: Any, where: str) -> list[float]:
    x, y, width, height = _four_numbers(box, where)
    return [x, y, x + width, y + height]
