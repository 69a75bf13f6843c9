"""The pipeline that a user calls: one or several networks and a detector, images in, results out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from opensapiens.data.reading import ImageError, ImageSource, read_image
from opensapiens.geometry.boxes import box_of_mask
from opensapiens.inference.boxes import checked_boxes
from opensapiens.inference.detection import Detector, PartMapDetector, WholeImage
from opensapiens.inference.forward import LoadedModel, Prediction, predict
from opensapiens.inference.results import Depth, Normals, Parts, Person, Result

TASKS = ("pose", "segmentation", "depth", "normals")


class SomeImagesFailed(ImageError):
    """Some images of a list could not be read. results: one per image, None for those; failures: name -> reason."""

    def __init__(self, results: list[Result | None], failures: dict[str, str]) -> None:
        reasons = "; ".join(failures.values())
        super().__init__(
            f"{len(failures)} of {len(results)} images could not be read (the others are in .results): {reasons}"
        )
        self.results = results
        self.failures = failures


class People:
    """Finds the people in images and says all that its networks can say about them.

    Made by opensapiens.load(). Several networks work together: each task is done by the first network that has a head
    for it.
    """

    def __init__(self, models: Sequence[LoadedModel], detector: Detector | None = None, batch_size: int = 8) -> None:
        """detector: by default the part map of the first network that has one, else the whole image is taken for one
        person.

        batch_size: how many people go through a network at a time. Raises ValueError without a network, or if a network
        with a pose head takes squashed images, for which no published pose model was made.
        """
        if not models:
            raise ValueError("no model given")
        for loaded in models:
            if "pose" in loaded.description.heads and not loaded.takes_people:
                raise ValueError(f"{loaded.description.name}: a pose head needs person crops, not squashed images")
        self.models = list(models)
        self.batch_size = batch_size
        self.model_of_task = {
            task: next(loaded for loaded in models if task in loaded.description.heads)
            for task in TASKS
            if any(task in loaded.description.heads for loaded in models)
        }
        segmenter = self.model_of_task.get("segmentation")
        self.detector: Detector = detector or (PartMapDetector(segmenter) if segmenter else WholeImage())

    @overload
    def __call__(
        self, images: ImageSource, boxes: np.ndarray | Sequence | None = None, flip: bool = False
    ) -> Result: ...

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], boxes: np.ndarray | Sequence | None = None, flip: bool = False
    ) -> list[Result]: ...

    def __call__(
        self,
        images: ImageSource | list[Any] | tuple[Any, ...],
        boxes: np.ndarray | Sequence | None = None,
        flip: bool = False,
    ) -> Result | list[Result]:
        """The people of an image (path, PIL image, file content, or H×W×3 uint8 RGB array), or of each image of a list.

        boxes: N×4 xyxy pixels of the people, for a list of images a list of such arrays; by default the detector looks
        for them.
        flip: also predict the mirrored image and average, which costs twice the time and gains a little accuracy.
        An image without people gives a result without persons. Raises ImageError for an image that cannot be read, for
        a list SomeImagesFailed after all the others are done.
        """
        if not isinstance(images, list | tuple):
            return self.predict_image(images, boxes, flip)
        if boxes is not None and len(boxes) != len(images):
            raise ValueError(f"boxes for {len(boxes)} images given, but {len(images)} images")
        results: list[Result | None] = []
        failures: dict[str, str] = {}
        for index, image in enumerate(images):
            try:
                results.append(self.predict_image(image, None if boxes is None else boxes[index], flip))
            except ImageError as error:
                results.append(None)
                failures[str(image) if isinstance(image, str | Path) else f"image {index}"] = str(error)
        if failures:
            raise SomeImagesFailed(results, failures)
        return [result for result in results if result is not None]

    def each(
        self, files: Iterable[str | Path], boxes: dict[str, np.ndarray] | None = None, flip: bool = False
    ) -> Iterator[tuple[Path, Result | ImageError]]:
        """Files one after the other, each with its result or the reason why it has none; for folders too big for
        memory.

        boxes: by file name; with it, a file that is not named has nobody in it.
        """
        for file in map(Path, files):
            own = None if boxes is None else boxes.get(file.name, np.empty((0, 4), np.float32))
            try:
                yield file, self.predict_image(file, own, flip)
            except ImageError as error:
                yield file, error

    def predict_image(
        self, source: ImageSource, boxes: np.ndarray | Sequence | None = None, flip: bool = False
    ) -> Result:
        """One image; as __call__."""
        image = read_image(source)
        if boxes is None:
            found, scores = self.detector(image)
        else:
            found = checked_boxes(boxes, image.shape[:2])
            scores = np.ones(len(found), np.float32)
        predictions = self.predict_boxes(image, found, flip)
        path = Path(source) if isinstance(source, str | Path) else None
        return self._compose(image, found, scores, predictions, path)

    def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, flip: bool = False) -> dict[str, list[Prediction]]:
        """task -> one prediction per box (N×4 xyxy) of the H×W×3 uint8 image, unmasked and not yet put together.

        Networks that see the whole image squashed give the same prediction for every box.
        """
        by_model: dict[int, list[Prediction]] = {}
        if len(boxes) > 0:
            for loaded in {id(loaded): loaded for loaded in self.model_of_task.values()}.values():
                views = loaded.views(boxes, image.shape[:2])
                made = predict(loaded, image, views, flip, self.batch_size)
                by_model[id(loaded)] = made if loaded.takes_people else made * len(boxes)
        return {task: by_model.get(id(loaded), []) for task, loaded in self.model_of_task.items()}

    def _compose(
        self,
        image: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        predictions: dict[str, list[Prediction]],
        source: Path | None,
    ) -> Result:
        size = image.shape[:2]
        pose_model, segmenter = self.model_of_task.get("pose"), self.model_of_task.get("segmentation")
        result = Result(image, source=source, keypoint_set=pose_model.keypoint_set if pose_model else None)
        if segmenter is not None and segmenter.part_set is not None:
            result.parts = Parts(np.zeros(size, np.uint8), segmenter.part_set)
        if "depth" in predictions:
            result.depth = Depth(np.full(size, np.nan, np.float32))
        if "normals" in predictions:
            result.normals = Normals(np.full((*size, 3), np.nan, np.float32))
        masks = []
        for index, box in enumerate(boxes):
            parts = predictions["segmentation"][index] if segmenter is not None else None
            masks.append(_person_mask(parts, box, size, crop=segmenter is not None and segmenter.takes_people))
            points = predictions["pose"][index] if pose_model is not None else None
            result.persons.append(
                Person(
                    id=index + 1,
                    box=box,
                    score=float(scores[index]),
                    keypoints=points.keypoints if points is not None else np.empty((0, 2), np.float32),  # type: ignore[arg-type]
                    scores=points.scores if points is not None else np.empty(0, np.float32),  # type: ignore[arg-type]
                    names=result.keypoint_set.names if result.keypoint_set else (),
                    mask=masks[-1],
                )
            )
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
        # The larger box is drawn last: it is more often the nearer person.
        for index in np.argsort(areas, kind="stable"):
            for task, made in predictions.items():
                if task != "pose":
                    _draw_on(result, task, made[index], masks[index])
        return result


def _person_mask(parts: Prediction | None, box: np.ndarray, size: tuple[int, int], crop: bool) -> np.ndarray:
    """The person's foreground; without a part map all of the box; of a whole image's part map what lies in the box."""
    inside = np.zeros(size, bool)
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    inside[top:bottom, left:right] = True
    if parts is None or parts.parts is None:
        return inside
    mask = np.zeros(size, bool)
    x1, y1, x2, y2 = parts.view.window
    mask[y1:y2, x1:x2] = parts.parts > 0
    return mask if crop else mask & inside


def _draw_on(result: Result, task: str, prediction: Prediction, mask: np.ndarray) -> None:
    x1, y1, x2, y2 = prediction.view.window
    here = mask[y1:y2, x1:x2]
    if task == "segmentation" and result.parts is not None and prediction.parts is not None:
        np.copyto(result.parts.labels[y1:y2, x1:x2], prediction.parts, where=here)
    if task == "depth" and result.depth is not None and prediction.depth is not None:
        np.copyto(result.depth.values[y1:y2, x1:x2], prediction.depth, where=here)
    if task == "normals" and result.normals is not None and prediction.normals is not None:
        np.copyto(result.normals.values[y1:y2, x1:x2], prediction.normals, where=here[..., None])


def boxes_around(persons: Sequence[Person]) -> np.ndarray:
    """(N, 4) xyxy boxes around the masks of people, empty ones left out: where to look for them in the next frame."""
    boxes = [box_of_mask(person.mask) for person in persons]
    return np.array([box for box in boxes if box is not None], np.float32).reshape(-1, 4)
