"""A user's own label sets: from COCO categories or CSV files, and to and from JSON for model folders."""

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

DEFAULT_SIGMA = 0.05  # of a point that no known set has; COCO's are between 0.025 (eyes) and 0.107 (hips)
# Possible sides in a name, if the name with the other side exists too: left_paw, pawRight, l_paw, LPaw, pawL, L5
SIDES = re.compile(r"(?i:left|right|(?<![a-z])[lr](?![a-z]))|(?<![A-Za-z])[LR](?=[A-Z])|(?<=[a-z0-9])[LR](?![A-Za-z])")
# Certain sides: separate words, and separate single letters
SIDE_WORDS = re.compile(
    r"(?<![A-Za-z])(?i:left|right)|(?<=[a-z])(?:Left|Right)|(?i:(?<![a-z0-9])[lr](?=[_ -])|(?<=[_ -])[lr](?![a-z0-9]))"
)
logger = logging.getLogger(__name__)

COLORS = {"left": "#00ff00", "right": "#ff8000", "": "#3399ff"}


def find_keypoint_set(source: str | Path) -> KeypointSet:
    """A keypoint set by the name of a known one ("coco_17"), or from a CSV file or the categories of a COCO file.

    For points.csv (see `read_keypoint_set`), the limbs are in points_limbs.csv, if that exists. ValueError for anything
    else; it lists the known sets.
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

    ValueError for anything else; it lists the known sets.
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

    COCO holds neither mirror images nor sigmas. Mirrors follow from the names (left_paw and right_paw, l_paw and r_paw,
    LPaw and RPaw); a set without any is logged. Points of known sets keep their sigma, group and color; others get a
    sigma of 0.05. Use a CSV file to set them. ValueError if a category has no points, or a point names a side and its
    counterpart is missing.
    """
    names, skeleton = category.get("keypoints") or [], category.get("skeleton") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: its keypoints are not a list of names")
    if not isinstance(skeleton, list) or not all(isinstance(limb, list) and len(limb) == 2 for limb in skeleton):
        raise ValueError(f"{where}: its skeleton is not a list of pairs of points")
    for number in (number for limb in skeleton for number in limb):
        if not isinstance(number, int) or not 1 <= number <= len(names):
            raise ValueError(f"{where}: the skeleton names point {number!r} of {len(names)}, counted from 1")
    limbs = [{"start": names[start - 1], "end": names[end - 1], "color": COLORS[""]} for start, end in skeleton]
    rows = [_point_row(point, names, where) for point in names]
    _warn_if_nothing_mirrors(rows, where)
    return keypoint_set_of_rows(name, rows, limbs, where)


def _point_row(point: str, names: Sequence[str], where: str) -> dict[str, str]:
    mirror, side = _mirror(point, names, where)
    row = {"name": point, "mirror": mirror, "group": "own", "body_half": ""}
    row |= {"sigma": str(DEFAULT_SIGMA), "color": COLORS[side]}
    for known in (COCO_17, WHOLEBODY_133, SAPIENS_308):
        if point in known.names:
            known_row = keypoint_set_to_json(known)["keypoints"][known.index(point)]
            return row | {key: known_row[key] for key in ("group", "body_half", "sigma", "color")}
    return row


def _mirror(name: str, names: Sequence[str], where: str) -> tuple[str, str]:
    """The name of the counterpart and the side, or ("", "")."""
    for match in SIDES.finditer(name):
        counterpart = _counterpart(name, match)
        if counterpart in names:
            return counterpart, "left" if match.group()[0] in "lL" else "right"
    word = SIDE_WORDS.search(name)
    if word:
        counterpart = _counterpart(name, word)
        raise ValueError(f"{where}: {name!r} names a side, but there is no {counterpart!r}; give mirrors in a CSV file")
    return "", ""


def _counterpart(name: str, match: re.Match[str]) -> str:
    side = match.group()
    other = {"left": "right", "right": "left", "l": "r", "r": "l"}[side.lower()]
    other = other.upper() if side.isupper() else other.title() if side[0].isupper() else other
    return name[: match.start()] + other + name[match.end() :]


def _warn_if_nothing_mirrors(rows: Sequence[Mapping[str, str]], where: str) -> None:
    if not any(row["mirror"] for row in rows):
        logger.warning("%s: no names were found that mirror each other, such as left_paw and right_paw; mirrored "
                       "pictures keep every name where it is. Give mirrors in a CSV file", where)  # fmt: skip


