"""COCO-style annotation files with the points of any keypoint set.

A file may keep its points in one of three ways: COCO-WholeBody's five fields (of 133 points), the field
"goliath_wholebody_kpts" of the published 308-point files, or all under "keypoints", as COCO does. In the last way the
names in the file's `categories`, where there are any, say which point is which.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.data.sample import Sample
from opensapiens.labels.keypoints import COCO_17, WHOLEBODY_133, KeypointSet
from opensapiens.storage.json_files import MAX_ANNOTATION_BYTES, read_json
from opensapiens.storage.pictures import ImageError, read_image
from opensapiens.storage.text_files import FileError

# COCO-WholeBody keeps its 133 points in these fields, in this order
WHOLEBODY_FIELDS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
SAPIENS_FIELD = "goliath_wholebody_kpts"  # all 308 points, in the published 308-point annotation files
MAX_PEOPLE = 1000  # annotations of one picture
MAX_SIDE = 1_000_000  # pixels: a point beyond is none
MAX_ID = 2**31 - 1
BOX_SHARE = 0.53  # of a box that its person fills, where a file has no areas; xtcocotools takes the same for such sets

logger = logging.getLogger(__name__)


class AnnotationError(ValueError):
    """An annotation file that is not what it should be; the message names the file and the place."""


@dataclass(frozen=True)
class CocoImage:
    """One picture of a COCO file. id: as it stands there. size: (height, width) that its labels were drawn on."""

    id: int | str
    path: Path
    size: tuple[int, int]

    def read(self) -> np.ndarray:
        """The picture (H, W, 3) uint8. Raises ImageError for one that cannot be read or is of another size."""
        image = read_image(self.path)
        (height, width), (own_height, own_width) = self.size, image.shape[:2]
        if (own_height, own_width) != (height, width):
            turned = (own_height, own_width) == (width, height)
            reason = "it was labeled without the turn in its EXIF data" if turned else "it was resized, or is another"
            raise ImageError(
                f"{self.path}: {own_width}×{own_height} pixels (as EXIF turns it), but {width}×{height} in its "
                f"annotations: {reason}"
            )
        return image


@dataclass(frozen=True, eq=False)
class CocoPerson:
    """One annotated person of a COCO file."""

    image: CocoImage
    annotation_id: int
    place: int  # in the file's list of annotations
    box: np.ndarray  # (4,) float32 xyxy, clipped to the image
    keypoints: np.ndarray | None  # (K, 3) float32 x, y, visibility 0/1/2; None when the file has none for this person
    keypoint_set: KeypointSet
    area: float  # pixels of the person's segmentation, for OKS
    is_crowd: bool

    def sample(self) -> Sample:
        """Reads the image. Raises ImageError."""
        return Sample(
            image=self.image.read(),
            key=f"{self.image.path.name}#{self.annotation_id}",
            box=self.box,
            keypoints=self.keypoints,
            keypoint_set=self.keypoint_set,
        )


class CocoDataset:
    """Persons as a sequence of samples for training: those with a box and at least `min_keypoints` labeled points.

    How many others there are is logged.
    """

    def __init__(self, persons: Iterable[CocoPerson], min_keypoints: int = 3) -> None:
        self.persons: list[CocoPerson] = []
        others: Counter[str] = Counter()
        for person in persons:
            if person.is_crowd:
                others["crowds"] += 1
            elif person.keypoints is None or (person.keypoints[:, 2] > 0).sum() < min_keypoints:
                others[f"with fewer than {min_keypoints} labeled points"] += 1
            elif (person.box[2:] - person.box[:2] < 1).any():
                others["with boxes of less than a pixel of the picture"] += 1
            else:
                self.persons.append(person)
        if others:
            listed = ", ".join(f"{count} {what}" for what, count in others.items())
            logger.warning("%d people are trained on; left out are %s", len(self), listed)

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, index: int) -> Sample:
        return self.persons[index].sample()


def read_coco_persons(
    annotations: Path | str, images: Path | str, keypoint_set: KeypointSet = COCO_17
) -> list[CocoPerson]:
    """The persons of a COCO-style annotation file, in its order, with the points of `keypoint_set`.

    Those are the annotations of the one category that has points, or else of that named person. Where the categories
    name the points, the file may hold them in another order, or only some of them: the others are then unlabeled;
    case, spaces and underscores in names do not count. Boxes are clipped to the last pixel of the image as in the
    published training. What is left out, and what stands in for what is missing, is logged with counts. Raises
    AnnotationError.
    """
    return coco_persons(read_annotations(annotations), annotations, images, keypoint_set)


def read_annotations(path: Path | str) -> dict[str, Any]:
    """The content of a COCO file: an object whose "images", "annotations" and "categories" are lists of objects.

    Raises AnnotationError.
    """
    try:
        content = read_json(path, limit=MAX_ANNOTATION_BYTES)
    except FileError as error:
        raise AnnotationError(str(error)) from error
    return checked_annotations(content, path)


def checked_annotations(content: Any, path: Path | str) -> dict[str, Any]:
    """`read_annotations` of what the file `path` was found to hold."""
    if isinstance(content, dict):
        content.setdefault("categories", [])
    lists = [content.get(key) for key in ("images", "annotations", "categories")] if isinstance(content, dict) else []
    if not lists or not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in lists):
        raise AnnotationError(f'{path}: not a COCO annotation file; it needs lists of objects "images", "annotations"')
    return content


def coco_persons(
    content: dict[str, Any], annotations: Path | str, images: Path | str, keypoint_set: KeypointSet = COCO_17
) -> list[CocoPerson]:
    """`read_coco_persons` of a content of `read_annotations`; `annotations` names its origin in errors."""
    where = str(annotations)
    category = person_category(content, where)
    order = _order_of_points(category, keypoint_set, where)
    pictures = coco_images(content, where, Path(images))
    told: Counter[str] = Counter()
    persons: list[CocoPerson] = []
    people_in: Counter[int | str] = Counter()
    for place, record in enumerate(content["annotations"]):
        if not is_of(record, category):
            told[f"annotations of other categories than {_shown(category)} left out"] += 1
            continue
        try:
            if record["image_id"] not in pictures:
                raise ValueError(f"no picture has the id {record['image_id']!r}")
            people_in[record["image_id"]] += 1
            if people_in[record["image_id"]] > MAX_PEOPLE:
                raise ValueError(f"more than {MAX_PEOPLE} people in one picture")
            persons.append(_person(record, place, pictures[record["image_id"]], keypoint_set, order, told))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise AnnotationError(f"{where}: annotation {record.get('id')} cannot be used ({error!r})") from error
    _check_pixels(persons, where)
    if not _are_numbers([person.annotation_id for person in persons]):
        told["annotations whose ids repeat, or are no numbers from 1 on, numbered anew"] = len(persons)
        persons = [replace(person, annotation_id=number) for number, person in enumerate(persons, start=1)]
    if told:
        logger.warning("%s: %s", where, "; ".join(f"{count} {what}" for what, count in told.items()))
    return persons


def coco_images(content: dict[str, Any], where: str, folder: Path, sized: bool = True) -> dict[int | str, CocoImage]:
    """The pictures of a content of `read_annotations` by their ids; sized: each must say its size, else (1, 1) stands
    in. Raises AnnotationError."""
    found: dict[int | str, CocoImage] = {}
    for record in content["images"]:
        number, name = record.get("id"), record.get("file_name")
        sides = (record.get("height"), record.get("width")) if sized else (1, 1)
        if not isinstance(number, int | str) or not isinstance(name, str) or not name or "\0" in name:
            raise AnnotationError(f"{where}: not a COCO file, a picture has no id or no file name ({str(number)[:40]})")
        if not all(isinstance(side, int | float) and 1 <= side <= MAX_SIDE for side in sides):
            raise AnnotationError(f"{where}: the picture {name} has no width and height in pixels")
        if number in found:
            raise AnnotationError(f"{where}: the pictures {found[number].path.name} and {name} have the id {number}")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise AnnotationError(f"{where}: {name} lies outside the folder of the images")
        found[number] = CocoImage(number, folder / name, (int(sides[0]), int(sides[1])))
    return found


def person_category(content: dict[str, Any], where: str) -> dict[str, Any]:
    """The category of people: the only one with points, else that named person, number 1, or the only one there is."""
    categories = content["categories"]
    if not categories:
        used = list(dict.fromkeys(_text(record.get("category_id", 1)) for record in content["annotations"]))
        return {"id": used[0] if len(used) == 1 else "1"}
    with_points = [category for category in categories if category.get("keypoints")]
    named = [category for category in categories if _text(category.get("name")) == "person"]
    first = [category for category in categories if _text(category.get("id")) == "1"]
    for found in (with_points, [one for one in named if one in with_points], named, first, categories):
        if len(found) == 1:
            if not isinstance(found[0].get("keypoints") or [], list):
                raise AnnotationError(f"{where}: the points of the category {_shown(found[0])} are not a list of names")
            return found[0]
    listed = ", ".join(map(_shown, categories[:10]))
    raise AnnotationError(f"{where}: which category is people? None is named person, or more than one ({listed})")


def _text(value: Any) -> str:
    """An id or a name as it is compared: 1, 1.0 and "1" are the same, and so are Person and person."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return str(whole).strip().lower()


