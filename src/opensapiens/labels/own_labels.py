"""A user's own label sets: from COCO categories or CSV files, and in and out of JSON, which a model folder carries."""

from __future__ import annotations

import colorsys
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opensapiens.labels.keypoints import (
    COCO_17,
    KEYPOINT_COLUMNS,
    KEYPOINT_SETS,
    LIMB_COLUMNS,
    SAPIENS_308,
    WHOLEBODY_133,
    KeypointSet,
    keypoint_set_of_rows,
    read_keypoint_set,
)
from opensapiens.labels.parts import PART_COLUMNS, PART_SETS, PartSet, part_set_of_rows, read_part_set
from opensapiens.storage.json_files import MAX_ANNOTATION_BYTES, read_json

DEFAULT_SIGMA = 0.05  # of a point that no known set has; COCO's lie between 0.025 (eyes) and 0.107 (hips)
# What may be a side in a name, if the name with the other side is there too: left_paw, pawRight, l_paw, LPaw, pawL, L5
SIDES = re.compile(r"(?i:left|right|(?<![a-z])[lr](?![a-z]))|(?<![A-Za-z])[LR](?=[A-Z])|(?<=[a-z0-9])[LR](?![A-Za-z])")
# What is one in any case: a word of its own, and a single letter set apart
SIDE_WORDS = re.compile(
    r"(?<![A-Za-z])(?i:left|right)|(?<=[a-z])(?:Left|Right)|(?i:(?<![a-z0-9])[lr](?=[_ -])|(?<=[_ -])[lr](?![a-z0-9]))"
)
logger = logging.getLogger(__name__)

COLORS = {"left": "#00ff00", "right": "#ff8000", "": "#3399ff"}


def find_keypoint_set(source: str | Path) -> KeypointSet:
    """A keypoint set by the name of a known one ("coco_17"), or from a CSV file or the categories of a COCO file.

    A CSV file is as `read_keypoint_set` takes it; limbs stand beside points.csv in points_limbs.csv, if there are any.
    ValueError for anything else; it names the known ones.
    """
    if str(source) in KEYPOINT_SETS:
        return KEYPOINT_SETS[str(source)]
    path = _file(source, "keypoint set", KEYPOINT_SETS)
    if path.suffix.lower() == ".csv":
        limbs = path.with_name(f"{path.stem}_limbs.csv")
        return read_keypoint_set(path.stem, path, limbs if limbs.is_file() else None)
    return keypoint_set_of_category(path.stem, _categories(path)[0], str(path))


def find_part_set(source: str | Path) -> PartSet:
    """A part set by the name of a known one ("sapiens_28"), or from a CSV file or the categories of a COCO file.

    ValueError for anything else; it names the known ones.
    """
    if str(source) in PART_SETS:
        return PART_SETS[str(source)]
    path = _file(source, "part set", PART_SETS)
    if path.suffix.lower() == ".csv":
        return read_part_set(path.stem, path)
    return part_set_of_categories(path.stem, _categories(path), str(path))


def _file(source: str | Path, what: str, known: Mapping[str, Any]) -> Path:
    path = Path(source)
    if path.suffix.lower() not in (".csv", ".json") or not path.is_file():
        raise ValueError(f"no {what} {str(source)!r}; there are {', '.join(known)}, or name a .csv or COCO .json file")
    return path


def _categories(path: Path) -> list[dict[str, Any]]:
    try:
        categories = read_json(path, limit=MAX_ANNOTATION_BYTES)["categories"]
        if not categories or not all(isinstance(category, dict) for category in categories):
            raise TypeError("categories is not a list of objects")
        return categories
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a COCO file with categories ({error!r})") from error


def keypoint_set_of_category(name: str, category: Mapping[str, Any], where: str = "the category") -> KeypointSet:
    """A keypoint set from a COCO category: its "keypoints" are the names, its "skeleton" (from 1) the limbs.

    COCO does not say what mirrors what, nor how exactly a point can be placed. Mirrors follow from the names: what is
    left to right, left_paw and right_paw, l_paw and r_paw, LPaw and RPaw; a set without any is logged. Points of the
    known sets keep the sigma, group and color they have there; others get a sigma of 0.05. Write a CSV file where that
    is not good enough. ValueError when a category has no points, or a point names a side and its counterpart is absent.
    """
    names, skeleton = category.get("keypoints") or [], category.get("skeleton") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: its keypoints are not a list of names")
    if not isinstance(skeleton, list) or not all(isinstance(limb, list) and len(limb) == 2 for limb in skeleton):
        raise ValueError(f"{where}: its skeleton is not a list of pairs of points")
    limbs = [
        {"start": _named(names, start, where), "end": _named(names, end, where), "color": COLORS[""]}
        for start, end in skeleton
    ]
    rows = [_point_row(point, names, where) for point in names]
    _say_if_nothing_mirrors(rows, where)
    return keypoint_set_of_rows(name, rows, limbs, where)


