"""The labels of one image between the steps of annotation, kept on disk so that a stopped run can resume.

NAME.json         size, the people's points, boxes and scores; written last
NAME.parts.png    indexed PNG: pixel = part
NAME.people.png   indexed PNG: pixel = number of the person, from 1, 0 nobody
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from opensapiens.annotation.association import Detection
from opensapiens.data.label_maps import read_array, read_parts
from opensapiens.inference.results import Result
from opensapiens.labels.parts import PartSet
from opensapiens.storage.files import write_json, written
from opensapiens.storage.json_files import read_json
from opensapiens.storage.listing import list_files, passed_over_sentence
from opensapiens.storage.pictures import IMAGE_ENDINGS
from opensapiens.storage.text_files import utf8
from opensapiens.tasks.segmentation import save_parts

LONGEST_NAME = 220  # bytes; file systems take 255, with the endings of labels and of files being written


@dataclass(frozen=True, eq=False)
class PictureLabels:
    """One image: its path below the folder of images, (height, width), and the people in it."""

    name: str
    size: tuple[int, int]
    people: list[Detection]


def find_images(folder: Path) -> tuple[list[str], list[str], str]:
    """The sorted paths of the pictures below a folder, relative to it; a sentence for each picture that is left out
    because labels are named without the ending (of a.jpg and a.png only the first is kept); and one that counts the
    files passed over, "" without any.

    Raises FileNotFoundError for a folder that does not exist or holds no picture.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    listing = list_files(folder, IMAGE_ENDINGS)
    names = sorted(path.relative_to(folder).as_posix() for path in listing.files)
    if not names:
        raise FileNotFoundError(f"no picture ({', '.join(IMAGE_ENDINGS)}) in {folder}")
    kept: dict[str, str] = {}
    failures = []
    for name in names:
        if utf8(name) != name:
            failures.append(f"{utf8(name)}: its name is not UTF-8, as files of labels are; rename it")
            continue
        if len(os.fsencode(PurePosixPath(name).name)) > LONGEST_NAME:
            failures.append(f"{name}: its labels would have names that are too long; rename it to {LONGEST_NAME} bytes")
            continue
        first = kept.setdefault(stem_of(name), name)
        if first != name:
            failures.append(f"{name}: has the same name as {first}, whose labels it would overwrite; rename one")
    return list(kept.values()), failures, passed_over_sentence(listing.passed_over)


def stem_of(name: str) -> str:
    """A picture's path without its ending."""
    return PurePosixPath(name).with_suffix("").as_posix()


def labels_of(name: str, result: Result) -> PictureLabels:
    """What a prediction says about the people of an image."""
    people = [
        Detection(
            person.keypoints.astype(float), person.scores.astype(float), person.box.astype(float), person.score, number
        )
        for number, person in enumerate(result.persons[:255], start=1)
    ]  # fmt: skip
    return PictureLabels(name, result.image.shape[:2], people)


def people_map(result: Result) -> np.ndarray:
    """The number of the person at each pixel (H, W) uint8; the larger box is on top, as in the part map."""
    numbers = np.zeros(result.image.shape[:2], np.uint8)
    areas = [float(np.prod(person.box[2:] - person.box[:2])) for person in result.persons[:255]]
    for index in np.argsort(areas, kind="stable"):
        numbers[result.persons[index].mask] = index + 1
    return numbers


def save_labels(
    folder: Path, picture: PictureLabels, parts: np.ndarray | None, people: np.ndarray | None, part_set: PartSet | None
) -> None:
    """Write the files of an image; the JSON comes last: where it exists, the image is done."""
    stem = folder / stem_of(picture.name)
    if parts is not None and part_set is not None:
        save_parts(_sibling(stem, ".parts.png"), parts, part_set)
    if people is not None:
        save_people(_sibling(stem, ".people.png"), people)
    content = {
        "name": picture.name,
        "size": list(picture.size),
        "people": [
            {
                "number": person.number, "score": person.score, "box": person.box.round(2).tolist(),
                "points": person.points.round(3).tolist(), "scores": person.scores.round(4).tolist(),
            }
            for person in picture.people
        ],
    }  # fmt: skip
    write_json(_sibling(stem, ".json"), content, indent=None)


def save_people(path: Path, people: np.ndarray) -> None:
    """Indexed PNG: pixel = number of the person, each in a color of its own."""
    shades = np.random.default_rng(1).integers(60, 256, (256, 3))
    shades[0] = 0
    picture = Image.fromarray(people)
    picture.putpalette(shades.astype(np.uint8).tobytes())
    with written(path) as temporary:
        picture.save(temporary, "PNG")


def is_saved(folder: Path, name: str) -> bool:
    """Whether save_labels has finished an image."""
    return _sibling(folder / stem_of(name), ".json").is_file()


def load_labels(folder: Path, name: str) -> PictureLabels:
    """What save_labels wrote."""
    content = read_json(_sibling(folder / stem_of(name), ".json"))
    people = [
        Detection(
            np.array(row["points"], float).reshape(-1, 2), np.array(row["scores"], float), np.array(row["box"], float),
            row["score"], row["number"],
        )
        for row in content["people"]
    ]  # fmt: skip
    return PictureLabels(content["name"], (content["size"][0], content["size"][1]), people)


def load_maps(folder: Path, name: str, part_set: PartSet) -> tuple[np.ndarray, np.ndarray] | None:
    """Parts and people (H, W) uint8 of an image; None where they are not known."""
    stem = folder / stem_of(name)
    parts, people = _sibling(stem, ".parts.png"), _sibling(stem, ".people.png")
    if not parts.is_file() or not people.is_file():
        return None
    return read_parts(parts, part_set), read_array(people)


def _sibling(stem: Path, ending: str) -> Path:
    """A name may hold dots: with_suffix would cut them."""
    return stem.with_name(stem.name + ending)
