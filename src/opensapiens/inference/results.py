"""What a prediction consists of: people with points and masks, and maps of the whole image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from opensapiens import drawing
from opensapiens.geometry.cameras import PinholeCamera
from opensapiens.inference.saving import (
    depth_to_16_bits,
    normals_to_16_bits,
    save_arrays,
    save_parts,
    save_picture,
    save_ply,
    save_rgb_16_bits,
    save_table,
    table_rows,
)
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.labels.parts import PartSet
from opensapiens.storage.files import write_json

SCORE_THRESHOLD = 0.3  # as in the published demos: points below it are not drawn
MINIMUM_SCORE = 0.05  # a point below it is written with visibility 0, as the COCO format asks for points not found

PNG_LEVEL = 3  # of 9: half the time of the usual 6, files a tenth larger

TableKind = Literal["csv", "parquet"]
MapKind = Literal["png", "npz"]


class ResultError(ValueError):
    """Something was asked of a result that it cannot give."""


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

    def to_coco(self, annotation_id: int, image_id: int) -> dict[str, Any]:
        """COCO annotation with the person's id as "person_id"; points are x, y, v with v 2 where found and 0 where not.

        Scores of the points are in "keypoint_scores". Without a pose head it has a box only.
        """
        x1, y1, x2, y2 = (round(float(value), 2) for value in self.box)
        annotation: dict[str, Any] = {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": 1,
            "person_id": self.id,
            "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            "area": int(self.mask.sum()),
            "iscrowd": 0,
            "score": round(self.score, 4),
        }
        if len(self.scores):
            found = self.scores >= MINIMUM_SCORE
            points = np.column_stack([self.keypoints, np.where(found, 2, 0)])
            annotation |= {
                "keypoints": [round(float(value), 2) for value in points.ravel()],
                "num_keypoints": int(found.sum()),
                "keypoint_scores": [round(float(score), 4) for score in self.scores],
            }
        return annotation


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

    def points(self, focal_length: float, near: float, far: float) -> np.ndarray:
        """H×W×3 float32 points in space seen by a pinhole camera with the image's centre as principal point; NaN where
        there is no depth.

        A guess, and it says so: the network gives relative depth, so the caller says how far the nearest and the
        farthest pixel are, in any unit, and everything else is laid between in proportion. focal_length: pixels of this
        image. Axes are those of the normals: +x right, +y up, +z towards the camera, which is at the origin.
        Raises ResultError unless 0 < near <= far and focal_length > 0.
        """
        if not (focal_length > 0 and 0 < near <= far < np.inf):
            raise ResultError(f"points need a focal length > 0 and 0 < near <= far, not {focal_length}, {near}, {far}")
        height, width = self.values.shape
        camera = PinholeCamera(focal_length, focal_length, (width - 1) / 2, (height - 1) / 2)
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        points = camera.unproject(pixels, near + (far - near) * self.normalized())
        return (points * [1, -1, -1]).astype(np.float32)


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
        return {task: self.overlay(task, threshold) for task in self.tasks()}

    def tasks(self) -> list[str]:
        """The tasks that were predicted, in the order of the overlays."""
        there = {
            "pose": self.keypoint_set is not None,
            "segmentation": self.parts is not None,
            "depth": self.depth is not None,
            "normals": self.normals is not None,
        }
        return [task for task, is_there in there.items() if is_there]

    def overlay(self, task: str, threshold: float = SCORE_THRESHOLD) -> np.ndarray:
        """One task over the photo, H×W×3 uint8 RGB. Raises ResultError for a task that was not predicted."""
        if task == "pose" and self.keypoint_set is not None:
            return self._draw_pose(self.keypoint_set, threshold)
        if task == "segmentation" and self.parts is not None:
            return drawing.draw_parts(self.image, self.parts.labels, self.parts.part_set)
        if task == "depth" and self.depth is not None:
            return drawing.draw_depth(self.image, self.depth.values)
        if task == "normals" and self.normals is not None:
            return drawing.draw_normals(self.image, self.normals.values)
        raise ResultError(f"nothing was predicted for {task}; there is {', '.join(self.tasks()) or 'nothing'}")

    def draw(self, tasks: Sequence[str] | None = None, threshold: float = SCORE_THRESHOLD) -> Image.Image:
        """A picture of the result, with .save(path).

        All tasks side by side under titles; with one task named, that overlay alone at the size of the photo.
        threshold: the least score of a point that is drawn. Raises ResultError for a task that was not predicted.
        """
        pictures = {task: self.overlay(task, threshold) for task in tasks or self.tasks()}
        if tasks and len(tasks) == 1:
            return Image.fromarray(pictures[tasks[0]])
        return Image.fromarray(self.sheet(pictures))

    def sheet(self, pictures: dict[str, np.ndarray]) -> np.ndarray:
        """The photo and overlays (as of overlays()) side by side under titles, with a legend of the parts."""
        count = len(self.persons)
        titled = [
            (f"photo: {'nobody found' if count == 0 else '1 person' if count == 1 else f'{count} people'}", self.image)
        ]
        for task, picture in pictures.items():
            titled.append((_TITLES[task], picture))
            if task == "segmentation" and self.parts is not None and self.parts.labels.any():
                present = np.bincount(self.parts.labels.ravel(), minlength=256).nonzero()[0].tolist()
                titled.append(("", drawing.legend(self.parts.part_set, present)))
        titles, images = zip(*titled, strict=True)
        height, width = self.image.shape[:2]
        return drawing.sheet(
            images, titles, height=min(max(height, 256), 640), columns=3 if width > 1.2 * height else None
        )

    def to_coco(self, name: str | None = None) -> dict[str, Any]:
        """The people as a COCO keypoint dictionary of this one image: images, annotations, categories."""
        height, width = self.image.shape[:2]
        file_name = self.source.name if self.source else name or "image"
        return {
            "images": [{"id": 1, "file_name": file_name, "width": width, "height": height}],
            "annotations": [person.to_coco(number, 1) for number, person in enumerate(self.persons, start=1)],
            "categories": [coco_category(self.keypoint_set)],
        }

    def save(self, folder: str | Path, name: str | None = None, table: TableKind | None = None) -> list[Path]:
        """Write everything into a folder (made if missing) and return the files written, each as other tools read it.

        name: how the files' names begin, by default the source's name without its ending, or "image". table: also the
        keypoints as a table.

        NAME_parts.png     indexed PNG: pixel = class id, palette = the part colours
        NAME_depth.png     16-bit PNG: 0 = nobody, 1 (nearest) … 65535 (farthest), linear between
        NAME_depth.npz     "depth" float32, the raw values, NaN where nobody is
        NAME_normals.npz   "normals" float16 unit vectors, NaN where nobody is
        NAME_normals.png   8-bit view of them, (n + 1) / 2
        NAME_pose.jpg, NAME_segmentation.jpg, …   one overlay per task; NAME_sheet.jpg   all of them on one sheet
        NAME_keypoints.csv or .parquet            one row per point
        NAME_keypoints.json   COCO keypoints with "keypoint_scores" and "person_id"; last, so that it says: all is there

        Only what was predicted is written. Raises OSError if the folder cannot be written.
        """
        folder = Path(folder)
        name = name or (self.source.stem if self.source else "image")
        written: list[Path] = []

        def path(ending: str) -> Path:
            written.append(folder / f"{name}_{ending}")
            return written[-1]

        with ThreadPoolExecutor() as pool:  # encoders work outside Python's lock, and are most of the time
            begun = self._begin_maps(pool, path)
            pictures = self.overlays()
            drawn = {**pictures, "sheet": self.sheet(pictures)}
            begun += [
                pool.submit(save_picture, path(f"{title}.jpg"), Image.fromarray(overlay), quality=92)
                for title, overlay in drawn.items()
            ]
        for one in begun:
            one.result()  # raises what went wrong there
        coco = self.to_coco(name)
        if table is not None:
            names = self.keypoint_set.names if self.keypoint_set else ()
            rows = table_rows(coco["annotations"], names, coco["images"][0]["file_name"], {1: (None, None)})
            save_table(path(f"keypoints.{table}"), [rows])
        write_json(path("keypoints.json"), coco, indent=None)
        return written

    def _begin_maps(self, pool: ThreadPoolExecutor, path: Callable[[str], Path]) -> list[Future]:
        """Begin to write the files of the maps; path: the ending of a name to the file."""
        begun: list[Future] = []
        if self.parts is not None:
            begun.append(pool.submit(save_parts, path("parts.png"), self.parts.labels, self.parts.part_set.colors))
        if self.depth is not None:
            picture = Image.fromarray(depth_to_16_bits(self.depth.normalized()))
            begun.append(pool.submit(save_picture, path("depth.png"), picture, compress_level=PNG_LEVEL))
            begun.append(pool.submit(save_arrays, path("depth.npz"), depth=self.depth.values))
        if self.normals is not None:
            halves = self.normals.values.astype(np.float16)
            begun.append(pool.submit(save_arrays, path("normals.npz"), normals=halves))
            picture = Image.fromarray(drawing.normal_colors(self.normals.values))
            begun.append(pool.submit(save_picture, path("normals.png"), picture, compress_level=PNG_LEVEL))
        return begun

    def save_maps(self, folder: Path, name: str, kind: MapKind) -> None:
        """Only the maps, as for every frame of a video, into a folder that is made if missing.

        png: NAME_parts.png (indexed), NAME_depth.png and NAME_normals.png (16 bits: see saving.normals_to_16_bits).
        npz: NAME.npz with "parts" uint8, "depth" float32, "normals" float16.
        """
        if kind == "npz":
            maps: dict[str, np.ndarray] = {}
            if self.parts is not None:
                maps["parts"] = self.parts.labels
            if self.depth is not None:
                maps["depth"] = self.depth.values
            if self.normals is not None:
                maps["normals"] = self.normals.values.astype(np.float16)
            save_arrays(folder / f"{name}.npz", **maps)
            return
        if self.parts is not None:
            save_parts(folder / f"{name}_parts.png", self.parts.labels, self.parts.part_set.colors)
        if self.depth is not None:
            save_picture(folder / f"{name}_depth.png", Image.fromarray(depth_to_16_bits(self.depth.normalized())))
        if self.normals is not None:
            save_rgb_16_bits(folder / f"{name}_normals.png", normals_to_16_bits(self.normals.values))

    def save_point_cloud(self, path: str | Path, focal_length: float, near: float, far: float) -> int:
        """The people as a coloured point cloud in a PLY file, with normals where they were predicted; returns how many
        points it has.

        The arguments, and what they assume, are those of Depth.points. Raises ResultError without depth.
        """
        if self.depth is None:
            raise ResultError("a point cloud needs depth, which was not predicted")
        points = self.depth.points(focal_length, near, far)
        there = np.isfinite(points).all(axis=-1)
        normals = None if self.normals is None else np.nan_to_num(self.normals.values[there])
        save_ply(Path(path), points[there], self.image[there], normals)
        return int(there.sum())

    def _draw_pose(self, keypoint_set: KeypointSet, threshold: float) -> np.ndarray:
        picture = self.image
        for person in self.persons:
            size = float((person.box[2:] - person.box[:2]).max())
            picture = drawing.draw_keypoints(picture, person.keypoints, person.scores, keypoint_set, threshold, size)
        return picture


def coco_category(keypoint_set: KeypointSet | None) -> dict[str, Any]:
    """COCO's category "person" with the names of the points, and the limbs counted from 1."""
    category: dict[str, Any] = {"id": 1, "name": "person", "supercategory": "person"}
    if keypoint_set is not None:
        category |= {"keypoints": list(keypoint_set.names), "skeleton": (keypoint_set.limbs + 1).tolist()}
    return category


_TITLES = {
    "pose": "pose",
    "segmentation": "body parts",
    "depth": "depth (near is bright)",
    "normals": "surface normals",
}
