"""From files to files: photos and videos through the pipeline, on one device or shared out over several."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from opensapiens.inference.boxes import BoxesError, boxes_of, check_boxes, read_boxes
from opensapiens.inference.detection import Detector, PartMapDetector, WholeImage
from opensapiens.inference.detr import DetrDetector
from opensapiens.inference.files import find_inputs, is_video
from opensapiens.inference.loading import load, torch_dtype, usable_device
from opensapiens.inference.options import PredictOptions
from opensapiens.inference.output import (
    begin,
    check,
    described_models,
    endings_of,
    finish,
    is_done,
    output_names,
    without_own,
)
from opensapiens.inference.pipeline import People, read_frame
from opensapiens.inference.prefetch import prefetch
from opensapiens.inference.recording import record_video
from opensapiens.inference.results import Result
from opensapiens.inference.runtimes import runtime_of
from opensapiens.storage.folders import FolderError
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.progress import progress
from opensapiens.storage.videos import VideoError, frame_count_and_rate
from opensapiens.tasks.saving import save_arrays
from opensapiens.tasks.segmentation import SegmentationTask

RESULTS_AHEAD = 2
HOW_NOT_WHAT = {"model", "input_size", "resize", "device", "devices", "threads", "batch_size", "resume"}
"""Options that do not decide the results, or do so through what `described_models` says."""
OF_PHOTOS = {"features", "point_cloud"}


@dataclass(frozen=True)
class Job:
    """Files, the names of their outputs, and what is asked for; plain values, so that it can be sent to a process."""

    files: tuple[Path, ...]
    names: tuple[str, ...]
    output: Path
    options: PredictOptions


@dataclass
class PredictSummary:
    """What came of the files: how many photos and videos were predicted, how many people were found (in a video, ids),
    how many files were done before.

    shown, hidden: whether there are people whose keypoints overlays show, and people whose keypoints all score too low.
    failures: (place of the file among all, sentence). files: how many there were. own: files in the inputs' folders
    that an earlier run wrote. passed_over: files that are not read, by what they are.
    """

    photos: int = 0
    videos: int = 0
    people: int = 0
    skipped: int = 0
    shown: bool = False
    hidden: bool = False
    failures: list[tuple[int, str]] = field(default_factory=list)
    files: int = 0
    own: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)


def predict_files(
    inputs: str | Path | Iterable[str | Path], output: str | Path, options: PredictOptions = PredictOptions()
) -> PredictSummary:
    """What `opensapiens predict` does: photos, videos and folders of them in, files of results out.

    A file that fails does not stop the others; it is in the summary's failures. With several devices every n-th file
    goes to each; the results are the same. Under torchrun (RANK and WORLD_SIZE in the environment) this process does
    its share, and the summary is of that.

    Raises FileNotFoundError for an input that does not exist and a folder without photos and videos, BoxesError,
    DetectorError, and what load() raises.
    """
    named = [Path(inputs)] if isinstance(inputs, str | Path) else [Path(path) for path in inputs]
    listing = find_inputs(named)
    files = without_own(listing.files, named)
    job = Job(tuple(files), tuple(output_names(files)), Path(output), options)
    summary = _on_devices(job)
    summary.files, summary.own = len(files), len(listing.files) - len(files)
    summary.passed_over = listing.passed_over
    return summary


def _on_devices(job: Job) -> PredictSummary:
    options, devices = job.options, job.options.devices
    if len(devices) < 2:
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        device = devices[0] if devices else options.device
        local = os.environ.get("LOCAL_RANK")
        if world > 1 and local is not None and device in (None, "cuda") and torch.cuda.is_available():
            device = f"cuda:{local}"
        return run(_on(job, device), rank, world)
    total = PredictSummary()
    # Spawned, not forked: CUDA does not survive a fork.
    with ProcessPoolExecutor(len(devices), get_context("spawn")) as pool:
        shares = [pool.submit(run, _on(job, device), rank, len(devices)) for rank, device in enumerate(devices)]
        for share in shares:
            part = share.result()
            total.photos, total.videos = total.photos + part.photos, total.videos + part.videos
            total.people, total.skipped = total.people + part.people, total.skipped + part.skipped
            total.shown, total.hidden = total.shown or part.shown, total.hidden or part.hidden
            total.failures += part.failures
    total.failures.sort()
    return total


def _on(job: Job, device: str | None) -> Job:
    return replace(job, options=replace(job.options, device=device, devices=()))


def run(job: Job, rank: int = 0, world: int = 1) -> PredictSummary:
    """The share of a job that is done by process number `rank` of `world`: every world-th file."""
    options = job.options
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    people = load(
        options.model,
        options.device,
        options.dtype,
        batch_size=options.batch_size,
        resize=options.resize,
        input_size=options.input_size,
        runtime="torch" if options.features else options.runtime,
    )
    if rank == 0:
        kinds = {runtime_of(loaded.network) for loaded in people.models if loaded.network is not None}
        print(f"runtime: {', '.join(sorted(kinds)) or options.runtime}")
    people.detector = _detector(options, people)
    given = None if options.boxes is None else read_boxes(options.boxes)
    endings = endings_of(people)
    summary = PredictSummary()
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
            if options.resume and is_done(job.output, name, file, _asked(job, people, file, given)):
                summary.skipped += 1
            else:
                (videos if movie else photos).append(index)
        except (BoxesError, FolderError) as error:
            summary.failures.append((index, str(error)))
    many = len(photos) + len(videos) > 1
    with progress(None, "predict", len(photos) + len(videos), "files", shown=many, position=rank) as bar:
        _predict_photos(job, people, photos, given, summary, bar)
        for index in videos:
            _predict_video(job, people, index, summary)
            bar.update()
    summary.failures.sort()
    return summary


def _detector(options: PredictOptions, people: People) -> Detector:
    limits = {"threshold": options.box_threshold, "nms": options.nms}
    asked = {name: value for name, value in limits.items() if value is not None}
    if options.whole_image:
        return WholeImage()
    if options.detector is None and not isinstance(people.detector, PartMapDetector):
        return people.detector
    if options.detector in (None, "parts"):
        segmenter = people.model_of_task.get(SegmentationTask.name, people.models[0])
        return PartMapDetector(segmenter, **asked, flip=options.flip)
    return DetrDetector(
        options.detector, device=usable_device(options.device), dtype=torch_dtype(options.dtype), **asked
    )


def _asked(job: Job, people: People, file: Path, given: dict[str, np.ndarray] | None) -> dict[str, Any]:
    """What decides a file's results: where it is still the same, they need not be made again."""
    asked = {name: value for name, value in asdict(job.options).items() if name not in HOW_NOT_WHAT}
    video = asked.pop("video")
    if is_video(file):
        asked = {name: value for name, value in asked.items() if name not in OF_PHOTOS} | video
    boxes = None if given is None else boxes_of(given, file)
    stat = file.stat()
    return {
        **described_models(people), **asked, "boxes": None if boxes is None else boxes.tolist(),
        "size": stat.st_size, "changed": stat.st_mtime_ns,
    }  # fmt: skip


