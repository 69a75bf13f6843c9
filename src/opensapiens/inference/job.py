"""From files to files: photos and videos through the pipeline, on one device or shared out over several."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from opensapiens.inference.boxes import BoxesError, boxes_of, check_boxes, read_boxes
from opensapiens.inference.detection import Detector, WholeImage, detector_name
from opensapiens.inference.detectors import find_detector
from opensapiens.inference.files import find_inputs, is_video
from opensapiens.inference.formats import FORMATS, check_formats, formats_of
from opensapiens.inference.loading import load, torch_dtype, usable_device
from opensapiens.inference.options import SIDE_BY_SIDE, OptionsError, PredictOptions
from opensapiens.inference.output import (
    OutputRecord,
    described_models,
    distinct_paths,
    endings_of,
    output_names,
    without_own,
)
from opensapiens.inference.pipeline import People
from opensapiens.inference.prefetch import RESULTS_AHEAD, prefetch
from opensapiens.inference.recording import record_video
from opensapiens.inference.results import Result
from opensapiens.inference.runtimes import runtime_of
from opensapiens.storage.folders import FolderError
from opensapiens.storage.pictures import ImageError, read_image
from opensapiens.storage.progress import progress
from opensapiens.storage.videos import VideoError, frame_count_and_rate
from opensapiens.tasks.saving import save_arrays

NOT_IN_RESULTS = {"model", "input_size", "resize", "device", "devices", "threads", "batch_size", "resume"}
"""Options that do not affect the results, or only through what `described_models` says."""
ONLY_OF_PHOTOS = {"features", "point_cloud"}


@dataclass(frozen=True)
class Job:
    """Files, what results call them, the names of their outputs, and the options; plain values, so that it can be sent
    to a process."""

    files: tuple[Path, ...]
    file_names: tuple[str, ...]
    names: tuple[str, ...]
    output: Path
    options: PredictOptions


@dataclass
class PredictSummary:
    """How many photos and videos were predicted, how many people they show (in a video, ids), and how many files were
    skipped because an earlier run had finished them.

    shown, hidden: whether there are people whose keypoints overlays show, and people whose keypoints all score too low.
    empty: photos in which nobody was found. failures: (index of the file, sentence). files: how many there were. own:
    files in the inputs' folders that an earlier run wrote. passed_over: files that are not read, by what they are.
    """

    photos: int = 0
    videos: int = 0
    people: int = 0
    skipped: int = 0
    shown: bool = False
    hidden: bool = False
    empty: list[str] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)
    files: int = 0
    own: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    def add(self, part: PredictSummary) -> None:
        """Add what another process did."""
        for name in ("photos", "videos", "people", "skipped", "empty", "failures"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.shown |= part.shown
        self.hidden |= part.hidden


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
    file_names = distinct_paths(files)
    job = Job(tuple(files), tuple(file_names), tuple(output_names(file_names)), Path(output), options)
    summary = _on_devices(job)
    summary.failures.sort()
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
            try:
                total.add(share.result())
            except BrokenExecutor as error:
                raise ChildProcessError(
                    "a device's process ended before its files were done (out of memory?); finished files are kept, "
                    "--resume predicts the others"
                ) from error
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
    check_formats(options.format, list(people.model_of_task), options.point_cloud)
    unknown = [name for name in options.video.overlay if name not in (SIDE_BY_SIDE, *people.model_of_task)]
    if unknown:
        raise OptionsError(f"--overlay {unknown[0]}: the model predicts {', '.join(people.model_of_task) or 'nothing'}")
    if rank == 0:
        runtimes = {runtime_of(loaded.network) for loaded in people.models if loaded.network is not None}
        print(f"runtime: {', '.join(sorted(runtimes)) or options.runtime}")
    if options.boxes is None:
        people.detector = _detector(options, people)
        if rank == 0:
            print(f"people: {detector_name(people.detector)}")
    worker = _Worker(job, people, None if options.boxes is None else read_boxes(options.boxes))
    pending = [index for index in range(rank, len(job.files), world) if worker.has_to_predict(index)]
    videos = [index for index in pending if is_video(job.files[index])]
    photos = [index for index in pending if not is_video(job.files[index])]
    with progress(None, "predict", len(pending), "files", shown=len(pending) > 1, position=rank) as bar:
        worker.predict_photos(photos, bar)
        for index in videos:
            worker.predict_video(index)
            bar.update()
    return worker.summary


def _detector(options: PredictOptions, people: People) -> Detector:
    if options.whole_image:
        return WholeImage()
    network = people.models[0].network
    runtime = options.runtime if network is None else runtime_of(network)
    device, dtype = usable_device(options.device), torch_dtype(options.dtype)
    return find_detector(options.detector, options.box_threshold, options.nms, device, dtype, runtime, people.models)


class _Worker:
    """One process's share of a job. boxes: by file name, None to detect the people."""

    def __init__(self, job: Job, people: People, boxes: dict[str, np.ndarray] | None) -> None:
        self.job, self.options, self.people, self.boxes = job, job.options, people, boxes
        self.endings = endings_of(people)
        self.summary = PredictSummary()

    def has_to_predict(self, index: int) -> bool:
        """Whether a file is to be predicted: not where that is done, or where it must fail."""
        file = self.job.files[index]
        try:
            if self.boxes is not None and is_video(file):
                raise BoxesError(f"{file}: --boxes is for photos; people in videos are detected")
            self._check_formats(file)
            if self.boxes is not None:
                check_boxes(self.boxes, file, self.job.files)
            record = self._record(index)
            record.check(self.endings)
            if self.options.resume and file.exists() and record.is_done(self._determinants(file)):
                self.summary.skipped += 1
                return False
        except (BoxesError, FolderError, OptionsError) as error:
            self.summary.failures.append((index, str(error)))
            return False
        return True

    def predict_photos(self, photos: Sequence[int], bar: tqdm) -> None:
        """Predict and write photos, one after the other."""
        results = prefetch(self._results([self.job.files[index] for index in photos]), RESULTS_AHEAD)
        for index, result in zip(photos, results, strict=True):
            file = self.job.files[index]
            try:
                if not isinstance(result, Result):
                    raise result
                record = self._record(index)
                record.begin(self.endings)
                record.finish(self._determinants(file), self._save(result, index))
                self.summary.photos += 1
                self.summary.people += len(result.persons)
                if result.detector is not None and not result.persons:
                    self.summary.empty.append(str(file))
                self.summary.hidden |= any(person.hidden for person in result.persons)
                self.summary.shown |= any(not person.hidden for person in result.persons)
            except (ImageError, FolderError) as error:
                message = str(error) if str(file) in str(error) else f"{file}: {error}"
                self.summary.failures.append((index, message))
            bar.update()

    def predict_video(self, index: int) -> None:
        """Predict and write a video."""
        file, name = self.job.files[index], self.job.names[index]
        try:
            frame_count_and_rate(file)  # before anything is written for what is no video
            record = self._record(index)
            record.begin(self.endings)
            video = record_video(self.people, file, self.job.output, name, self.options, self.job.file_names[index])
            record.finish(self._determinants(file), video.files)
        except (VideoError, FolderError) as error:
            self.summary.failures.append((index, str(error)))
            return
        self.summary.videos += 1
        self.summary.people += video.people
        self.summary.hidden |= video.hidden
        self.summary.shown |= video.people > 0 and not video.hidden

    def _check_formats(self, file: Path) -> None:
        """Raises OptionsError for a file of which none of the formats asked for writes anything."""
        formats = formats_of(self.options.formats_of_videos() if is_video(file) else self.options.formats_of_photos())
        if self.people.model_of_task and not any(one.is_of_videos if is_video(file) else one.photo for one in formats):
            others = "photos" if is_video(file) else "videos"
            raise OptionsError(f"{file}: --format {' '.join(self.options.format)} is for {others}")

    def _record(self, index: int) -> OutputRecord:
        return OutputRecord(self.job.output, self.job.names[index], self.job.files[index])

    def _determinants(self, file: Path) -> dict[str, Any]:
        """Everything that determines a file's results: while it is the same, they need not be made again."""
        options = {name: value for name, value in asdict(self.options).items() if name not in NOT_IN_RESULTS}
        video = options.pop("video")
        if is_video(file):
            options = {name: value for name, value in options.items() if name not in ONLY_OF_PHOTOS} | video
        boxes = None if self.boxes is None else boxes_of(self.boxes, file).tolist()
        detector = detector_name(self.people.detector) if boxes is None else None
        stat = file.stat()
        return {
            **described_models(self.people), **options, "boxes": boxes, "detector": detector,
            "size": stat.st_size, "changed": stat.st_mtime_ns,
        }  # fmt: skip

    def _results(self, files: Sequence[Path]) -> Iterator[Result | ImageError]:
        """One per photo; of a backbone without heads, which gives features only, the picture alone."""
        if self.people.model_of_task or not self.options.features:
            for _, result in self.people.each(files, self.boxes, self.options.flip):
                yield result
            return
        for file in files:
            try:
                yield Result(read_image(file), source=file)
            except ImageError as error:
                yield error

    def _save(self, result: Result, index: int) -> list[Path]:
        """Write the files of a photo; returns them."""
        name = self.job.names[index]
        files, boxes = [], None
        if self.people.model_of_task:
            formats = [one for one in self.options.formats_of_photos() if FORMATS[one].photo is not None]
            file_name, point_cloud = self.job.file_names[index], self.options.point_cloud
            files = result.save(self.job.output, name, formats, file_name, point_cloud)
            boxes = np.array([person.box for person in result.persons], np.float32).reshape(-1, 4)
        if self.options.features:
            files.append(self.job.output / f"{name}_features.npz")
            self._save_features(files[-1], result.image, boxes)
        return files

    def _save_features(self, path: Path, image: np.ndarray, boxes: np.ndarray | None) -> None:
        """ "tokens" V×N×D float32 (V people, or 1), "grid" rows and columns, "pooled" V×D, and "class_token" V×D where
        there is one."""
        features = self.people.encode(image, boxes)
        arrays = {"tokens": features.tokens, "grid": np.array(features.grid), "pooled": features.pooled}
        if features.class_token is not None:
            arrays["class_token"] = features.class_token
        save_arrays(path, **arrays)
