"""COCO-style annotation files for any keypoint set.

The points are in COCO-WholeBody's five fields (133 points), in "goliath_wholebody_kpts" (the published 308-point files)
or in "keypoints", as in COCO. For the last, the file's `categories` may name the points and so define their order.
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

WHOLEBODY_FIELDS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
SAPIENS_FIELD = "goliath_wholebody_kpts"
MAX_PEOPLE = 1000  # annotations per image
MAX_SIDE = 1_000_000  # pixels; points farther out are treated as unlabeled
MAX_ID = 2**31 - 1
BOX_SHARE = 0.53  # of a box that its person fills, if the file has no areas; xtcocotools uses the same for such sets

logger = logging.getLogger(__name__)


class AnnotationError(ValueError):
    """An invalid annotation file; the message names the file and the place."""


@dataclass(frozen=True)
class CocoImage:
    """One image of a COCO file. id: as in the file. size: (height, width) that its labels were drawn on."""

    id: int | str
    path: Path
    size: tuple[int, int]

    def read(self) -> np.ndarray:
        """The image (H, W, 3) uint8. Raises ImageError if it cannot be read or has another size."""
        image = read_image(self.path)
        height, width = image.shape[:2]
        if (height, width) != self.size:
            rotated = (width, height) == self.size
            reason = "it was labeled without its EXIF rotation" if rotated else "it was resized or replaced"
            raise ImageError(
                f"{self.path}: {width}×{height} pixels (after EXIF rotation), but {self.size[1]}×{self.size[0]} in its "
                f"annotations: {reason}"
            )
        return image


@dataclass(frozen=True, eq=False)
class CocoPerson:
    """One annotated person of a COCO file."""

    image: CocoImage
    annotation_id: int
    place: int  # index in the file's list of annotations
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
    """The people with a box and at least `min_keypoints` labeled points, as training samples. Logs how many are not."""

    def __init__(self, persons: Iterable[CocoPerson], min_keypoints: int = 3) -> None:
        self.persons: list[CocoPerson] = []
        left_out: Counter[str] = Counter()
        for person in persons:
            if person.is_crowd:
                left_out["crowds"] += 1
            elif person.keypoints is None or (person.keypoints[:, 2] > 0).sum() < min_keypoints:
                left_out[f"with fewer than {min_keypoints} labeled points"] += 1
            elif (person.box[2:] - person.box[:2] < 1).any():
                left_out["with boxes smaller than a pixel"] += 1
            else:
                self.persons.append(person)
        if left_out:
            reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
            logger.warning("training on %d people; left out: %s", len(self), reasons)

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, index: int) -> Sample:
        return self.persons[index].sample()


def read_coco_persons(
    annotations: Path | str, images: Path | str, keypoint_set: KeypointSet = COCO_17
) -> list[CocoPerson]:
    """The people of a COCO-style annotation file, in its order, with the points of `keypoint_set`.

    These are the annotations of `person_category`. If the categories name the points, the file may hold them in any
    order or only some of them (the rest are unlabeled); names are compared without case, spaces and underscores. Boxes
    are clipped to the last pixel of the image, as in the published training. Everything skipped or substituted is
    logged with counts. Raises AnnotationError.
    """
    return coco_persons(read_annotations(annotations), annotations, images, keypoint_set)


def read_annotations(path: Path | str) -> dict[str, Any]:
    """A COCO file as JSON: "images", "annotations" and "categories" are lists of objects. Raises AnnotationError."""
    try:
        content = read_json(path, limit=MAX_ANNOTATION_BYTES)
    except FileError as error:
        raise AnnotationError(str(error)) from error
    return checked_annotations(content, path)


def checked_annotations(content: Any, path: Path | str) -> dict[str, Any]:
    """`read_annotations` of the JSON content of the file `path`."""
    if isinstance(content, dict):
        content.setdefault("categories", [])
        lists = [content.get(key) for key in ("images", "annotations", "categories")]
        if all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in lists):
            return content
    raise AnnotationError(f'{path}: not a COCO annotation file; it needs "images" and "annotations", lists of objects')


def coco_persons(
    content: dict[str, Any], annotations: Path | str, images: Path | str, keypoint_set: KeypointSet = COCO_17
) -> list[CocoPerson]:
    """`read_coco_persons` of the content from `read_annotations`; `annotations` is its source, for errors."""
    source = str(annotations)
    category = person_category(content, source)
    order = _point_order(category, keypoint_set, source)
    coco_image = coco_images(content, source, Path(images))
    notes: Counter[str] = Counter()
    persons: list[CocoPerson] = []
    people_in_image: Counter[int | str] = Counter()
    for place, record in enumerate(content["annotations"]):
        if not is_of(record, category):
            notes[f"annotations of other categories than {_category_text(category)} left out"] += 1
            continue
        try:
            image_id = record["image_id"]
            if image_id not in coco_image:
                raise ValueError(f"no image has the id {image_id!r}")
            people_in_image[image_id] += 1
            if people_in_image[image_id] > MAX_PEOPLE:
                raise ValueError(f"more than {MAX_PEOPLE} people in one image")
            persons.append(_person(record, place, coco_image[image_id], keypoint_set, order, notes))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise AnnotationError(f"{source}: annotation {record.get('id')} cannot be used ({error!r})") from error
    _check_units(persons, source)
    ids: list[Any] = [person.annotation_id for person in persons]
    if len(set(map(str, ids))) < len(ids) or not all(type(number) is int and 0 < number <= MAX_ID for number in ids):
        notes["annotations renumbered, since ids repeat or are not positive integers"] = len(persons)
        persons = [replace(person, annotation_id=number) for number, person in enumerate(persons, start=1)]
    if notes:
        logger.warning("%s: %s", source, "; ".join(f"{count} {note}" for note, count in notes.items()))
    return persons


def coco_images(content: dict[str, Any], source: str, folder: Path, sized: bool = True) -> dict[int | str, CocoImage]:
    """The images of a COCO file by id. sized: each must state its size; otherwise all get (1, 1). Raises
    AnnotationError."""
    images: dict[int | str, CocoImage] = {}
    for record in content["images"]:
        image_id, name = record.get("id"), record.get("file_name")
        sides = (record.get("height"), record.get("width")) if sized else (1, 1)
        if not isinstance(image_id, int | str) or not isinstance(name, str) or not name or "\0" in name:
            raise AnnotationError(f"{source}: an image has no id or no file name ({str(image_id)[:40]})")
        if not all(isinstance(side, int | float) and 1 <= side <= MAX_SIDE for side in sides):
            raise AnnotationError(f"{source}: the image {name} has no width and height in pixels")
        if image_id in images:
            raise AnnotationError(f"{source}: the images {images[image_id].path.name} and {name} share id {image_id}")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise AnnotationError(f"{source}: {name} is outside the folder of the images")
        images[image_id] = CocoImage(image_id, folder / name, (int(sides[0]), int(sides[1])))
    return images


def person_category(content: dict[str, Any], source: str) -> dict[str, Any]:
    """The category of people: the only one with points, else the one named "person", with id 1, or the only one."""
    categories = content["categories"]
    if not categories:
        used = list(dict.fromkeys(_comparable(record.get("category_id", 1)) for record in content["annotations"]))
        return {"id": used[0] if len(used) == 1 else "1"}
    with_points = [category for category in categories if category.get("keypoints")]
    named = [category for category in categories if _comparable(category.get("name")) == "person"]
    first = [category for category in categories if _comparable(category.get("id")) == "1"]
    named_with_points = [category for category in named if category in with_points]
    for candidates in (with_points, named_with_points, named, first, categories):
        if len(candidates) == 1:
            category = candidates[0]
            if not isinstance(category.get("keypoints") or [], list):
                raise AnnotationError(f"{source}: the keypoints of {_category_text(category)} are not a list of names")
            return category
    listed = ", ".join(map(_category_text, categories[:10]))
    raise AnnotationError(f"{source}: which category is people? Name exactly one of them person ({listed})")


def _comparable(value: Any) -> str:
    """An id or name for comparison: 1, 1.0 and "1" are equal, and so are Person and person."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return str(whole).strip().lower()


