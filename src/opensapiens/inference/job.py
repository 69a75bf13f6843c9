"""From files to files: photos and videos through the pipeline, on one device or shared out over several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from opensapiens.inference.boxes import BoxesError, boxes_of, check_boxes, read_boxes
from opensapiens.inference.detection import Detector, PartMapDetector, WholeImage
from opensapiens.inference.detr import DetrDetector
from opensapiens.inference.files import is_video
from opensapiens.inference.loading import Resize, load, torch_dtype, usable_device
from opensapiens.inference.output import begin, check, described_models, endings_of, finish, is_done
from opensapiens.inference.pipeline import People, read_frame
from opensapiens.inference.prefetch import prefetch
from opensapiens.inference.recording import VideoSettings, record_video
from opensapiens.inference.results import Result
from opensapiens.inference.runtimes import runtime_of
from opensapiens.storage.folders import FolderError
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.videos import VideoError, frame_count_and_rate
from opensapiens.tasks.saving import save_arrays
from opensapiens.tasks.segmentation import SegmentationTask

RESULTS_AHEAD = 2
DEFAULTS = VideoSettings()

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Job:
    """What to predict and where to put it; plain values, so that it can be sent to another process.

    files with the names of their outputs. models, device, dtype, batch_size, resize, input_size, runtime: see load()
    (features need plain PyTorch, whatever is asked for). boxes: a
    file as read_boxes() takes it. detector: "auto" (see People), "parts", "whole-image", or a DETR's name or folder.
    point_cloud: focal length, near, far as in Depth.points. features: also those of the first model's backbone.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    output: Path
    models: tuple[str, ...] = ("nano",)
    device: str | None = None
    dtype: Dtype = "float32"
    batch_size: int = 8
    resize: Resize | None = None
    input_size: tuple[int, int] | None = None
    runtime: str = "torch"
    boxes: Path | None = None
    detector: str = "auto"
    box_threshold: float | None = None
    nms: float | None = None
    video: VideoSettings = DEFAULTS  # its flip and table are those of photos as well
    features: bool = False
    point_cloud: tuple[float, float, float] | None = None
    resume: bool = False


@dataclass
class Outcome:
    """What came of a job. failures: (place of the file in the job, sentence). people: of videos, their ids."""

    photos: int = 0
    videos: int = 0
    people: int = 0
    skipped: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)


def run_on_devices(job: Job, devices: Sequence[str] = ()) -> Outcome:
    """Run a job, on several devices every n-th file on each; what is written is the same as with one.

    Under torchrun (RANK and WORLD_SIZE in the environment) this process does its share, and the outcome is of that.
    """
    if len(devices) < 2:
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        device = devices[0] if devices else job.device
        local = os.environ.get("LOCAL_RANK")
        if world > 1 and local is not None and device in (None, "cuda") and torch.cuda.is_available():
            device = f"cuda:{local}"
        return run(replace(job, device=device), rank, world)
    total = Outcome()
    # Spawned, not forked: CUDA does not survive a fork.
    with ProcessPoolExecutor(len(devices), get_context("spawn")) as pool:
        shares = [
            pool.submit(run, replace(job, device=device), rank, len(devices)) for rank, device in enumerate(devices)
        ]
        for share in shares:
            part = share.result()
            total.photos, total.videos = total.photos + part.photos, total.videos + part.videos
            total.people, total.skipped = total.people + part.people, total.skipped + part.skipped
            total.failures += part.failures
    total.failures.sort()
    return total


def run(job: Job, rank: int = 0, world: int = 1) -> Outcome:
    """The share of a job that is done by process number `rank` of `world`: every world-th file."""
    people = load(
        job.models,
        job.device,
        job.dtype,
        batch_size=job.batch_size,
        resize=job.resize,
        input_size=job.input_size,
        runtime="torch" if job.features else job.runtime,
    )
    if rank == 0:
        kinds = {runtime_of(loaded.network) for loaded in people.models if loaded.network is not None}
        print(f"runtime: {', '.join(sorted(kinds)) or job.runtime}")
    people.detector = _detector(job, people)
    given = None if job.boxes is None else read_boxes(job.boxes)
    endings = endings_of(people)
    outcome = Outcome()
    photos: list[int] = []
    videos: list[int] = []
    for index in range(rank, len(job.files), world):
        file, name = job.files[index], job.names[index]
        movie = is_video(file)
        try:
            if given is not None and movie:
                raise BoxesError(f"{file}: boxes are for photos; a video's people are looked for")
            if given is not None:
                check_boxes(given, file, job.files)
            check(job.output, name, file, endings)
            if job.resume and is_done(job.output, name, file, _asked(job, people, file, given)):
                outcome.skipped += 1
            else:
                (videos if movie else photos).append(index)
        except (BoxesError, FolderError) as error:
            outcome.failures.append((index, str(error)))
    many = len(photos) + len(videos) > 1
    with tqdm(total=len(photos) + len(videos), unit=" files", position=rank, disable=None if many else True) as bar:
        _predict_photos(job, people, photos, given, outcome, bar)
        for index in videos:
            _predict_video(job, people, index, outcome)
            bar.update()
    outcome.failures.sort()
    return outcome


