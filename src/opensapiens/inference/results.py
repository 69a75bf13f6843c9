"""What a prediction consists of: people with points and masks, and maps of the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from opensapiens import drawing
from opensapiens.inference.saving import save_result
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet

SCORE_THRESHOLD = 0.3  # as in the published demos: points below it are not drawn, and not counted as found


@dataclass(eq=False)
class Person:
    """One person.

    id: 1, 2, … in the order of the boxes; in a video the same person keeps it from frame to frame.
    box: (4,) float32 xyxy pixels. score: of the detection, 0–1 (1 for a box that the caller gave).
    keypoints: K×2 float32 pixels (x, y), scores: K heatmap maxima, names: K. All empty if no model with a pose head was
    loaded.
    mask: H×W bool, the person's own part map, or the box where no model with a segmentation head was loaded.
    """

    id: int
    box: np.ndarray
    score: float
    keypoints: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]
    mask: np.ndarray


@dataclass(eq=False)
class Parts:
    """labels: H×W uint8 class ids of part_set, 0 = background. Where people overlap the larger box lies on top."""

    labels: np.ndarray
    part_set: PartSet

    def present(self) -> list[str]:
        """Names of the parts that occur in the image."""
        return [self.part_set.names[label] for label in np.unique(self.labels) if label > 0]


@dataclass(eq=False)
class Depth:
    """values: H×W float32, raw network output, small = near, NaN outside the people.

    metric is False: each person's depth has a scale and an offset of its own, so two people's values cannot be
    compared.
    """

    values: np.ndarray
    metric: bool = False

    def normalized(self) -> np.ndarray:
        """H×W float32 from 0 (nearest) to 1 (farthest) over everything that has a depth; NaN elsewhere."""
        valid = np.isfinite(self.values)
        if not valid.any():
            return self.values.copy()
        near, far = self.values[valid].min(), self.values[valid].max()
        return (self.values - near) / max(far - near, np.finfo(np.float32).tiny)


@dataclass(eq=False)
class Normals:
    """values: H×W×3 float32 unit vectors, +x right, +y up, +z towards the camera; NaN outside the people."""

    values: np.ndarray


@dataclass(eq=False)
class Result:
    """Everything found in one image. A map is None if no model with that head was loaded.

    image: H×W×3 uint8 RGB as it was decoded. source: the file it came from, if it came from one.
    """

    image: np.ndarray
    persons: list[Person] = field(default_factory=list)
    parts: Parts | None = None
    depth: Depth | None = None
    normals: Normals | None = None
    keypoint_set: KeypointSet | None = None
    source: Path | None = None

    def overlays(self, threshold: float = SCORE_THRESHOLD) -> dict[str, np.ndarray]:
        """One H×W×3 uint8 RGB picture per task that was predicted: "pose", "segmentation", "depth", "normals"."""
        pictures = {}
        if self.keypoint_set is not None:
            pictures["pose"] = self._draw_pose(self.keypoint_set, threshold)
        if self.parts is not None:
            pictures["segmentation"] = drawing.draw_parts(self.image, self.parts.labels, self.parts.part_set)
        if self.depth is not None:
            pictures["depth"] = drawing.draw_depth(self.image, self.depth.values)
        if self.normals is not None:
            pictures["normals"] = drawing.draw_normals(self.image, self.normals.values)
        return pictures

    def draw(self, tasks: Sequence[str] | None = None, threshold: float = SCORE_THRESHOLD) -> Image.Image:
        """A picture of the result, with .save(path).

        All tasks side by side under titles; with one task named, that overlay alone at the size of the photo.
        threshold: the least score of a point that is drawn. Raises ValueError for a task that was not predicted.
        """
        pictures = self.overlays(threshold)
        unknown = [task for task in tasks or () if task not in pictures]
        if unknown:
            raise ValueError(
                f"nothing was predicted for {', '.join(unknown)}; there is {', '.join(pictures) or 'nothing'}"
            )
        if tasks and len(tasks) == 1:
            return Image.fromarray(pictures[tasks[0]])
        return Image.fromarray(self.sheet({task: pictures[task] for task in tasks or pictures}))

    def sheet(self, pictures: dict[str, np.ndarray]) -> np.ndarray:
        """The photo and overlays (as of overlays()) side by side under titles, with a legend of the parts."""
        count = len(self.persons)
        titled = [
            (f"photo: {'nobody found' if count == 0 else '1 person' if count == 1 else f'{count} people'}", self.image)
        ]
        for task, picture in pictures.items():
            titled.append((_TITLES[task], picture))
            if task == "segmentation" and self.parts is not None and self.parts.labels.any():
                present = np.unique(self.parts.labels).tolist()
                titled.append(("", drawing.legend(self.parts.part_set, present)))
        titles, images = zip(*titled, strict=True)
        height, width = self.image.shape[:2]
        return drawing.sheet(
            images, titles, height=min(max(height, 256), 640), columns=3 if width > 1.2 * height else None
        )

    def save(self, folder: str | Path, name: str | None = None) -> list[Path]:
        """Write everything into a folder (made if missing) and return the files written.

        name: how the files' names begin, by default the source's name without its ending, or "image".
        Raises OSError if the folder cannot be written.
        """
        return save_result(self, Path(folder), name or (self.source.stem if self.source else "image"))

    def _draw_pose(self, keypoint_set: KeypointSet, threshold: float) -> np.ndarray:
        picture = self.image
        for person in self.persons:
            size = float((person.box[2:] - person.box[:2]).max())
            picture = drawing.draw_keypoints(picture, person.keypoints, person.scores, keypoint_set, threshold, size)
        return picture


_TITLES = {
    "pose": "pose",
    "segmentation": "body parts",
    "depth": "depth (near is bright)",
    "normals": "surface normals",
}