def _category_text(category: dict[str, Any]) -> str:
    return f"{str(category.get('id'))[:40]} ({str(category.get('name', 'person'))[:40]})"


def is_of(record: dict[str, Any], category: dict[str, Any]) -> bool:
    """Whether an annotation belongs to a category, given by id or name, as a number or text."""
    given = record.get("category_id")
    return given is None or _comparable(given) in [_comparable(category.get(key, 1)) for key in ("id", "name")]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _point_order(category: dict[str, Any], keypoint_set: KeypointSet, source: str) -> list[int] | None:
    """The number of points in the file, then the place of each point of the set (-1 = absent); None if unnamed."""
    names = [str(name) for name in category.get("keypoints") or ()]
    if not names or keypoint_set is WHOLEBODY_133:
        return None
    wanted, given = [_plain(name) for name in keypoint_set.names], [_plain(name) for name in names]
    if len(set(wanted)) < len(wanted) or len(set(given)) < len(given):
        wanted, given = list(keypoint_set.names), names  # only case and punctuation tell them apart
    repeated = sorted({name for name in given if given.count(name) > 1})
    if repeated:
        raise AnnotationError(f"{source}: its categories name the point {repeated[0]} more than once")
    if not set(wanted) & set(given):
        raise AnnotationError(f"{source}: its categories name none of the points of {keypoint_set.name}")
    unknown = [name for name, plain in zip(names, given, strict=True) if plain not in wanted]
    if unknown:
        listed = ", ".join(name[:40] for name in unknown[:10])
        logger.warning("%s: left out %d points that %s lacks: %s", source, len(unknown), keypoint_set.name, listed)
    return [len(names), *(given.index(name) if name in given else -1 for name in wanted)]


