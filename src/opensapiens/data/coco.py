"""COCO-style annotation files with the points of any keypoint set, and COCO result files.

A file may keep its points in one of three ways: COCO-WholeBody's five fields (of 133 points), the field
"goliath_wholebody_kpts" of the published 308-point files, or all under "keypoints", as COCO does. In the last way the
names in the file's `categories`, where there are any, say which point is which.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.data.reading import read_image
from opensapiens.data.sample import Sample
from opensapiens.labels.keypoints import COCO_17, WHOLEBODY_133, KeypointSet
from opensapiens.storage.files import write_json

# COCO-WholeBody keeps its 133 points in these fields, in this order
WHOLEBODY_FIELDS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
SAPIENS_FIELD = "goliath_wholebody_kpts"  # all 308 points, in the published 308-point annotation files


class AnnotationError(ValueError):
    """An annotation file that is not what it should be; the message names the file and the place."""


@dataclass(frozen=True, eq=False)
class CocoPerson:
    """One annotated person of a COCO file."""

    image_path: Path
    image_id: int
    annotation_id: int
    box: np.ndarray  # (4,) float32 xyxy, clipped to the image
    keypoints: np.ndarray | None  # (K, 3) float32 x, y, visibility 0/1/2; None when the file has none for this person
    keypoint_set: KeypointSet
    area: float  # pixels of the person's segmentation, for OKS
    is_crowd: bool

    def sample(self) -> Sample:
        """Reads the image. Raises ImageError."""
        return Sample(
            image=read_image(self.image_path),
            key=f"{self.image_path.name}#{self.annotation_id}",
            box=self.box,
            keypoints=self.keypoints,
            keypoint_set=self.keypoint_set,
        )


class CocoDataset:
    """Persons as a sequence of samples for training: those with a box and at least `min_keypoints` labelled points."""

    def __init__(self, persons: Iterable[CocoPerson], min_keypoints: int = 3) -> None:
        self.persons = [
            person
            for person in persons
            if not person.is_crowd
            and person.keypoints is not None
            and (person.keypoints[:, 2] > 0).sum() >= min_keypoints
            and (person.box[2:] - person.box[:2] >= 1).all()
        ]

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, index: int) -> Sample:
        return self.persons[index].sample()


def read_coco_persons(
    annotations: Path | str, images: Path | str, keypoint_set: KeypointSet = COCO_17
) -> list[CocoPerson]:
    """The persons of a COCO-style annotation file, in its order, with the points of `keypoint_set`.

    A file whose categories name its points may hold them in another order, or only some of them: the others are then
    unlabelled. Boxes are clipped to the last pixel of the image as in the published training. Raises AnnotationError.
    """
    try:
        content = json.loads(Path(annotations).read_bytes())
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{annotations}: not a COCO annotation file ({error!r})") from error
    return coco_persons(content, annotations, images, keypoint_set)


def coco_persons(
    content: Any, annotations: Path | str, images: Path | str, keypoint_set: KeypointSet = COCO_17
) -> list[CocoPerson]:
    """`read_coco_persons` of a content that has been read; `annotations` names its origin in errors."""
    try:
        image_records = {record["id"]: record for record in content["images"]}
        annotation_records = content["annotations"]
        names = _point_names(content.get("categories", ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(f"{annotations}: not a COCO annotation file ({error!r})") from error
    if names and keypoint_set is not WHOLEBODY_133 and not set(names) & set(keypoint_set.names):
        raise AnnotationError(f"{annotations}: its categories name none of the points of {keypoint_set.name}")
    persons = []
    for record in annotation_records:
        try:
            if record.get("category_id", 1) == 1:  # 1 is "person"
                persons.append(_person(record, image_records[record["image_id"]], Path(images), keypoint_set, names))
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(f"{annotations}: annotation {record.get('id')} cannot be used ({error!r})") from error
    return persons


def _point_names(categories: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """The names of the points of category 1, empty where the file has none."""
    person = next((category for category in categories if category.get("id", 1) == 1), {})
    return tuple(map(str, person.get("keypoints", ())))


def _person(
    record: dict[str, Any], image: dict[str, Any], folder: Path, keypoint_set: KeypointSet, names: tuple[str, ...]
) -> CocoPerson:
    x, y, width, height = record["bbox"]
    name = Path(image["file_name"])
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{name} lies outside the folder of the images")
    last = np.array([image["width"] - 1, image["height"] - 1] * 2, np.float32)
    return CocoPerson(
        image_path=folder / name,
        image_id=record["image_id"],
        annotation_id=record["id"],
        box=np.clip(np.array([x, y, x + width, y + height], np.float32), 0, last),
        keypoints=_keypoints(record, keypoint_set, names),
        keypoint_set=keypoint_set,
        area=float(record.get("area", width * height)),
        is_crowd=bool(record.get("iscrowd", 0)),
    )


def _keypoints(record: dict[str, Any], keypoint_set: KeypointSet, names: tuple[str, ...]) -> np.ndarray | None:
    if keypoint_set is WHOLEBODY_133 and "foot_kpts" in record:
        return np.concatenate([_wholebody_field(record, field) for field in WHOLEBODY_FIELDS])
    if SAPIENS_FIELD in record and len(record[SAPIENS_FIELD]) == 3 * len(keypoint_set):
        return np.array(record[SAPIENS_FIELD], np.float32).reshape(-1, 3)
    if "keypoints" not in record:
        return None
    points = np.array(record["keypoints"], np.float32).reshape(-1, 3)
    if names and names != keypoint_set.names:
        return _by_name(points, names, keypoint_set)
    if len(points) != len(keypoint_set):
        raise ValueError(f"{len(points)} points; {keypoint_set.name} has {len(keypoint_set)}")
    return points


def _wholebody_field(record: dict[str, Any], field: str) -> np.ndarray:
    points = np.array(record[field], np.float32).reshape(WHOLEBODY_FIELDS[field], 3)
    if field in ("face_kpts", "lefthand_kpts", "righthand_kpts"):  # their third number is a confidence
        points[:, 2] = np.where(points[:, 2] > 0, 2, 0)
    return points


def _by_name(points: np.ndarray, names: tuple[str, ...], keypoint_set: KeypointSet) -> np.ndarray:
    if len(points) != len(names):
        raise ValueError(f"{len(points)} points, but the categories name {len(names)}")
    of_name = dict(zip(names, points, strict=True))
    unlabelled = np.zeros(3, np.float32)
    return np.stack([of_name.get(name, unlabelled) for name in keypoint_set.names])


def coco_result(
    image_id: int, keypoints: np.ndarray, scores: np.ndarray, score: float, keypoint_set: KeypointSet = COCO_17
) -> dict[str, Any]:
    """One person of a COCO keypoint result file.

    `keypoints` (K, 2) and `scores` (K,) of the set; `score` is the person's. COCO-WholeBody results are split into its
    five fields, those of other sets are written whole under "keypoints".
    """
    triples = np.concatenate([keypoints, scores[:, None]], axis=1).astype(np.float64).round(4)
    result: dict[str, Any] = {"image_id": int(image_id), "category_id": 1, "score": float(score)}
    start = 0
    for field, count in (WHOLEBODY_FIELDS if keypoint_set is WHOLEBODY_133 else {"keypoints": len(triples)}).items():
        result[field] = triples[start : start + count].reshape(-1).tolist()
        start += count
    return result


def write_coco_keypoints(path: Path | str, results: Iterable[dict[str, Any]]) -> None:
    """Writes a COCO keypoint result file from the records of `coco_result`."""
    write_json(path, list(results), indent=None)