def _predict_photos(
    job: Job, people: People, photos: list[int], given: dict[str, np.ndarray] | None, summary: PredictSummary, bar: tqdm
) -> None:
    files = [job.files[index] for index in photos]
    if not people.model_of_task and job.options.features:
        for index in photos:
            file, name = job.files[index], job.names[index]
            try:
                image = read_frame(file).image
                begin(job.output, name, file, endings_of(people))
                made = [_save_features(people, image, None, job.output, name)]
                finish(job.output, name, file, _asked(job, people, file, given), made)
                summary.photos += 1
            except (ImageError, FolderError) as error:
                summary.failures.append((index, str(error)))
            bar.update()
        return
    endings = endings_of(people)
    results = prefetch(people.each(files, given, job.options.flip), RESULTS_AHEAD)
    for index, (file, result) in zip(photos, results, strict=True):
        try:
            if not isinstance(result, Result):
                raise result
            begin(job.output, job.names[index], file, endings)
            made = _save(job, people, result, job.names[index])
            finish(job.output, job.names[index], file, _asked(job, people, file, given), made)
            summary.photos += 1
            summary.people += len(result.persons)
            summary.hidden |= any(person.hidden for person in result.persons)
            summary.shown |= any(not person.hidden for person in result.persons)
        except (ImageError, FolderError) as error:
            summary.failures.append((index, str(error) if str(file) in str(error) else f"{file}: {error}"))
        bar.update()


def _save(job: Job, people: People, result: Result, name: str) -> list[Path]:
    """The files of a photo; returns them."""
    files = result.save(job.output, name, job.options.table)
    if job.options.features:
        boxes = np.array([person.box for person in result.persons], np.float32).reshape(-1, 4)
        files.append(_save_features(people, result.image, boxes, job.output, name))
    if job.options.point_cloud is not None:
        files.append(job.output / f"{name}_points.ply")
        result.save_point_cloud(files[-1], *job.options.point_cloud)
    return files


def _predict_video(job: Job, people: People, index: int, summary: PredictSummary) -> None:
    file, name = job.files[index], job.names[index]
    try:
        frame_count_and_rate(file)  # before anything is written for what is no video
        begin(job.output, name, file, endings_of(people))
        made = record_video(people, file, job.output, name, job.options)
        finish(job.output, name, file, _asked(job, people, file, None), made.files)
    except (VideoError, FolderError) as error:
        summary.failures.append((index, str(error)))
        return
    summary.videos += 1
    summary.people += made.people
    summary.hidden |= made.hidden
    summary.shown |= made.people > 0 and not made.hidden


def _save_features(people: People, image: np.ndarray, boxes: np.ndarray | None, folder: Path, name: str) -> Path:
    """NAME_features.npz: "tokens" V×N×D float32 (V people, or 1), "grid" rows and columns, "pooled" V×D, and
    "class_token" V×D where there is one."""
    features = people.encode(image, boxes)
    arrays = {"tokens": features.tokens, "grid": np.array(features.grid), "pooled": features.pooled}
    if features.class_token is not None:
        arrays["class_token"] = features.class_token
    save_arrays(folder / f"{name}_features.npz", **arrays)
    return folder / f"{name}_features.npz"