def _detector(job: Job, people: People) -> Detector:
    limits = {"threshold": job.box_threshold, "nms": job.nms}
    asked = {name: value for name, value in limits.items() if value is not None}
    if job.detector == "whole-image":
        return WholeImage()
    if job.detector == "auto" and not isinstance(people.detector, PartMapDetector):
        return people.detector
    if job.detector in ("auto", "parts"):
        segmenter = people.model_of_task.get(SegmentationTask.name, people.models[0])
        return PartMapDetector(segmenter, **asked, flip=job.video.flip)
    return DetrDetector(job.detector, device=usable_device(job.device), dtype=torch_dtype(job.dtype), **asked)


def _asked(job: Job, people: People, file: Path, given: dict[str, np.ndarray] | None) -> dict[str, Any]:
    """What decides a file's results: where it is still the same, they need not be made again."""
    boxes = None if given is None else boxes_of(given, file)
    stat = file.stat()
    asked: dict[str, Any] = {
        **described_models(people), "dtype": job.dtype, "runtime": job.runtime, "detector": job.detector,
        "box_threshold": job.box_threshold, "nms": job.nms, "boxes": None if boxes is None else boxes.tolist(),
        "size": stat.st_size, "changed": stat.st_mtime_ns,
    }  # fmt: skip
    if is_video(file):
        return {**asked, **vars(job.video)}
    made = {"flip": job.video.flip, "table": job.video.table, "features": job.features, "point_cloud": job.point_cloud}
    return {**asked, **made}


def _predict_photos(
    job: Job, people: People, photos: list[int], given: dict[str, np.ndarray] | None, outcome: Outcome, bar: tqdm
) -> None:
    files = [job.files[index] for index in photos]
    if not people.model_of_task and job.features:
        for index in photos:
            file, name = job.files[index], job.names[index]
            try:
                image = read_frame(file).image
                begin(job.output, name, file, endings_of(people))
                made = [_save_features(people, image, None, job.output, name)]
                finish(job.output, name, file, _asked(job, people, file, given), made)
                outcome.photos += 1
            except (ImageError, FolderError) as error:
                outcome.failures.append((index, str(error)))
            bar.update()
        return
    endings = endings_of(people)
    results = prefetch(people.each(files, given, job.video.flip), RESULTS_AHEAD)
    for index, (file, result) in zip(photos, results, strict=True):
        try:
            if not isinstance(result, Result):
                raise result
            begin(job.output, job.names[index], file, endings)
            made = _save(job, people, result, job.names[index])
            finish(job.output, job.names[index], file, _asked(job, people, file, given), made)
            outcome.photos += 1
            outcome.people += len(result.persons)
        except (ImageError, FolderError) as error:
            outcome.failures.append((index, str(error) if str(file) in str(error) else f"{file}: {error}"))
        bar.update()


def _save(job: Job, people: People, result: Result, name: str) -> list[Path]:
    """The files of a photo; returns them."""
    files = result.save(job.output, name, job.video.table)
    if job.features:
        boxes = np.array([person.box for person in result.persons], np.float32).reshape(-1, 4)
        files.append(_save_features(people, result.image, boxes, job.output, name))
    if job.point_cloud is not None:
        files.append(job.output / f"{name}_points.ply")
        result.save_point_cloud(files[-1], *job.point_cloud)
    return files


def _predict_video(job: Job, people: People, index: int, outcome: Outcome) -> None:
    file, name = job.files[index], job.names[index]
    try:
        frame_count_and_rate(file)  # before anything is written for what is no video
        begin(job.output, name, file, endings_of(people))
        made = record_video(people, file, job.output, name, job.video, job.resume)
        finish(job.output, name, file, _asked(job, people, file, None), made.files)
    except (VideoError, FolderError) as error:
        outcome.failures.append((index, str(error)))
        return
    outcome.videos += 1
    outcome.people += made.people


def _save_features(people: People, image: np.ndarray, boxes: np.ndarray | None, folder: Path, name: str) -> Path:
    """NAME_features.npz: "tokens" V×N×D float32 (V people, or 1), "grid" rows and columns, "pooled" V×D, and
    "class_token" V×D where there is one."""
    features = people.encode(image, boxes)
    arrays = {"tokens": features.tokens, "grid": np.array(features.grid), "pooled": features.pooled}
    if features.class_token is not None:
        arrays["class_token"] = features.class_token
    save_arrays(folder / f"{name}_features.npz", **arrays)
    return folder / f"{name}_features.npz"
