"""The pipeline that a user calls: one or several networks and a detector, images in, results out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, cast, overload

import numpy as np

from opensapiens.geometry.boxes import center_and_scale
from opensapiens.geometry.view import View
from opensapiens.inference.boxes import NOBODY, BoxesError, boxes_of, checked_boxes
from opensapiens.inference.composing import ImagePredictions
from opensapiens.inference.detection import Detector, detector_name
from opensapiens.inference.detectors import find_detector
from opensapiens.inference.features import encode_views
from opensapiens.inference.forward import LoadedModel, Prediction, predict
from opensapiens.inference.options import AUTO
from opensapiens.inference.results import Result
from opensapiens.inference.runtimes import place_of, runtime_of
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.storage.pictures import ImageError, ImageSource, read_image
from opensapiens.tasks import TASKS
from opensapiens.tasks.detection import DetectionTask
from opensapiens.tasks.pose import PoseTask, oks_suppression, person_score
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import DenseTask

BATCHES_PER_READ = 4  # of a network that does not stay in memory


Images = list[Any] | tuple[Any, ...]
Boxes = np.ndarray | Sequence | None


class PipelineError(ValueError):
    """Networks that cannot do what is asked of them."""


class SomeImagesFailed(ImageError):
    """Some images of a list could not be read. results: one per image, None for those; failures: name -> reason."""

    def __init__(self, results: list[Result | None], failures: dict[str, str]) -> None:
        reasons = "; ".join(failures.values())
        super().__init__(
            f"{len(failures)} of {len(results)} images could not be read (the others are in .results): {reasons}"
        )
        self.results = results
        self.failures = failures


@dataclass(eq=False)
class SourceImage:
    """An image on its way through the pipeline: H×W×3 uint8 RGB; N×4 xyxy boxes (None: to be detected) with scores
    (None: 1); the file that it came from; the name of the detector that found the boxes."""

    image: np.ndarray
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    source: Path | None = None
    detector: str | None = None

    def find_people(self, detector: Detector) -> None:
        """Take the detector's boxes."""
        self.boxes, self.scores = detector(self.image)
        self.detector = detector_name(detector)