def _named(names: Sequence[str], number: int, where: str) -> str:
    if not isinstance(number, int) or not 1 <= number <= len(names):
        raise ValueError(f"{where}: the skeleton names point {number!r} of {len(names)}, counted from 1")
    return names[number - 1]


def _point_row(point: str, names: Sequence[str], where: str) -> dict[str, str]:
    mirror, side = _mirror(point, names, where)
    row = {"name": point, "mirror": mirror, "group": "own", "body_half": ""}
    row |= {"sigma": str(DEFAULT_SIGMA), "color": COLORS[side]}
    for known in (COCO_17, WHOLEBODY_133, SAPIENS_308):
        if point in known.names:
            kept = keypoint_set_to_json(known)["keypoints"][known.index(point)]
            return row | {key: kept[key] for key in ("group", "body_half", "sigma", "color")}
    return row


def _mirror(name: str, names: Sequence[str], where: str) -> tuple[str, str]:
    """The name of the counterpart ("" where there is no side) and the side."""
    for found in SIDES.finditer(name):
        counterpart = name[: found.start()] + _other_side(found.group()) + name[found.end() :]
        if counterpart in names:
            return counterpart, "left" if found.group()[0] in "lL" else "right"
    word = SIDE_WORDS.search(name)
    if word:
        counterpart = name[: word.start()] + _other_side(word.group()) + name[word.end() :]
        raise ValueError(f"{where}: {name!r} names a side, but there is no {counterpart!r}; give mirrors in a CSV file")
    return "", ""


def _other_side(word: str) -> str:
    other = {"left": "right", "right": "left", "l": "r", "r": "l"}[word.lower()]
    return other.upper() if word.isupper() else other.title() if word[0].isupper() else other


def _say_if_nothing_mirrors(rows: Sequence[Mapping[str, str]], where: str) -> None:
    if not any(row["mirror"] for row in rows):
        logger.warning("%s: no names were found that mirror each other, such as left_paw and right_paw; mirrored "
                       "pictures keep every name where it is. Give mirrors in a CSV file", where)  # fmt: skip


def part_set_of_categories(
    name: str, categories: Sequence[Mapping[str, Any]], where: str = "the categories"
) -> PartSet:
    """A part set from COCO categories: {"id", "name"} and, as in the panoptic files, "color" [r, g, b] if there is one.

    Ids are the numbers in the label maps. Class 0 is the background; where no category has the id 0 it is added.
    Classes that name a side mirror each other; loss weights are 1. ValueError when ids leave a gap.
    """
    try:
        of_id = {int(category["id"]): category for category in categories}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: a category without a number as its id ({error!r})") from error
    of_id.setdefault(0, {"name": "Background", "color": [50, 50, 50]})
    if sorted(of_id) != list(range(len(of_id))):
        raise ValueError(
            f"{where}: ids must be 0 or 1, 2, 3 … without a gap, as they are the numbers of the label maps"
        )
    names = [str(of_id[number].get("name", number)) for number in range(len(of_id))]
    rows = []
    for number, part in enumerate(names):
        color = of_id[number].get("color") or _distinct_color(number)
        if not isinstance(color, list) or len(color) != 3 or not all(value in range(256) for value in color):
            raise ValueError(f"{where}: the color of {part} is not [red, green, blue] of 0 to 255")
        mirror, _ = _mirror(part, names, where)
        rows.append({"name": part, "mirror": mirror, "loss_weight": "1", "color": _hex(color)})
    _say_if_nothing_mirrors(rows, where)
    return part_set_of_rows(name, rows, where)


