"""Annotated people for evaluation, image by image, from a COCO file or from synthetic shards."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.data.coco import CocoPerson, read_coco_persons
from opensapiens.data.reading import read_image
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardDataset
from opensapiens.labels.keypoint_maps import convert_keypoints
from opensapiens.labels.keypoints import COCO_17, KEYPOINT_SETS


class EvaluationError(ValueError):
    """A model or data that cannot be evaluated in this way."""


@dataclass(eq=False)
class AnnotatedPerson:
    """One annotated person; sample has the mask if there is one, and the labels for dense tasks if there are any.

    box: (4,) xyxy. keypoints: 17×3 (x, y, visibility) of COCO. area: pixels. difficulty: see difficulty().
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

    coco_image, coco_annotations: its entries in COCO's format, with crowds and unlabelled people.
    """

    image: np.ndarray
    persons: list[AnnotatedPerson]
    coco_image: dict[str, Any]
    coco_annotations: list[dict[str, Any]] = field(default_factory=list)


def difficulty(height_fraction: float, occluded_fraction: float, truncated: bool) -> float:
    """How hard a person is to read, from 0: the occluded share, plus a half if cut off by the border, plus up to a half
    for being small.

    height_fraction: height of the person over that of the image.
    """
    return occluded_fraction + 0.5 * truncated + 0.5 * (1 - min(max(height_fraction, 0.0), 1.0))


def hardest_third(difficulties: Sequence[float]) -> np.ndarray:
    """(N,) bool: the third of the people with the largest difficulty, at least one; of equals those that come first."""
    chosen = np.zeros(len(difficulties), bool)
    chosen[np.argsort(-np.asarray(difficulties), kind="stable")[: max(1, round(len(difficulties) / 3))]] = True
    return chosen


def read_shard_images(folder: str | Path, limit: int | None = None) -> Iterator[AnnotatedImage]:
    """The frames of a folder of shards, at most `limit`. Raises ShardError."""
    dataset = ShardDataset(folder)
    records = _person_records(dataset.paths)
    # A sample's key is "shard/frame#person"; the people of a frame follow each other.
    frames = groupby(
        (dataset[index] for index in range(len(dataset))), key=lambda sample: sample.key.rpartition("#")[0]
    )
    for number, (_, samples) in enumerate(islice(frames, limit)):
        people = list(samples)
        yield _shard_image(number + 1, people, [records[sample.key] for sample in people])


def read_coco_images(annotations: str | Path, images: str | Path, limit: int | None = None) -> Iterator[AnnotatedImage]:
    """The images of a COCO or COCO-WholeBody file that have people with keypoints, at most `limit`.

    Raises AnnotationError for a file that is no COCO file, ImageError for an image that cannot be read.
    """
    persons = read_coco_persons(annotations, images)
    content = json.loads(Path(annotations).read_text(encoding="utf-8"))
    raw = {record["id"]: record for record in content["annotations"]}
    image_records = {record["id"]: record for record in content["images"]}
    by_image: dict[int, list[CocoPerson]] = {}
    for person in persons:
        by_image.setdefault(person.image_id, []).append(person)
    labelled = {image_id: found for image_id, found in by_image.items() if any(map(_has_points, found))}
    for image_id, found in list(labelled.items())[:limit]:
        image = read_image(found[0].image_path)
        entries = [_coco_entry(raw[person.annotation_id]) for person in found]
        people = [_coco_person(person, raw[person.annotation_id], image) for person in found if _has_points(person)]
        yield AnnotatedImage(image, people, image_records[image_id], entries)


def _person_records(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """What the JSON of the frames says about each person, by the key of its sample."""
    records = {}
    for path in paths:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.name.endswith(".json") and (file := tar.extractfile(member)) is not None:
                    for number, person in enumerate(json.loads(file.read())["persons"]):
                        records[f"{path.name}/{member.name.removesuffix('.json')}#{number + 1}"] = person
    return records


def _shard_image(number: int, samples: list[Sample], records: list[dict[str, Any]]) -> AnnotatedImage:
    height, width = samples[0].image.shape[:2]
    persons = []
    for place, (sample, record) in enumerate(zip(samples, records, strict=True)):
        assert sample.keypoints is not None and sample.box is not None and sample.mask is not None
        source = KEYPOINT_SETS[sample.keypoint_set]
        points, visibility = convert_keypoints(sample.keypoints[:, :2], sample.keypoints[:, 2], source, COCO_17)
        hard = difficulty(
            record.get("height_fraction", (sample.box[3] - sample.box[1]) / height),
            record.get("occluded_fraction", 0.0),
            record.get("truncated", _touches_border(sample.box, height, width)),
        )
        keypoints = np.column_stack([points, visibility]).astype(np.float32)
        area = float(sample.mask.sum())
        persons.append(AnnotatedPerson(number * 1000 + place, sample, sample.box, keypoints, area, float(hard)))
    entries = [
        {
            "id": person.id, "image_id": number, "category_id": 1, "iscrowd": 0, "area": person.area,
            "bbox": [*map(float, person.box[:2]), *map(float, person.box[2:] - person.box[:2])],
            "keypoints": person.keypoints.ravel().astype(float).tolist(),
            "num_keypoints": int((person.keypoints[:, 2] > 0).sum()),
        }
        for person in persons
    ]  # fmt: skip
    return AnnotatedImage(samples[0].image, persons, {"id": number, "width": width, "height": height}, entries)


def _has_points(person: CocoPerson) -> bool:
    return not person.is_crowd and person.keypoints is not None and bool((person.keypoints[:, 2] > 0).any())


def _coco_entry(record: dict[str, Any]) -> dict[str, Any]:
    """What COCO's evaluation reads of an annotation."""
    entry = {"iscrowd": 0, "num_keypoints": 0, "keypoints": [0] * 51, **record}
    return {
        key: entry[key]
        for key in ("id", "image_id", "category_id", "iscrowd", "area", "bbox", "keypoints", "num_keypoints")
    }


