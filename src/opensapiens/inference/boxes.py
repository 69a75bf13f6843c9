"""Boxes of people that the caller gives, in a call or in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class BoxesError(ValueError):
    """Boxes that are not what they should be; the message says which and why."""


def checked_boxes(boxes: np.ndarray | Sequence, image_size: tuple[int, int]) -> np.ndarray:
    """Boxes of a caller as (N, 4) float32 xyxy clipped to the image.

    Raises BoxesError for another shape, numbers that are not finite, and boxes without area inside the image.
    """
    array = np.asarray(boxes, dtype=np.float32)
    if array.size == 0:
        return np.empty((0, 4), np.float32)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise BoxesError(f"boxes must be N×4 finite numbers x1, y1, x2, y2; got shape {array.shape}")
    height, width = image_size
    clipped = np.clip(array, 0, np.array([width, height, width, height], np.float32))
    empty = ((clipped[:, 2:] - clipped[:, :2]) <= 0).any(axis=1)
    if empty.any():
        raise BoxesError(
            f"box {array[empty][0].tolist()} (x1, y1, x2, y2) has no area in the image of {width}×{height}"
        )
    return clipped


def read_boxes(path: str | Path) -> dict[str, np.ndarray]:
    """Boxes of people by the name of the image file, with the folders that it names: (N, 4) float32 xyxy pixels.

    The file is JSON, one of three: a list of {"image": name, "bbox": [x, y, width, height]} ("file_name" in place of
    "image" will do); a COCO annotation file, of which the people's boxes are taken; or {name: [[x1, y1, x2, y2], …]}.
    Which of them are an image's, `boxes_of` says. Raises BoxesError.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BoxesError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise BoxesError(f"{path}: not JSON ({error})") from error
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return _from_coco(content, path)
    boxes: dict[str, list[list[float]]] = {}
    if isinstance(content, dict):
        for name, listed in content.items():
            if not isinstance(listed, list):
                raise BoxesError(f"{path}: the boxes of {name!r} are not a list")
            boxes[_path(name)] = [_four(box, f"{path}: a box of {name!r}") for box in listed]
    elif isinstance(content, list):
        for number, entry in enumerate(content):
            name = entry.get("image", entry.get("file_name")) if isinstance(entry, dict) else None
            if not isinstance(name, str) or "bbox" not in entry:
                raise BoxesError(f'{path}: entry {number} is not {{"image": name, "bbox": [x, y, width, height]}}')
            boxes.setdefault(_path(name), []).append(_corners(entry["bbox"], f"{path}: entry {number}"))
    else:
        raise BoxesError(f"{path}: neither a list of boxes nor boxes by file name")
    return {name: np.array(listed, np.float32).reshape(-1, 4) for name, listed in boxes.items()}


def boxes_of(boxes: Mapping[str, np.ndarray], file: Path) -> np.ndarray | None:
    """The boxes of an image: those under the longest name that its path ends with; None without any."""
    name = _name_of(boxes, file)
    return None if name is None else boxes[name]


def check_boxes(boxes: Mapping[str, np.ndarray], file: Path, files: Sequence[Path]) -> None:
    """Raises BoxesError for an image without boxes, and for one whose boxes another of the files would get as well."""
    name = _name_of(boxes, file)
    if name is None:
        alike = [given for given in boxes if given.rpartition("/")[2] == file.name]
        hint = f" (there are some for {', '.join(alike[:3])})" if alike else ""
        raise BoxesError(f"{file}: no boxes for it in the file of boxes{hint}")
    for other in files:
        if other.name == file.name and other.resolve() != file.resolve() and _name_of(boxes, other) == name:
            raise BoxesError(f"{file}: the boxes of {name!r} could be those of {other} too: name them with folders")


def _name_of(boxes: Mapping[str, np.ndarray], file: Path) -> str | None:
    parts = file.absolute().parts
    ends = ["/".join(parts[first:]) for first in range(1, len(parts))]
    return next((end for end in ["/" + ends[0], *ends] if end in boxes), None)


def _path(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _from_coco(content: dict[str, Any], path: str | Path) -> dict[str, np.ndarray]:
    try:
        names = {image["id"]: _path(image["file_name"]) for image in content["images"]}
        boxes: dict[str, list[list[float]]] = {name: [] for name in names.values()}
        for annotation in content["annotations"]:
            if annotation.get("category_id", 1) == 1 and not annotation.get("iscrowd", 0):
                where = f"{path}: annotation {annotation.get('id')}"
                boxes[names[annotation["image_id"]]].append(_corners(annotation["bbox"], where))
    except (KeyError, TypeError, AttributeError) as error:
        raise BoxesError(f"{path}: not a COCO annotation file ({error!r})") from error
    return {name: np.array(listed, np.float32).reshape(-1, 4) for name, listed in boxes.items()}


def _four(box: Any, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
        raise BoxesError(f"{where} is not four numbers")
    return [float(value) for value in box]


def _corners(box: Any, where: str) -> list[float]:
    x, y, width, height = _four(box, where)
    return [x, y, x + width, y + height]