def _distinct_color(number: int) -> list[int]:
    red, green, blue = colorsys.hsv_to_rgb(number * 0.61803 % 1, 0.85, 1.0 - 0.35 * (number % 2))  # golden ratio
    return [round(255 * red), round(255 * green), round(255 * blue)]


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in color)


def keypoint_set_to_json(keypoints: KeypointSet) -> dict[str, Any]:
    """A keypoint set as JSON: {"name", "keypoints": rows, "limbs": rows}, rows with the columns of the CSV files."""
    numbers = zip(keypoints.flip_indices, keypoints.sigmas, strict=True)
    rows = [
        dict(zip(KEYPOINT_COLUMNS, (name, "" if mirror == i else keypoints.names[mirror], group, half, str(sigma),
                                    _hex(color)), strict=True))
        for i, (name, group, half, (mirror, sigma), color) in enumerate(
            zip(keypoints.names, keypoints.groups, keypoints.body_halves, numbers, keypoints.colors, strict=True)
        )
    ]  # fmt: skip
    limbs = [
        dict(zip(LIMB_COLUMNS, (keypoints.names[start], keypoints.names[end], _hex(color)), strict=True))
        for (start, end), color in zip(keypoints.limbs, keypoints.limb_colors, strict=True)
    ]
    return {"name": keypoints.name, "keypoints": rows, "limbs": limbs}


def keypoint_set_from_json(content: Any) -> KeypointSet:
    """Back from `keypoint_set_to_json`. ValueError for anything else, saying what is wrong."""
    name, rows, limbs = _checked(content, "keypoints", KEYPOINT_COLUMNS)
    return keypoint_set_of_rows(name, rows, _checked_rows(limbs, LIMB_COLUMNS, name), f"keypoint set {name!r}")


def part_set_to_json(parts: PartSet) -> dict[str, Any]:
    """A part set as JSON: {"name", "parts": rows}, rows with the columns of the CSV files."""
    rows = [
        dict(
            zip(PART_COLUMNS, (name, "" if mirror == i else parts.names[mirror], str(weight), _hex(color)), strict=True)
        )
        for i, (name, mirror, weight, color) in enumerate(
            zip(parts.names, parts.flip_indices, parts.loss_weights, parts.colors, strict=True)
        )
    ]
    return {"name": parts.name, "parts": rows}


def part_set_from_json(content: Any) -> PartSet:
    """Back from `part_set_to_json`. ValueError for anything else, saying what is wrong."""
    name, rows, _ = _checked(content, "parts", PART_COLUMNS)
    return part_set_of_rows(name, rows, f"part set {name!r}")


def label_entry(labels: KeypointSet | PartSet) -> str | dict[str, Any]:
    """A label set as a model folder holds it: the name of a known set, any other set in full."""
    if labels in (*KEYPOINT_SETS.values(), *PART_SETS.values()):
        return labels.name
    return keypoint_set_to_json(labels) if isinstance(labels, KeypointSet) else part_set_to_json(labels)


def label_set_from_json(entry: str | Mapping[str, Any]) -> KeypointSet | PartSet:
    """Back from `label_entry`. ValueError for no known name, or an object that is no set."""
    if isinstance(entry, Mapping):
        return part_set_from_json(entry) if "parts" in entry else keypoint_set_from_json(entry)
    known: dict[str, KeypointSet | PartSet] = {**KEYPOINT_SETS, **PART_SETS}
    if entry not in known:
        raise ValueError(f"no label set {entry!r}; there are {', '.join(known)}")
    return known[entry]


def _checked(content: Any, key: str, columns: Sequence[str]) -> tuple[str, list[dict[str, str]], Any]:
    if not isinstance(content, Mapping) or not isinstance(content.get("name"), str) or key not in content:
        raise ValueError(f'a label set must be an object with "name" and "{key}"')
    return content["name"], _checked_rows(content[key], columns, content["name"]), content.get("limbs", [])


def _checked_rows(rows: Any, columns: Sequence[str], name: str) -> list[dict[str, str]]:
    """The columns of rows; others are ignored, as in CSV files."""
    if not isinstance(rows, list) or not all(
        isinstance(row, Mapping) and all(isinstance(row.get(column), str) for column in columns) for row in rows
    ):
        raise ValueError(f"label set {name!r}: its rows must be objects of text with the keys {', '.join(columns)}")
    return [{column: row[column] for column in columns} for row in rows]