class People:
    """Finds the people in images and predicts all tasks of its networks for them.

    Made by opensapiens.load(). Several networks work together: each task is done by the first network that has a head
    for it; an image is decoded and searched for people once. Any number of threads may share one, in every runtime.
    """

    def __init__(self, models: Sequence[LoadedModel], detector: Detector | str = AUTO, batch_size: int = 8) -> None:
        """detector: what finds people, or its name, see `find_detector`; loaded when it is needed.

        batch_size: how many views go through a network at a time, across people and images. Raises PipelineError
        without a network, or if one with a pose head takes whole images, for which no published pose model was made.
        """
        if not models:
            raise PipelineError("no model given")
        for loaded in models:
            if PoseTask.name in loaded.tasks and not loaded.takes_people:
                raise PipelineError(f"{loaded.description.name}: a pose head needs person crops, not squashed images")
        self.models = list(models)
        self.batch_size = batch_size
        heads = {head: loaded for loaded in reversed(models) for head in loaded.tasks}
        heads.pop(DetectionTask.name, None)
        # In the order of TASKS, the caller's own tasks last.
        self.model_of_task = {head: heads[head] for head in [*TASKS, *heads] if head in heads}
        self._detector = detector
        self._loading = Lock()

    @property
    def detector(self) -> Detector:
        """What finds the people. Raises DetectorError for one that cannot be loaded."""
        with self._loading:
            if isinstance(self._detector, str):
                network = self.models[0].network
                if network is None:
                    self._detector = find_detector(self._detector, models=self.models)
                else:
                    device, dtype = place_of(network)
                    self._detector = find_detector(
                        self._detector, device=device, dtype=dtype, runtime=runtime_of(network), models=self.models
                    )
        return self._detector

    @detector.setter
    def detector(self, detector: Detector | str) -> None:
        self._detector = detector

    @property
    def keypoint_set(self) -> KeypointSet | None:
        """The points of a pose; None without a pose head."""
        return self._labels(PoseTask.name)

    @property
    def part_set(self) -> PartSet | None:
        """The classes of body parts; None without a segmentation head."""
        return self._labels(SegmentationTask.name)

    def _labels(self, task: str) -> Any:
        loaded = self.model_of_task.get(task)
        return None if loaded is None else loaded.tasks[task].labels

    @property
    def dense_tasks(self) -> dict[str, DenseTask]:
        """The tasks whose prediction is a map, by name."""
        tasks = {name: loaded.tasks[name] for name, loaded in self.model_of_task.items()}
        return {name: cast("DenseTask", task) for name, task in tasks.items() if not isinstance(task, PoseTask)}

    @overload
    def __call__(self, images: ImageSource, boxes: Boxes = None, flip: bool | None = None) -> Result: ...

    @overload
    def __call__(self, images: Images, boxes: Boxes = None, flip: bool | None = None) -> list[Result]: ...

    def __call__(
        self, images: ImageSource | Images, boxes: Boxes = None, flip: bool | None = None
    ) -> Result | list[Result]:
        """The people of an image (path, PIL image, file content, open file, or H×W×3 uint8 RGB array), or of each of a
        list.

        boxes: N×4 xyxy pixels of the people, for a list of images a list of such arrays; by default they are detected.
        flip: True also predicts the mirrored image and averages, in twice the time; False does not; by default each
        network does what its weights ask for: the published pose models average. The detector has its own `flip`.
        An image without people gives a result without persons. Raises ImageError for an image that cannot be read, for
        a list SomeImagesFailed after all the others are done.
        """
        if not isinstance(images, list | tuple):
            return self.predict_image(images, boxes, flip)
        if boxes is not None and len(boxes) != len(images):
            raise ValueError(f"boxes for {len(boxes)} images given, but {len(images)} images")
        results: list[Result | None] = []
        failures: dict[str, str] = {}
        frames = (_frame_or_error(image, None if boxes is None else boxes[i]) for i, image in enumerate(images))
        for index, outcome in enumerate(self.stream(frames, flip)):
            if isinstance(outcome, BoxesError):
                raise outcome
            if isinstance(outcome, Result):
                results.append(outcome)
            else:
                results.append(None)
                image = images[index]
                failures[str(image) if isinstance(image, str | Path) else f"image {index}"] = str(outcome)
        if failures:
            raise SomeImagesFailed(results, failures)
        return [result for result in results if result is not None]

    def each(
        self, files: Iterable[str | Path], boxes: dict[str, np.ndarray] | None = None, flip: bool | None = None
    ) -> Iterator[tuple[Path, Result | ImageError]]:
        """Files one after the other, each with its result or its error; for folders that do not fit into memory.

        boxes: by file name, as boxes_of takes them; a file that is not in it has nobody.
        """
        read: deque[Path] = deque()

        def frames() -> Iterator[SourceImage | ImageError | BoxesError]:
            for file in map(Path, files):
                read.append(file)
                yield _frame_or_error(file, None if boxes is None else boxes_of(boxes, file))

        for outcome in self.stream(frames(), flip):
            file = read.popleft()
            yield file, ImageError(f"{file}: {outcome}") if isinstance(outcome, BoxesError) else outcome

    def predict_image(self, source: ImageSource, boxes: Boxes = None, flip: bool | None = None) -> Result:
        """One image; as __call__."""
        outcome = next(self.stream([read_frame(source, boxes)], flip))
        assert isinstance(outcome, Result)
        return outcome

    def stream(
        self, frames: Iterable[SourceImage | ImageError | BoxesError], flip: bool | None = None
    ) -> Iterator[Result | ImageError | BoxesError]:
        """One result per frame, in order; batches are filled across the frames and their people.

        An error among the frames comes out in its place. Frames are taken a few batches at a time, so memory does not
        grow with their number.
        """
        source = iter(frames)
        in_memory = all(loaded.network is not None for loaded in self.models)
        while chunk := list(islice(source, self.batch_size * (1 if in_memory else BATCHES_PER_READ))):
            results = self._predict([frame for frame in chunk if isinstance(frame, SourceImage)], flip)
            for outcome in chunk:
                yield next(results) if isinstance(outcome, SourceImage) else outcome

    def video(
        self, path: str | Path, flip: bool | None = None, detect_every: int | None = None, smooth: bool = False
    ) -> Iterator[Result]:
        """One result per frame of a video, in order, with ids that stay; see `inference.video.predict_video`."""
        from opensapiens.inference.video import predict_video  # it imports this module

        return predict_video(self, path, flip, detect_every, smooth)

    def predict_boxes(
        self, image: np.ndarray, boxes: np.ndarray, flip: bool | None = None
    ) -> dict[str, list[Prediction]]:
        """Task -> one prediction per box (N×4 xyxy) of the H×W×3 uint8 image, unmasked and not yet composed.

        Networks that see the whole image give the same prediction for every box.
        """
        if len(boxes) == 0:
            return {task: [] for task in self.model_of_task}
        frames = [SourceImage(image, boxes)]
        predictions = {id(loaded): self._run(loaded, frames, flip)[0] for loaded in self._networks()}
        return {
            task: predictions[id(loaded)] * (1 if loaded.takes_people else len(boxes))
            for task, loaded in self.model_of_task.items()
        }

    def encode(self, images: Any, boxes: Boxes = None, model: int = 0) -> Any:
        """Features of the backbone for an image, or a list of them for a list of images; see Features.

        A network that takes whole images gives one set per image; one that takes people gives one per person (boxes as
        in __call__). model: which of the loaded ones. Raises ImageError for an image that cannot be read.
        """
        if isinstance(images, list | tuple):
            return [self.encode(image, None if boxes is None else boxes[i], model) for i, image in enumerate(images)]
        loaded, frame = self.models[model], read_frame(images, boxes)
        if frame.boxes is None and loaded.takes_people:
            frame.boxes = self.detector(frame.image)[0]
        shown = [(frame.image, view) for view in _views(loaded, frame)]
        return encode_views(loaded, shown, self.batch_size)

    def _networks(self) -> list[LoadedModel]:
        """Those in use."""
        return list({id(loaded): loaded for loaded in self.model_of_task.values()}.values())

    def _run(self, loaded: LoadedModel, frames: Sequence[SourceImage], flip: bool | None) -> list[list[Prediction]]:
        """Per frame the predictions of one network for the frame's boxes (or one for the whole image)."""
        views = [_views(loaded, frame) for frame in frames]
        shown = [
            (frame.image, view) for frame, views_of_frame in zip(frames, views, strict=True) for view in views_of_frame
        ]
        predictions = iter(predict(loaded, shown, flip, self.batch_size))
        return [list(islice(predictions, len(views_of_frame))) for views_of_frame in views]

    def _predict(self, frames: list[SourceImage], flip: bool | None) -> Iterator[Result]:
        return (predictions.result() for predictions in self.predictions(frames, flip))

    def predictions(self, frames: list[SourceImage], flip: bool | None = None) -> Iterator[ImagePredictions]:
        """Per frame what the networks predict for its people, not composed yet: some of them can still be left out.

        Raises PipelineError for a backbone without heads.
        """
        if not self.model_of_task:
            names = ", ".join(loaded.description.name for loaded in self.models)
            raise PipelineError(
                f"{names}: a backbone without heads predicts nothing; it gives features (encode), or finds people "
                "(detector=)"
            )
        for frame in frames:
            if frame.boxes is None:
                frame.find_people(self.detector)
        predictions = {id(loaded): self._run(loaded, frames, flip) for loaded in self._networks()}
        for index, frame in enumerate(frames):
            of_task = {task: predictions[id(loaded)][index] for task, loaded in self.model_of_task.items()}
            found = ImagePredictions(
                frame.image, frame.boxes, frame.scores, of_task, self.model_of_task, frame.source, frame.detector
            )
            if frame.detector is not None and self.keypoint_set is not None:
                found = _without_doubles(found, self.keypoint_set)
            yield found