def _coco_person(person: CocoPerson, record: dict[str, Any], image: np.ndarray) -> AnnotatedPerson:
    assert person.keypoints is not None
    height, width = image.shape[:2]
    sample = Sample(
        image, key=f"{person.image_path.name}#{person.annotation_id}", box=person.box, keypoint_set="coco_17"
    )
    sample.mask = _mask(record.get("segmentation"), height, width)
    # COCO does not say how much of a person is hidden; the share of its points that are not visible comes near.
    hidden = float((person.keypoints[:, 2] < 2).mean())
    hard = difficulty((person.box[3] - person.box[1]) / height, hidden, _touches_border(person.box, height, width))
    return AnnotatedPerson(person.annotation_id, sample, person.box, person.keypoints, person.area, float(hard))


def _mask(segmentation: Any, height: int, width: int) -> np.ndarray | None:
    """Polygons or run lengths of a COCO annotation as a mask, None where there are none."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        # Filled by cv2: within half a pixel of COCO's own rasteriser, and without an extra.
        canvas = np.zeros((height, width), np.uint8)
        for polygon in segmentation:
            corners = np.round((np.array(polygon, float).reshape(-1, 2) - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(canvas, [corners], 1, shift=4)
        return canvas.astype(bool)
    if isinstance(segmentation.get("counts"), list):
        runs = np.asarray(segmentation["counts"], int)
        values = np.arange(len(runs)) % 2 == 1
        return np.repeat(values, runs).reshape(width, height).T
    from faster_coco_eval.core import (
        mask as run_lengths,  # compressed run lengths: the one case that needs the extra "eval"
    )

    return run_lengths.decode(segmentation).astype(bool)


def _touches_border(box: np.ndarray, height: int, width: int) -> bool:
    return bool(box[0] <= 1 or box[1] <= 1 or box[2] >= width - 2 or box[3] >= height - 2)