def _shown(category: dict[str, Any]) -> str:
    return f"{str(category.get('id'))[:40]} ({str(category.get('name', 'person'))[:40]})"


def is_of(record: dict[str, Any], category: dict[str, Any]) -> bool:
    """Whether an annotation is of a category, which it may name by its id or its name, as a number or as text."""
    given = record.get("category_id")
    return given is None or _text(given) in (_text(category.get("id", 1)), _text(category.get("name", 1)))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _order_of_points(category: dict[str, Any], keypoint_set: KeypointSet, where: str) -> list[int] | None:
    """For each point of the set its place in the file, -1 where it has none; None where the file names no points."""
    names = [str(name) for name in category.get("keypoints") or ()]
    if not names or keypoint_set is WHOLEBODY_133:
        return None
    own, given = [_plain(name) for name in keypoint_set.names], [_plain(name) for name in names]
    if len(set(own)) < len(own) or len(set(given)) < len(given):
        own, given = list(keypoint_set.names), names  # told apart by nothing but case and signs
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise AnnotationError(f"{where}: its categories name the point {twice[0]} more than once")
    if not set(own) & set(given):
        raise AnnotationError(f"{where}: its categories name none of the points of {keypoint_set.name}")
    unknown = [name for name, plain in zip(names, given, strict=True) if plain not in own]
    if unknown:
        listed = ", ".join(name[:40] for name in unknown[:10])
        logger.warning("%s: %d points that %s lacks left out: %s", where, len(unknown), keypoint_set.name, listed)
    return [len(names), *(given.index(name) if name in given else -1 for name in own)]