def _without_doubles(found: ImagePredictions, keypoint_set: KeypointSet) -> ImagePredictions:
    """The predictions of the people who stay when of two with the same pose one goes."""
    assert found.boxes is not None and found.scores is not None
    poses = [prediction.decoded[PoseTask.name] for prediction in found.of_task[PoseTask.name]]
    if len(poses) < 2:
        return found
    scores = [person_score(score, pose.scores) for score, pose in zip(found.scores, poses, strict=True)]
    areas = center_and_scale(found.boxes)[1].prod(axis=1)  # of the padded crops, as published
    points = np.stack([pose.points for pose in poses])
    return found.of_people(np.sort(oks_suppression(points, np.array(scores), areas, keypoint_set.sigmas)))


def _views(loaded: LoadedModel, frame: SourceImage) -> list[View]:
    return loaded.views(NOBODY if frame.boxes is None else frame.boxes, frame.image.shape[:2])


def read_frame(source: ImageSource, boxes: Boxes = None) -> SourceImage:
    """The decoded image with the caller's boxes, which are checked. Raises ImageError, BoxesError."""
    image = read_image(source)
    checked = None if boxes is None else checked_boxes(boxes, image.shape[:2])
    return SourceImage(image, checked, source=Path(source) if isinstance(source, str | Path) else None)


def _frame_or_error(source: ImageSource, boxes: Boxes) -> SourceImage | ImageError | BoxesError:
    try:
        return read_frame(source, boxes)
    except (ImageError, BoxesError) as error:
        return error