def part_set_of_categories(
    name: str, categories: Sequence[Mapping[str, Any]], where: str = "the categories"
) -> PartSet:
    """A part set from COCO categories: {"id", "name"} and, as in panoptic files, optionally "color" [r, g, b].

    Ids are the numbers in the label maps. Class 0 is the background, which is added if no category has id 0. Classes
    that name a side mirror each other; loss weights are 1. ValueError if ids are not consecutive.
    """
    try:
        by_id = {int(category["id"]): category for category in categories}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: a category without a number as its id ({error!r})") from error
    by_id.setdefault(0, {"name": "Background", "color": [50, 50, 50]})
    if sorted(by_id) != list(range(len(by_id))):
        raise ValueError(f"{where}: ids are the numbers in the label maps and must be 0 or 1, 2, 3 … without a gap")
    names = [str(by_id[number].get("name", number)) for number in range(len(by_id))]
    rows = []
    for number, part in enumerate(names):
        color = by_id[number].get("color") or _distinct_color(number)
        if not isinstance(color, list) or len(color) != 3 or not all(value in range(256) for value in color):
            raise ValueError(f"{where}: the color of {part} is not [red, green, blue] of 0 to 255")
        mirror, _ = _mirror(part, names, where)
        rows.append({"name": part, "mirror": mirror, "loss_weight": "1", "color": _hex(color)})
    _warn_if_nothing_mirrors(rows, where)
    return part_set_of_rows(name, rows, where)


def _distinct_color(number: int) -> list[int]:
    red, green, blue = colorsys.hsv_to_rgb(number * 0.61803 % 1, 0.85, 1.0 - 0.35 * (number % 2))  # golden ratio
    return [round(255 * red), round(255 * green), round(255 * blue)]


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in color)


def keypoint_set_to_json(keypoints: KeypointSet) -> dict[str, Any]:
    """A keypoint set as JSON: {"name", "keypoints": rows, "limbs": rows}, rows with the columns of the CSV files."""
    names, sigmas, colors = keypoints.names, map(str, keypoints.sigmas), map(_hex, keypoints.colors)
    rows = zip(
        names, _mirror_names(keypoints), keypoints.groups, keypoints.body_halves, sigmas, colors, strict=True
    )  # in the order of KEYPOINT_COLUMNS
    limbs = [
        {"start": names[start], "end": names[end], "color": _hex(color)}
        for (start, end), color in zip(keypoints.limbs, keypoints.limb_colors, strict=True)
    ]
    points = [dict(zip(KEYPOINT_COLUMNS, row, strict=True)) for row in rows]
    return {"name": keypoints.name, "keypoints": points, "limbs": limbs}


def _mirror_names(labels: KeypointSet | PartSet) -> list[str]:
    return ["" if mirror == i else labels.names[mirror] for i, mirror in enumerate(labels.flip_indices)]


def keypoint_set_from_json(content: Any) -> KeypointSet:
    """The inverse of `keypoint_set_to_json`. ValueError for anything else, saying what is wrong."""
    name, rows, limbs = _checked(content, "keypoints", KEYPOINT_COLUMNS)
    return keypoint_set_of_rows(name, rows, _checked_rows(limbs, LIMB_COLUMNS, name), f"keypoint set {name!r}")


def part_set_to_json(parts: PartSet) -> dict[str, Any]:
    """A part set as JSON: {"name", "parts": rows}, rows with the columns of the CSV files."""
    rows = zip(parts.names, _mirror_names(parts), map(str, parts.loss_weights), map(_hex, parts.colors), strict=True)
    return {"name": parts.name, "parts": [dict(zip(PART_COLUMNS, row, strict=True)) for row in rows]}


def part_set_from_json(content: Any) -> PartSet:
    """The inverse of `part_set_to_json`. ValueError for anything else, saying what is wrong."""
    name, rows, _ = _checked(content, "parts", PART_COLUMNS)
    return part_set_of_rows(name, rows, f"part set {name!r}")


def label_entry(labels: KeypointSet | PartSet) -> str | dict[str, Any]:
    """A label set in a model folder's JSON: the name of a known set, any other set in full."""
    if labels in (*KEYPOINT_SETS.values(), *PART_SETS.values()):
        return labels.name
    return keypoint_set_to_json(labels) if isinstance(labels, KeypointSet) else part_set_to_json(labels)


def label_set_from_json(entry: str | Mapping[str, Any]) -> KeypointSet | PartSet:
    """The inverse of `label_entry`. ValueError for an unknown name or an invalid set."""
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
    """The given columns of rows; others are ignored, as in CSV files."""
    if not isinstance(rows, list) or not all(
        isinstance(row, Mapping) and all(isinstance(row.get(column), str) for column in columns) for row in rows
    ):
        raise ValueError(f"label set {name!r}: its rows must be objects of text with the keys {', '.join(columns)}")
    return [{column: row[column] for column in columns} for row in rows]