def _person(
    record: dict[str, Any],
    place: int,
    image: CocoImage,
    keypoint_set: KeypointSet,
    order: list[int] | None,
    told: Counter[str],
) -> CocoPerson:
    x, y, width, height = _numbers(record["bbox"], 4).tolist()
    if not np.isfinite([x, y, width, height]).all():
        raise ValueError("a box that is not four numbers")
    area = record.get("area")
    if (not isinstance(area, int | float) or area <= 1) and width * height > 1:
        told[f"annotations without an area, {BOX_SHARE} of the box stands in"] += 1
        area = BOX_SHARE * max(width, 0) * max(height, 0)
    last = np.array([image.size[1] - 1, image.size[0] - 1] * 2)
    return CocoPerson(
        image=image,
        annotation_id=record.get("id", 0),
        place=place,
        box=np.clip([x, y, x + width, y + height], 0, last).astype(np.float32),
        keypoints=_keypoints(record, keypoint_set, order, told),
        keypoint_set=keypoint_set,
        area=float(area or 0),
        is_crowd=bool(record.get("iscrowd", 0)),
    )


def _numbers(values: Any, count: int) -> np.ndarray:
    """(count,) float64 of a list of numbers, null as NaN. Raises ValueError for anything else."""
    if not isinstance(values, list) or not all(value is None or type(value) in (int, float) for value in values):
        raise ValueError("numbers were expected")
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers where {count} were expected")
    return np.array(values, np.float64)


def _triples(values: Any, count: int, told: Counter[str]) -> np.ndarray:
    """(count, 3) float32 x, y, visibility; what is no point is unlabeled."""
    points = _numbers(values, 3 * count).reshape(-1, 3)
    none = ~np.isfinite(points).all(1) | (np.abs(points[:, :2]) > MAX_SIDE).any(1)
    if none.any():
        told["points that are null or far outside taken as unlabeled"] += int(none.sum())
        points[none] = 0
    points[:, 2] = np.ceil(points[:, 2].clip(0, 2))
    return points.astype(np.float32)


