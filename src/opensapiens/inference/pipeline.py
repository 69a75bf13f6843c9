"""The pipeline that a user calls: one or several networks and a detector, images in, results out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast, overload

import numpy as np

from opensapiens.inference.boxes import BoxesError, boxes_of, checked_boxes
from opensapiens.inference.composing import compose
from opensapiens.inference.detection import Detector, PartMapDetector, WholeImage
from opensapiens.inference.features import encode_views
from opensapiens.inference.forward import LoadedModel, Prediction, predict
from opensapiens.inference.results import Result
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.storage.pictures import ImageError, ImageSource, read_image
from opensapiens.tasks import TASKS
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.segmentation import SegmentationTask
from opensapiens.tasks.task import DenseTask

READ_ANEW_FOR = 4  # batches of images for which a network is read that does not stay in memory


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
    """An image on its way through the pipeline: H×W×3 uint8 RGB; N×4 xyxy boxes (None: look for people) with scores
    (None: 1); the file that it came from."""

    image: np.ndarray
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    source: Path | None = None


class People:
    """Finds the people in images and says all that its networks can say about them.

    Made by opensapiens.load(). Several networks work together: each task is done by the first network that has a head
    for it; an image is decoded and searched for people once. Any number of threads may share one, in every runtime.
    """

    def __init__(self, models: Sequence[LoadedModel], detector: Detector | None = None, batch_size: int = 8) -> None:
        """detector: by default the part map of the first network that has one, else the whole image is taken for one
        person.

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
        # In the order of the table, tasks of the caller's own last.
        self.model_of_task = {head: heads[head] for head in [*TASKS, *heads] if head in heads}
        segmenter = self.model_of_task.get(SegmentationTask.name)
        self.detector: Detector = detector or (PartMapDetector(segmenter) if segmenter else WholeImage())

    @property
    def keypoint_set(self) -> KeypointSet | None:
        """The points of a pose; None without a pose head."""
        loaded = self.model_of_task.get(PoseTask.name)
        return None if loaded is None else loaded.tasks[PoseTask.name].labels  # type: ignore[return-value]

    @property
    def part_set(self) -> PartSet | None:
        """The classes of body parts; None without a segmentation head."""
        loaded = self.model_of_task.get(SegmentationTask.name)
        return None if loaded is None else loaded.tasks[SegmentationTask.name].labels  # type: ignore[return-value]

    @property
    def dense_tasks(self) -> dict[str, DenseTask]:
        """The tasks whose prediction is a map, by name."""
        tasks = {name: loaded.tasks[name] for name, loaded in self.model_of_task.items()}
        return {name: cast("DenseTask", task) for name, task in tasks.items() if not isinstance(task, PoseTask)}

    @property
    def finds_people_in_passing(self) -> bool:
        """Whether people are found at no cost: in the part map of the whole image, which is predicted anyway."""
        own = isinstance(self.detector, PartMapDetector) and self.detector.looks_at_whole_images
        return own or isinstance(self.detector, WholeImage)

    @overload
    def __call__(
        self, images: ImageSource, boxes: np.ndarray | Sequence | None = None, flip: bool | None = None
    ) -> Result: ...

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], boxes: np.ndarray | Sequence | None = None, flip: bool | None = None
    ) -> list[Result]: ...

    def __call__(
        self,
        images: ImageSource | list[Any] | tuple[Any, ...],
        boxes: np.ndarray | Sequence | None = None,
        flip: bool | None = None,
    ) -> Result | list[Result]:
        """The people of an image (path, PIL image, file content, open file, or H×W×3 uint8 RGB array), or of each of a
        list.

        boxes: N×4 xyxy pixels of the people, for a list of images a list of such arrays; by default the detector looks
        for them.
        flip: True also predicts the mirrored image and averages, at twice the time, False does not; by default each
        network does what its weights ask for, which for the published pose models is to average. The detector has a
        `flip` of its own.
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
        """Files one after the other, each with its result or the reason why it has none; for folders too big for
        memory.

        boxes: by file name, as boxes_of takes them; with it, a file that is not named has nobody in it.
        """
        read: list[Path] = []

        def frames() -> Iterator[SourceImage | ImageError | BoxesError]:
            for file in map(Path, files):
                read.append(file)
                yield _frame_or_error(file, None if boxes is None else _given(boxes, file))

        for outcome in self.stream(frames(), flip):
            file = read.pop(0)
            yield file, ImageError(f"{file}: {outcome}") if isinstance(outcome, BoxesError) else outcome

    def predict_image(
        self, source: ImageSource, boxes: np.ndarray | Sequence | None = None, flip: bool | None = None
    ) -> Result:
        """One image; as __call__."""
        outcome = next(self.stream([read_frame(source, boxes)], flip))
        assert isinstance(outcome, Result)
        return outcome

    def stream(
        self, frames: Iterable[SourceImage | ImageError | BoxesError], flip: bool | None = None
    ) -> Iterator[Result | ImageError | BoxesError]:
        """One result per frame, in order; batches are filled across the frames and their people.

        An error among the frames, of one that could not be read, comes out in its place. Frames are taken a few
        batches at a time, so memory does not grow with their number.
        """
        source = iter(frames)
        kept = all(loaded.network is not None for loaded in self.models)
        while chunk := list(islice(source, self.batch_size * (1 if kept else READ_ANEW_FOR))):
            good = [frame for frame in chunk if isinstance(frame, SourceImage)]
            results = self._predict(good, flip)
            for outcome in chunk:
                yield next(results) if isinstance(outcome, SourceImage) else outcome

    def predict_boxes(
        self, image: np.ndarray, boxes: np.ndarray, flip: bool | None = None
    ) -> dict[str, list[Prediction]]:
        """task -> one prediction per box (N×4 xyxy) of the H×W×3 uint8 image, unmasked and not yet put together.

        Networks that see the whole image give the same prediction for every box.
        """
        if len(boxes) == 0:
            return {task: [] for task in self.model_of_task}
        frames = [SourceImage(image, boxes)]
        found = {id(loaded): self._run(loaded, frames, flip)[0] for loaded in self._networks()}
        return {
            task: found[id(loaded)] if loaded.takes_people else found[id(loaded)] * len(boxes)
            for task, loaded in self.model_of_task.items()
        }

    def encode(self, images: Any, boxes: np.ndarray | Sequence | None = None, model: int = 0) -> Any:
        """Features of the backbone for an image, or a list of them for a list of images; see Features.

        A network that takes whole images gives one set per image; one that takes people gives one per person (boxes as
        in __call__). model: which of the loaded ones. Raises ImageError for an image that cannot be read.
        """
        if isinstance(images, list | tuple):
            return [self.encode(one, None if boxes is None else boxes[i], model) for i, one in enumerate(images)]
        loaded, frame = self.models[model], read_frame(images, boxes)
        found = frame.boxes if frame.boxes is not None else np.empty((0, 4), np.float32)
        if frame.boxes is None and loaded.takes_people:
            found = self.detector(frame.image)[0]
        shown = [(frame.image, view) for view in loaded.views(found, frame.image.shape[:2])]
        return encode_views(loaded, shown, self.batch_size)

    def _networks(self) -> list[LoadedModel]:
        """Those that have something to do; networks of whole images first, since people may be found in their maps."""
        used = {id(loaded): loaded for loaded in self.model_of_task.values()}
        return sorted(used.values(), key=lambda loaded: loaded.takes_people)

    def _run(self, loaded: LoadedModel, frames: Sequence[SourceImage], flip: bool | None) -> list[list[Prediction]]:
        """Per frame the predictions of one network for the frame's boxes (or one for the whole image)."""
        nobody = np.empty((0, 4), np.float32)
        views = [
            loaded.views(nobody if frame.boxes is None else frame.boxes, frame.image.shape[:2]) for frame in frames
        ]
        shown = [(frame.image, view) for frame, own in zip(frames, views, strict=True) for view in own]
        made = iter(predict(loaded, shown, flip, self.batch_size))
        return [list(islice(made, len(own))) for own in views]

    def _predict(self, frames: list[SourceImage], flip: bool | None) -> Iterator[Result]:
        if not self.model_of_task:
            names = ", ".join(loaded.description.name for loaded in self.models)
            raise PipelineError(f"{names}: a backbone without heads predicts nothing; it gives features (encode)")
        found: dict[int, list[list[Prediction]]] = {}
        located = False
        for loaded in self._networks():
            if loaded.takes_people and not located:
                self._find_people(frames, found)
                located = True
            found[id(loaded)] = self._run(loaded, frames, flip)
        if not located:
            self._find_people(frames, found)
        for index, frame in enumerate(frames):
            own = {task: found[id(loaded)][index] for task, loaded in self.model_of_task.items()}
            yield compose(frame.image, frame.boxes, frame.scores, own, self.model_of_task, frame.source)

    def _find_people(self, frames: Sequence[SourceImage], found: dict[int, list[list[Prediction]]]) -> None:
        """Give every frame boxes and scores."""
        detector = self.detector
        for index, frame in enumerate(frames):
            if frame.boxes is None:
                own = found.get(id(detector.loaded)) if isinstance(detector, PartMapDetector) else None
                if own is not None and isinstance(detector, PartMapDetector):
                    (prediction,) = own[index]
                    assert prediction.foreground is not None
                    frame.boxes, frame.scores = detector.people_in(prediction.foreground, prediction.view)
                else:
                    frame.boxes, frame.scores = detector(frame.image)
            if frame.scores is None:
                frame.scores = np.ones(len(frame.boxes), np.float32)


def read_frame(source: ImageSource, boxes: np.ndarray | Sequence | None = None) -> SourceImage:
    """An image decoded, with the boxes that the caller gives checked. Raises ImageError, BoxesError."""
    image = read_image(source)
    checked = None if boxes is None else checked_boxes(boxes, image.shape[:2])
    return SourceImage(image, checked, source=Path(source) if isinstance(source, str | Path) else None)


def _given(boxes: dict[str, np.ndarray], file: Path) -> np.ndarray:
    own = boxes_of(boxes, file)
    return np.empty((0, 4), np.float32) if own is None else own


def _frame_or_error(source: ImageSource, boxes: np.ndarray | Sequence | None) -> SourceImage | ImageError | BoxesError:
    try:
        return read_frame(source, boxes)
    except (ImageError, BoxesError) as error:
        return error