def _person(
    record: dict[str, Any],
    place: int,
    image: CocoImage,
    keypoint_set: KeypointSet,
    order: list[int] | None,
    notes: Counter[str],
) -> CocoPerson:
    x, y, width, height = _numbers(record["bbox"], 4).tolist()
    if not np.isfinite([x, y, width, height]).all():
        raise ValueError("the box is not four numbers")
    area = record.get("area")
    if (not isinstance(area, int | float) or area <= 1) and width * height > 1:
        notes[f"annotations without an area, {BOX_SHARE} of the box used instead"] += 1
        area = BOX_SHARE * max(width, 0) * max(height, 0)
    last = np.array([image.size[1] - 1, image.size[0] - 1] * 2)
    return CocoPerson(
        image=image,
        annotation_id=record.get("id", 0),
        place=place,
        box=np.clip([x, y, x + width, y + height], 0, last).astype(np.float32),
        keypoints=_keypoints(record, keypoint_set, order, notes),
        keypoint_set=keypoint_set,
        area=float(area or 0),
        is_crowd=bool(record.get("iscrowd", 0)),
    )


def _numbers(values: Any, count: int) -> np.ndarray:
    """(count,) float64 of a list of numbers, null as NaN. Raises ValueError for anything else."""
    if not isinstance(values, list) or not all(value is None or type(value) in (int, float) for value in values):
        raise ValueError("expected a list of numbers")
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers, expected {count}")
    return np.array(values, np.float64)


def _triples(values: Any, count: int, notes: Counter[str]) -> np.ndarray:
    """(count, 3) float32 x, y, visibility; invalid points are unlabeled."""
    points = _numbers(values, 3 * count).reshape(-1, 3)
    invalid = ~np.isfinite(points).all(1) | (np.abs(points[:, :2]) > MAX_SIDE).any(1)
    if invalid.any():
        notes["points that are null or far outside treated as unlabeled"] += int(invalid.sum())
        points[invalid] = 0
    points[:, 2] = np.ceil(points[:, 2].clip(0, 2))
    return points.astype(np.float32)


def _keypoints(
    record: dict[str, Any], keypoint_set: KeypointSet, order: list[int] | None, notes: Counter[str]
) -> np.ndarray | None:
    if keypoint_set is WHOLEBODY_133 and "foot_kpts" in record:
        fields = {field: _triples(record[field], count, notes) for field, count in WHOLEBODY_FIELDS.items()}
        for field in ("face_kpts", "lefthand_kpts", "righthand_kpts"):  # their third number is a confidence
            fields[field][:, 2] = np.where(fields[field][:, 2] > 0, 2, 0)
        return np.concatenate(list(fields.values()))
    if isinstance(record.get(SAPIENS_FIELD), list) and len(record[SAPIENS_FIELD]) == 3 * len(keypoint_set):
        return _triples(record[SAPIENS_FIELD], len(keypoint_set), notes)
    if not record.get("keypoints"):
        return None
    if order is None:
        points = record["keypoints"]
        if isinstance(points, list) and len(points) != 3 * len(keypoint_set):
            raise ValueError(f"{len(points) / 3:g} points; {keypoint_set.name} has {len(keypoint_set)}")
        return _triples(points, len(keypoint_set), notes)
    count, *places = order
    points = np.concatenate([_triples(record["keypoints"], count, notes), np.zeros((1, 3), np.float32)])
    return points[places]  # -1 takes the last row: unlabeled


def _check_units(persons: Sequence[CocoPerson], source: str) -> None:
    """Raises AnnotationError if all boxes, or all points, are between 0 and 1: fractions of the image, not pixels."""
    single = [person for person in persons if not person.is_crowd and min(person.image.size) > 2]
    boxes = [person.box for person in single if (person.box[2:] > person.box[:2]).all()]
    points = [person.keypoints[person.keypoints[:, 2] > 0, :2] for person in single if person.keypoints is not None]
    for what, arrays in (("boxes", boxes), ("points", [labeled for labeled in points if len(labeled)])):
        if arrays and 0 < max(float(array.max()) for array in arrays) <= 1:
            raise AnnotationError(f"{source}: its {what} are between 0 and 1, but COCO's are in pixels")


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
    """A person as a COCO annotation, without annotation and image ids.

    box (4,) xyxy; keypoints (K, 3) x, y, visibility 0/1/2; point_scores (K,). digits: decimals to round lengths to.
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
    """COCO's category "person" with the point names, and the limbs as pairs of points counted from 1."""
    category: dict[str, Any] = {"id": 1, "name": "person", "supercategory": "person"}
    if keypoint_set is not None:
        category |= {"keypoints": list(keypoint_set.names), "skeleton": (keypoint_set.limbs + 1).tolist()}
    return category