def _keypoints(
    record: dict[str, Any], keypoint_set: KeypointSet, order: list[int] | None, told: Counter[str]
) -> np.ndarray | None:
    if keypoint_set is WHOLEBODY_133 and "foot_kpts" in record:
        return np.concatenate([_wholebody_field(record, field, told) for field in WHOLEBODY_FIELDS])
    if isinstance(record.get(SAPIENS_FIELD), list) and len(record[SAPIENS_FIELD]) == 3 * len(keypoint_set):
        return _triples(record[SAPIENS_FIELD], len(keypoint_set), told)
    if not record.get("keypoints"):
        return None
    if order is None:
        points = record["keypoints"]
        if isinstance(points, list) and len(points) != 3 * len(keypoint_set):
            raise ValueError(f"{len(points) / 3:g} points; {keypoint_set.name} has {len(keypoint_set)}")
        return _triples(points, len(keypoint_set), told)
    named, *places = order
    points = np.concatenate([_triples(record["keypoints"], named, told), np.zeros((1, 3), np.float32)])
    return points[places]  # -1 is the last: unlabeled


def _wholebody_field(record: dict[str, Any], field: str, told: Counter[str]) -> np.ndarray:
    points = _triples(record[field], WHOLEBODY_FIELDS[field], told)
    if field in ("face_kpts", "lefthand_kpts", "righthand_kpts"):  # their third number is a confidence
        points[:, 2] = np.where(points[:, 2] > 0, 2, 0)
    return points


def _check_pixels(persons: Sequence[CocoPerson], where: str) -> None:
    """Raises AnnotationError where all boxes, or all points, lie between 0 and 1: shares of the picture, not pixels."""
    single = [person for person in persons if not person.is_crowd and min(person.image.size) > 2]
    boxes = [person.box for person in single if (person.box[2:] > person.box[:2]).all()]
    points = [person.keypoints[person.keypoints[:, 2] > 0, :2] for person in single if person.keypoints is not None]
    for what, values in (("boxes", boxes), ("points", [some for some in points if len(some)])):
        if values and 0 < max(float(some.max()) for some in values) <= 1:
            raise AnnotationError(f"{where}: its {what} lie between 0 and 1; COCO's are in pixels of the picture")


def _are_numbers(ids: Sequence[Any]) -> bool:
    return all(type(one) is int and 0 < one <= MAX_ID for one in ids) and len(set(ids)) == len(ids)


def coco_person(
    box: np.ndarray | Sequence[float],
    area: float,
    keypoints: np.ndarray | None = None,
    point_scores: np.ndarray | None = None,
    *,
    score: float | None = None,
    is_crowd: bool = False,
    digits: int | None = None,
) -> dict[str, Any]:
    """A person as a COCO annotation, without the ids of the annotation and its picture.

    box (4,) xyxy; keypoints (K, 3) x, y, visibility 0/1/2; point_scores (K,). digits: to which lengths are rounded.
    """

    def rounded(value: float) -> float:
        return value if digits is None else round(float(value), digits)

    x1, y1, x2, y2 = map(rounded, np.asarray(box).tolist())
    person: dict[str, Any] = {"category_id": 1, "bbox": [x1, y1, rounded(x2 - x1), rounded(y2 - y1)]}
    person |= {"area": area, "iscrowd": int(is_crowd)}
    if score is not None:
        person["score"] = round(float(score), 4)
    if keypoints is not None:
        rows = keypoints.tolist()
        person["keypoints"] = [value for x, y, seen in rows for value in (rounded(x), rounded(y), int(seen))]
        person["num_keypoints"] = sum(seen > 0 for _, _, seen in rows)
    if point_scores is not None:
        person["keypoint_scores"] = [round(float(value), 4) for value in point_scores]
    return person


def coco_category(keypoint_set: KeypointSet | None) -> dict[str, Any]:
    """COCO's category "person" with the names of the points, and the limbs counted from 1."""
    category: dict[str, Any] = {"id": 1, "name": "person", "supercategory": "person"}
    if keypoint_set is not None:
        category |= {"keypoints": list(keypoint_set.names), "skeleton": (keypoint_set.limbs + 1).tolist()}
    return category
