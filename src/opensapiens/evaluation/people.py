"""Annotated people for evaluation, image by image, from a COCO file or from synthetic shards."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from opensapiens.data.coco import (
    MAX_PEOPLE,
    MAX_SIDE,
    SAPIENS_FIELD,
    CocoPerson,
    coco_images,
    coco_person,
    coco_persons,
    read_annotations,
)
from opensapiens.data.folders import FolderDataset
from opensapiens.data.label_kinds import MASK
from opensapiens.data.sample import Sample
from opensapiens.data.segmentations import mask_in
from opensapiens.data.shards import ShardDataset, ShardError
from opensapiens.evaluation.protocols import POSE_PROTOCOLS, PoseProtocol
from opensapiens.geometry.boxes import image_box
from opensapiens.labels.keypoint_maps import convert_keypoints
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308, KeypointSet
from opensapiens.storage.json_files import MAX_ANNOTATION_BYTES, read_json
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.text_files import FileError

MAX_SCORE = 1e6  # of a detection, probability or not

logger = logging.getLogger(__name__)


class EvaluationError(ValueError):
    """A model or data that cannot be evaluated in this way."""


@dataclass(eq=False)
class AnnotatedPerson:
    """One annotated person; sample has the mask if there is one, and the labels for dense tasks if there are any.

    box: (4,) xyxy. keypoints: K×3 (x, y, visibility) of the set that is scored; (0, 3) where points are not. area:
    pixels. difficulty: see difficulty().
    """

    id: int
    sample: Sample
    box: np.ndarray
    keypoints: np.ndarray
    area: float
    difficulty: float


@dataclass(eq=False)
class AnnotatedImage:
    """One image with its people.

    coco_image, coco_annotations: its entries in COCO's format, with crowds and unlabeled people; their keypoints are
    those of the set that is scored.
    """

    image: np.ndarray
    persons: list[AnnotatedPerson]
    coco_image: dict[str, Any]
    coco_annotations: list[dict[str, Any]] = field(default_factory=list)


def difficulty(height_fraction: float, occluded_fraction: float, truncated: bool) -> float:
    """How hard a person is to predict, from 0: the occluded share, plus a half if cut off by the border, plus up to a
    half for being small.

    height_fraction: height of the person over that of the image.
    """
    return occluded_fraction + 0.5 * truncated + 0.5 * (1 - min(max(height_fraction, 0.0), 1.0))


def hardest_third(difficulties: Sequence[float]) -> np.ndarray:
    """(N,) bool: the third of the people with the largest difficulty, at least one; of equals the first ones."""
    chosen = np.zeros(len(difficulties), bool)
    chosen[np.argsort(-np.asarray(difficulties), kind="stable")[: max(1, round(len(difficulties) / 3))]] = True
    return chosen


def read_shard_images(
    folder: str | Path,
    limit: int | None = None,
    keypoint_set: KeypointSet = COCO_17,
    failures: list[str] | None = None,
) -> Iterator[AnnotatedImage]:
    """The frames of a folder of shards, at most `limit`, their points brought to a set.

    failures: a list to which a sentence is added for each frame that cannot be read; without it they raise ShardError.
    """
    # A sample's key is "shard/frame#person"; the people of a frame follow each other.
    frames = groupby(_shard_people(ShardDataset(folder), failures), key=lambda person: person[0].key.rpartition("#")[0])
    for number, (_, people_of_frame) in enumerate(islice(frames, limit)):
        samples, records = zip(*people_of_frame, strict=True)
        yield _shard_image(number + 1, list(samples), list(records), keypoint_set)


def _shard_people(dataset: ShardDataset, failures: list[str] | None) -> Iterator[tuple[Sample, dict[str, Any]]]:
    for index in range(len(dataset)):
        try:
            yield dataset[index], dataset.person_record(index)
        except ShardError as error:
            if failures is None:
                raise
            if str(error) not in failures:  # of another person of the frame
                failures.append(str(error))


def read_coco_images(
    annotations: str | Path,
    images: str | Path,
    limit: int | None = None,
    protocol: PoseProtocol = POSE_PROTOCOLS["coco"],
    everyone: bool = False,
    failures: list[str] | None = None,
) -> Iterator[AnnotatedImage]:
    """The images of a COCO-style file that have people with points of the protocol, or all of them; at most `limit`.

    People with points whose boxes have no area in the picture are left out, and counted in the log. failures: a list
    to which a sentence is added for each image that cannot be read; without it they raise ImageError. Raises
    AnnotationError for a file that is no COCO file.
    """
    content = read_annotations(annotations)
    persons = coco_persons(content, annotations, images, _source(protocol, content))
    by_image: dict[int | str, list[CocoPerson]] = {}
    for person in persons:
        if (person.box[2:] > person.box[:2]).all() or not _has_points(person):
            by_image.setdefault(person.image.id, []).append(_scored(person, protocol.keypoint_set))
    left_out = len(persons) - sum(map(len, by_image.values()))
    if left_out:
        logger.warning("%s: left out %d people whose boxes have no area in the picture", annotations, left_out)
    pictures = coco_images(content, str(annotations), Path(images))
    # In the order of the annotations, those without any last
    order = [*by_image, *(image_id for image_id in pictures if image_id not in by_image)]
    wanted = [image_id for image_id in order if everyone or any(map(_has_points, by_image.get(image_id, ())))]
    for image_id in wanted[:limit]:
        try:
            image = pictures[image_id].read()
        except ImageError as error:
            if failures is None:
                raise
            failures.append(str(error))
            continue
        annotated = [(person, content["annotations"][person.place]) for person in by_image.get(image_id, [])]
        entries = [_coco_entry(person, record, len(protocol.keypoint_set)) for person, record in annotated]
        people = [_coco_person(person, record, image) for person, record in annotated if _has_points(person)]
        yield AnnotatedImage(image, people, {"id": image_id}, entries)


def read_folder_images(
    dataset: FolderDataset, chosen: Iterable[int], whole_image: bool = False, failures: list[str] | None = None
) -> Iterator[AnnotatedImage]:
    """Pictures with label maps, each with one person: the labeled pixels. Pictures without any are skipped.

    whole_image: the person's box is the picture. failures: a list to which a sentence is added for each picture that
    cannot be read; without it they raise ImageError.
    """
    for number in chosen:
        try:
            sample = dataset[number]
        except ImageError as error:
            if failures is None:
                raise
            failures.append(str(error))
            continue
        if sample.box is None:
            continue
        box = image_box(sample.image.shape[:2]) if whole_image else sample.box
        person = AnnotatedPerson(number + 1, sample, box, np.empty((0, 3), np.float32), float("nan"), 0.0)
        yield AnnotatedImage(sample.image, [person], {"id": number + 1, "file_name": sample.key})


def read_person_boxes(path: str | Path) -> dict[int | str, tuple[np.ndarray, np.ndarray]]:
    """A detector's result file in COCO's format -> by image id the boxes (N, 4) xyxy and scores (N,) of people.

    A list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}; only category 1 is taken. Raises
    EvaluationError for anything else, and for more than MAX_PEOPLE in one picture.
    """
    rows_of_image: dict[int | str, list[list[float]]] = {}
    others = 0
    try:
        for entry in read_json(path, limit=MAX_ANNOTATION_BYTES):
            if entry.get("category_id", 1) != 1:
                others += 1
                continue
            x, y, width, height, score = map(float, (*entry["bbox"], entry["score"]))
            if max(abs(x), abs(y), width, height) > MAX_SIDE:
                raise ValueError(f"the box {entry['bbox']} is not in pixels")
            if abs(score) > MAX_SCORE:
                raise ValueError(f"{score} is not a score")
            if width > 0 and height > 0:
                rows = rows_of_image.setdefault(entry["image_id"], [])
                rows.append([x, y, x + width, y + height, score])
                if len(rows) > MAX_PEOPLE:
                    raise ValueError(f"more than {MAX_PEOPLE} people in the picture {entry['image_id']}")
    except FileError as error:
        raise EvaluationError(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path}: not a file of COCO detections of people ({error!r})") from error
    if others:
        logger.warning("%s: left out %d detections of categories other than 1 (person)", path, others)
    arrays = {image_id: np.array(rows, np.float32) for image_id, rows in rows_of_image.items()}
    return {image_id: (array[:, :4], array[:, 4]) for image_id, array in arrays.items()}


def _source(protocol: PoseProtocol, content: dict[str, Any]) -> KeypointSet:
    """The set that a file is labeled with, of those that a protocol knows."""
    if SAPIENS_308 in protocol.sources[1:]:
        for record in content["annotations"]:
            points = record.get("keypoints")
            if SAPIENS_FIELD in record or (isinstance(points, list) and len(points) == 3 * len(SAPIENS_308)):
                return SAPIENS_308
    return protocol.sources[0]


def _scored(person: CocoPerson, keypoint_set: KeypointSet) -> CocoPerson:
    """The person with the points of the set that is scored."""
    if person.keypoints is None or person.keypoint_set is keypoint_set:
        return person
    return replace(person, keypoints=_converted(person.keypoints, person.keypoint_set, keypoint_set))


def _converted(keypoints: np.ndarray, source: KeypointSet, target: KeypointSet) -> np.ndarray:
    points, visibility = convert_keypoints(keypoints[:, :2], keypoints[:, 2], source, target)
    return np.column_stack([points, visibility]).astype(np.float32)


def _shard_image(
    number: int, samples: list[Sample], records: list[dict[str, Any]], keypoint_set: KeypointSet
) -> AnnotatedImage:
    height, width = samples[0].image.shape[:2]
    persons = []
    for place, (sample, record) in enumerate(zip(samples, records, strict=True)):
        assert sample.keypoints is not None and sample.box is not None and sample.mask is not None
        keypoints = _converted(sample.keypoints, sample.keypoint_set, keypoint_set)
        hard = difficulty(
            record.get("height_fraction", (sample.box[3] - sample.box[1]) / height),
            record.get("occluded_fraction", 0.0),
            record.get("truncated", _touches_border(sample.box, height, width)),
        )
        area = float(sample.mask.sum())
        persons.append(AnnotatedPerson(number * 1000 + place, sample, sample.box, keypoints, area, float(hard)))
    entries = [
        {"id": person.id, "image_id": number, **coco_person(person.box, person.area, person.keypoints)}
        for person in persons
    ]
    return AnnotatedImage(samples[0].image, persons, {"id": number, "width": width, "height": height}, entries)


def _has_points(person: CocoPerson) -> bool:
    return not person.is_crowd and person.keypoints is not None and bool((person.keypoints[:, 2] > 0).any())


def _coco_entry(person: CocoPerson, record: dict[str, Any], points: int) -> dict[str, Any]:
    """What COCO's evaluation reads of an annotation."""
    keypoints = np.zeros((points, 3)) if person.keypoints is None else person.keypoints
    entry = coco_person(person.box, person.area, keypoints, is_crowd=person.is_crowd)
    return {"id": person.annotation_id, "image_id": person.image.id, **entry, "bbox": record["bbox"]}


def _coco_person(person: CocoPerson, record: dict[str, Any], image: np.ndarray) -> AnnotatedPerson:
    assert person.keypoints is not None
    height, width = image.shape[:2]
    sample = Sample(image, key=f"{person.image.path.name}#{person.annotation_id}", box=person.box)
    try:
        mask = mask_in(record, (height, width))
        sample.labels |= {} if mask is None else {MASK: mask}
    except ValueError as error:
        logger.warning("%s: its mask is not scored (%s)", sample.key, error)
    # COCO does not say how much of a person is hidden; the share of its points that are not visible comes near.
    hidden = float((person.keypoints[:, 2] < 2).mean())
    hard = difficulty((person.box[3] - person.box[1]) / height, hidden, _touches_border(person.box, height, width))
    return AnnotatedPerson(person.annotation_id, sample, person.box, person.keypoints, person.area, float(hard))


def _touches_border(box: np.ndarray, height: int, width: int) -> bool:
    return bool(box[0] <= 1 or box[1] <= 1 or box[2] >= width - 2 or box[3] >= height - 2)
