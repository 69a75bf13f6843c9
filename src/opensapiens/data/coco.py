"""COCO and COCO-WholeBody annotation files, and COCO result files."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.data.reading import read_image
from opensapiens.data.sample import Sample

# COCO-WholeBody keeps its 133 points in these fields, in this order
WHOLEBODY_FIELDS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}


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
    keypoint_set: str  # "coco_17" or "wholebody_133"
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


def read_coco_persons(annotations: Path | str, images: Path | str, keypoint_set: str = "coco_17") -> list[CocoPerson]:
    """The persons of a COCO ("coco_17") or COCO-WholeBody ("wholebody_133") annotation file, in its order.

    Boxes are clipped to the last pixel of the image as in the published training. Raises AnnotationError.
    """
    if keypoint_set not in ("coco_17", "wholebody_133"):
        raise ValueError(f"COCO files hold coco_17 or wholebody_133 keypoints, not {keypoint_set}")
    try:
        content = json.loads(Path(annotations).read_bytes())
        image_records = {record["id"]: record for record in content["images"]}
        annotation_records = content["annotations"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnnotationError(f"{annotations}: not a COCO annotation file ({error!r})") from error
    persons = []
    for record in annotation_records:
        try:
            if record.get("category_id", 1) == 1:  # 1 is "person"
                persons.append(_person(record, image_records[record["image_id"]], Path(images), keypoint_set))
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(f"{annotations}: annotation {record.get('id')} cannot be used ({error!r})") from error
    return persons


def _person(record: dict[str, Any], image: dict[str, Any], folder: Path, keypoint_set: str) -> CocoPerson:
    x, y, width, height = record["bbox"]
    last = np.array([image["width"] - 1, image["height"] - 1] * 2, np.float32)
    return CocoPerson(
        image_path=folder / image["file_name"],
        image_id=record["image_id"],
        annotation_id=record["id"],
        box=np.clip(np.array([x, y, x + width, y + height], np.float32), 0, last),
        keypoints=_keypoints(record, keypoint_set),
        keypoint_set=keypoint_set,
        area=float(record.get("area", width * height)),
        is_crowd=bool(record.get("iscrowd", 0)),
    )


def _keypoints(record: dict[str, Any], keypoint_set: str) -> np.ndarray | None:
    if "keypoints" not in record:
        return None
    if keypoint_set == "coco_17":
        return np.array(record["keypoints"], np.float32).reshape(17, 3)
    fields = []
    for field, count in WHOLEBODY_FIELDS.items():
        points = np.array(record[field], np.float32).reshape(count, 3)
        if field in ("face_kpts", "lefthand_kpts", "righthand_kpts"):  # their third number is a confidence
            points[:, 2] = np.where(points[:, 2] > 0, 2, 0)
        fields.append(points)
    return np.concatenate(fields)


def coco_result(
    image_id: int, keypoints: np.ndarray, scores: np.ndarray, score: float, keypoint_set: str = "coco_17"
) -> dict[str, Any]:
    """One person of a COCO keypoint result file.

    `keypoints` (K, 2) and `scores` (K,) of 17 or 133 points (any other count is written whole under "keypoints");
    `score` is the person's. COCO-WholeBody results are split into its five fields.
    """
    triples = np.concatenate([keypoints, scores[:, None]], axis=1).astype(np.float64).round(4)
    result: dict[str, Any] = {"image_id": int(image_id), "category_id": 1, "score": float(score)}
    start = 0
    for field, count in (WHOLEBODY_FIELDS if keypoint_set == "wholebody_133" else {"keypoints": len(triples)}).items():
        result[field] = triples[start : start + count].reshape(-1).tolist()
        start += count
    return result


def write_coco_keypoints(path: Path | str, results: Iterable[dict[str, Any]]) -> None:
    """Writes a COCO keypoint result file from the records of `coco_result`."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(list(results)) + "\n")
