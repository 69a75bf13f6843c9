"""One model, one task, one data set: a flat dictionary of figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from opensapiens.data.folders import FolderDataset
from opensapiens.data.label_kinds import MASK, LabelKind
from opensapiens.data.sample import Sample
from opensapiens.data.scenes import FrameDataset
from opensapiens.evaluation.dense import evaluate_dense
from opensapiens.evaluation.detection import evaluate_detection, read_coco_people
from opensapiens.evaluation.frozen import Method, evaluate_frozen
from opensapiens.evaluation.options import EvaluateOptions
from opensapiens.evaluation.people import (
    AnnotatedImage,
    EvaluationError,
    read_coco_images,
    read_folder_images,
    read_person_boxes,
    read_shard_images,
)
from opensapiens.evaluation.pose import check_points, evaluate_pose
from opensapiens.evaluation.protocols import DENSE_PROTOCOLS, POSE_PROTOCOLS, DenseProtocol, PoseProtocol, own_protocol
from opensapiens.inference.pipeline import People
from opensapiens.labels.keypoints import KEYPOINT_SETS
from opensapiens.labels.own_labels import find_part_set
from opensapiens.labels.parts import SAPIENS_28
from opensapiens.storage.files import write_text
from opensapiens.storage.progress import progress
from opensapiens.tasks import TASKS
from opensapiens.tasks.detection import DetectionTask
from opensapiens.tasks.pose import PoseTask

Protocol = TypeVar("Protocol", DenseProtocol, PoseProtocol)
NO_PROTOCOL = DenseProtocol("", whole_image=False)  # every picture, the person's box
MEASURED = (*TASKS, *get_args(Method))
"""What `evaluate` can measure."""


def evaluate(
    task: str,
    people: People,
    images: str | Path,
    annotations: str | Path | None = None,
    options: EvaluateOptions = EvaluateOptions(),
    failures: list[str] | None = None,
) -> dict[str, Any]:
    """The figures of evaluate_pose() or evaluate_dense(), and what they were measured on; for "probe" and "knn" those
    of evaluate_frozen().

    images: a folder of synthetic shards (*.tar), or of pictures; then annotations is their COCO-style file for pose,
    and the folder of their label maps for the other tasks. failures: a list to which a sentence is added for each
    picture that cannot be read and is left out; without it the first of them raises ImageError. A figure that does not
    exist is None. Raises EvaluationError, AnnotationError, ShardError, TarError, ImageError.
    """
    if task in get_args(Method):
        if options.train is None:
            raise EvaluationError(f"{task} learns from labeled data: name it with --train")
        method = cast("Method", task)
        return evaluate_frozen(method, people.models[0], options.train, images, options.limit, failures=failures)
    folder = Path(images)
    if not folder.is_dir():
        raise EvaluationError(f"no folder {folder}")
    if task == DetectionTask.name:
        return _detection(people, folder, annotations, options, failures)
    if task not in people.model_of_task:
        raise EvaluationError(f"this model has no {task} head")
    if task != PoseTask.name and (options.detect or options.boxes is not None):
        raise EvaluationError("detected boxes are evaluated for pose only")
    records: list[dict[str, Any]] = []
    if task == PoseTask.name:
        figures = _pose(people, folder, annotations, options, records, failures)
    else:
        figures = _dense(task, people, folder, annotations, options, records, failures)
    _write_records(options.per_person, records)
    model = people.model_of_task[task]
    about = {
        "task": task,
        "model": model.description.name,
        "flip": model.flip_test if options.flip is None else options.flip,
        "data": str(annotations or images),
    }
    if options.boxes is not None:
        figures["boxes"] = str(options.boxes)
    return _json_values({**about, **figures})


def _write_records(path: Path | None, records: list[dict[str, Any]]) -> None:
    if path is not None:
        write_text(path, "".join(f"{json.dumps(_json_values(record))}\n" for record in records))


def _detection(
    people: People,
    folder: Path,
    annotations: str | Path | None,
    options: EvaluateOptions,
    failures: list[str] | None,
) -> dict[str, Any]:
    total = options.limit
    if annotations is None:
        _check_shards(folder, "their COCO file")
        frames = FrameDataset(folder)
        total = min(len(frames), options.limit or len(frames))
        pictures: Iterable[Sample] = (frames[number] for number in range(total))
    else:
        pictures = read_coco_people(annotations, folder, options.limit, failures)
    records: list[dict[str, Any]] = []
    figures = evaluate_detection(
        people.detector, progress(pictures, f"evaluate {DetectionTask.name}", total, "images"), records
    )
    _write_records(options.per_person, records)
    return _json_values({"task": DetectionTask.name, "data": str(annotations or folder), **figures})


def _pose(
    people: People,
    folder: Path,
    annotations: str | Path | None,
    options: EvaluateOptions,
    records: list[dict[str, Any]],
    failures: list[str] | None,
) -> dict[str, Any]:
    boxes = options.boxes
    protocol = _pose_protocol(people, options.protocol)
    check_points(people, protocol)
    if options.detect and boxes is not None:
        raise EvaluationError("--detect and --boxes exclude each other")
    source: Iterable[AnnotatedImage]
    if annotations is None:
        if boxes is not None:
            raise EvaluationError("--boxes needs the COCO file whose image ids it has: name it with --annotations")
        _check_shards(folder, "their COCO file")
        source = read_shard_images(folder, options.limit, protocol.keypoint_set, failures)
    else:
        source = read_coco_images(annotations, folder, options.limit, protocol, boxes is not None, failures)
    given = None if boxes is None else read_person_boxes(boxes)
    progress = _progress(source, PoseTask.name)
    figures = evaluate_pose(people, progress, options.detect, options.flip, protocol, given, records)
    return {"protocol": protocol.name, **_note(protocol.note), **figures}


def _pose_protocol(people: People, name: str | None) -> PoseProtocol:
    keypoint_set = people.keypoint_set
    assert keypoint_set is not None
    if name is None and keypoint_set.name not in KEYPOINT_SETS:
        return own_protocol(keypoint_set)
    return _named(name or "coco", POSE_PROTOCOLS, PoseTask.name)


def _dense(
    task: str,
    people: People,
    folder: Path,
    annotations: str | Path | None,
    options: EvaluateOptions,
    records: list[dict[str, Any]],
    failures: list[str] | None,
) -> dict[str, Any]:
    flip = options.flip
    known = {name: protocol for name, protocol in DENSE_PROTOCOLS.items() if protocol.measures(task)}
    protocol = _named(options.protocol, known, task) if options.protocol else NO_PROTOCOL
    if annotations is None:
        if options.protocol:
            raise EvaluationError(
                f"the protocol {options.protocol} needs label maps: name their folder with --annotations"
            )
        _check_shards(folder, "the folder of their label maps")
        source: Iterable[AnnotatedImage] = read_shard_images(folder, options.limit, failures=failures)
        return evaluate_dense(people, _progress(source, task), task, flip, records)
    if not Path(annotations).is_dir():
        raise EvaluationError(f"a file has no labels for {task}: name the folder of the label maps with --annotations")
    labels: dict[LabelKind, Path | str] = {people.dense_tasks[task].kind: annotations}
    if options.masks is not None:
        labels[MASK] = options.masks
    part_set = find_part_set(options.parts) if options.parts else people.part_set or SAPIENS_28
    dataset = FolderDataset(folder, labels, part_set, options.depth_scale)
    chosen = protocol.selected(dataset.names)[: options.limit]
    if not chosen:
        raise EvaluationError(f"{folder} holds no picture of the protocol {protocol.name}: {protocol.note}")

    def measure(numbers: list[int], records: list[dict[str, Any]], failures: list[str] | None) -> dict[str, Any]:
        source = read_folder_images(dataset, numbers, protocol.whole_image, failures)
        figures = evaluate_dense(people, _progress(source, task, len(numbers)), task, flip, records)
        return {**figures, "boxes": "whole image"} if protocol.whole_image else figures

    figures = measure(chosen, records, failures)
    for subset in protocol.subsets:
        numbers = [number for number in chosen if f"{subset}/" in dataset.names[number]]
        if numbers:
            of_subset = measure(numbers, [], None if failures is None else [])
            numeric = {name: value for name, value in of_subset.items() if isinstance(value, float | int)}
            figures |= {f"{subset}_{name}": value for name, value in numeric.items()}
    if not protocol.name:
        return figures
    frames = {} if protocol.frames is None else {"frames_of_the_protocol": protocol.frames}
    return {"protocol": protocol.name, **_note(protocol.note_for(task)), **frames, **figures}


def _named(name: str, protocols: dict[str, Protocol], task: str) -> Protocol:
    if name not in protocols:
        raise EvaluationError(f"no protocol {name!r} for {task}; there are {', '.join(protocols)}")
    return protocols[name]


def _check_shards(folder: Path, needed: str) -> None:
    if not any(folder.glob("*.tar")):
        raise EvaluationError(f"{folder} holds no shards (*.tar); for photos name {needed} with --annotations")


def _progress(source: Iterable[AnnotatedImage], task: str, total: int | None = None) -> Iterable[AnnotatedImage]:
    return progress(source, f"evaluate {task}", total, "images")


def _note(note: str) -> dict[str, str]:
    return {"protocol_note": note} if note else {}


def _json_values(figures: dict[str, Any]) -> dict[str, Any]:
    """None for NaN, which JSON does not have."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in figures.items()}


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The figures as lines of text."""
    width = max(map(len, figures))
    for name, value in figures.items():
        yield f"{name:<{width}}  {value:.4f}" if isinstance(value, float) else f"{name:<{width}}  {value}"
