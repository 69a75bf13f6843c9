"""The result of a prediction: people with points and masks, and maps of the whole image."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from opensapiens import drawing
from opensapiens.data.coco import coco_category, coco_person
from opensapiens.inference.options import OF_PHOTOS, FormatName, resolved
from opensapiens.labels.keypoints import KeypointSet
from opensapiens.tasks.albedo import AlbedoMap, AlbedoTask
from opensapiens.tasks.depth import DepthMap, DepthTask
from opensapiens.tasks.matting import Matte, MattingTask
from opensapiens.tasks.normals import NormalMap, NormalsTask
from opensapiens.tasks.pointmap import PointMap, PointmapTask
from opensapiens.tasks.pose import PoseTask, draw_people
from opensapiens.tasks.segmentation import PartMap, SegmentationTask
from opensapiens.tasks.task import TaskMap

SCORE_THRESHOLD = 0.3  # as in the published demos: points below it are not drawn
MINIMUM_SCORE = 0.05  # a point below it is written with visibility 0, COCO's value for a point that was not found

NOTEBOOK_SIDE = 1600  # pixels; a notebook stores what it shows


class ResultError(ValueError):
    """Something was asked of a result that it does not have."""


@dataclass(eq=False)
class Person:
    """One person.

    id: 1, 2, … in the order of the boxes; in a video the same person keeps it from frame to frame.
    box: (4,) float32 xyxy pixels. score: of the detection, 0–1 (1 for a box that the caller gave).
    mask: H×W bool, the person's own part map, or the box where no model with a segmentation head was loaded.
    keypoints: K×2 float32 pixels (x, y), scores: K heatmap maxima, names: K. All empty if no model with a pose head was
    loaded.
    """

    id: int
    box: np.ndarray
    score: float
    mask: np.ndarray
    keypoints: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.float32))
    scores: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    names: tuple[str, ...] = ()

    @property
    def hidden(self) -> bool:
        """Whether there are keypoints, and an overlay shows none of them: all score below SCORE_THRESHOLD."""
        return len(self.scores) > 0 and not (self.scores >= SCORE_THRESHOLD).any()

    def to_coco(self, annotation_id: int, image_id: int) -> dict[str, Any]:
        """COCO annotation with the person's id as "person_id"; points are x, y, v with v 2 where found and 0 where not.

        Scores of the points are in "keypoint_scores". Without a pose head it has a box only.
        """
        ids = {"id": annotation_id, "image_id": image_id, "category_id": 1, "person_id": self.id}
        area = int(self.mask.sum())
        if not len(self.scores):
            return ids | coco_person(self.box, area, score=self.score, digits=2)
        points = np.column_stack([self.keypoints, np.where(self.scores >= MINIMUM_SCORE, 2, 0)])
        return ids | coco_person(self.box, area, points, self.scores, score=self.score, digits=2)


@dataclass(eq=False, repr=False)
class Result:
    """Everything that was predicted for one image.

    image: H×W×3 uint8 RGB as it was decoded. maps: of every dense task that was predicted, by its name; titles: of the
    pictures of them. keypoint_set: None if no model with a pose head was loaded. source: the file it came
    from, if it came from one. detector: the name of what found the people; None for boxes that were given.
    """

    image: np.ndarray
    persons: list[Person] = field(default_factory=list)
    maps: dict[str, TaskMap] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    keypoint_set: KeypointSet | None = None
    source: Path | None = None
    detector: str | None = None

    @property
    def parts(self) -> PartMap | None:
        """Body parts; None if no model with that head was loaded."""
        return self.maps.get(SegmentationTask.name)  # type: ignore[return-value]

    @property
    def depth(self) -> DepthMap | None:
        """Relative depth, or of a model with a pointmap head metric depth; None if neither was loaded."""
        relative: DepthMap | None = self.maps.get(DepthTask.name)  # type: ignore[assignment]
        return self.points.depth() if relative is None and self.points is not None else relative

    @property
    def points(self) -> PointMap | None:
        """Points in space in meters; None if no model with a pointmap head was loaded."""
        return self.maps.get(PointmapTask.name)  # type: ignore[return-value]

    @property
    def matte(self) -> Matte | None:
        """The cut-out; None if no model with a matting head was loaded."""
        return self.maps.get(MattingTask.name)  # type: ignore[return-value]

    @property
    def albedo(self) -> AlbedoMap | None:
        """Colors without light; None if no model with that head was loaded."""
        return self.maps.get(AlbedoTask.name)  # type: ignore[return-value]

    @property
    def normals(self) -> NormalMap | None:
        """Surface normals; None if no model with that head was loaded."""
        return self.maps.get(NormalsTask.name)  # type: ignore[return-value]

    def __repr__(self) -> str:
        """One line: the size of the image, how many people, which tasks."""
        height, width = self.image.shape[:2]
        return f"Result({width}×{height}, {people_in_words(len(self.persons))}: {', '.join(self.tasks()) or 'boxes'})"

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the sheet of all tasks, scaled down to NOTEBOOK_SIDE pixels."""
        picture, content = self.draw(), BytesIO()
        picture.thumbnail((NOTEBOOK_SIDE, NOTEBOOK_SIDE))
        picture.save(content, "PNG")
        return content.getvalue()

    def show(self, tasks: Sequence[str] | None = None, threshold: float = SCORE_THRESHOLD) -> None:
        """Show `draw(tasks, threshold)`: in a notebook under the cell, elsewhere in the system's viewer of pictures.

        Raises ResultError for a task that was not predicted.
        """
        picture = self.draw(tasks, threshold)
        notebook = sys.modules.get("IPython")  # loaded where there is one
        if notebook is not None and notebook.get_ipython() is not None:
            notebook.display.display(picture)
        else:
            picture.show()

    def overlays(self, threshold: float = SCORE_THRESHOLD) -> dict[str, np.ndarray]:
        """One H×W×3 uint8 RGB picture per task that was predicted."""
        return {task: self.overlay(task, threshold) for task in self.tasks()}

    def tasks(self) -> list[str]:
        """The tasks that were predicted, in the order of the overlays."""
        return [*([] if self.keypoint_set is None else [PoseTask.name]), *self.maps]

    def overlay(self, task: str, threshold: float = SCORE_THRESHOLD) -> np.ndarray:
        """One task over the photo, H×W×3 uint8 RGB. Raises ResultError for a task that was not predicted."""
        if task in self.maps:
            return self.maps[task].draw(self.image)
        if task == PoseTask.name and self.keypoint_set is not None:
            return draw_people(self.image, self.persons, self.keypoint_set, threshold)
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
        """The photo and its overlays side by side under titles, with the legends of the maps."""
        titled = [(f"photo: {people_in_words(len(self.persons))}", self.image)]
        for task, picture in pictures.items():
            titled.append((self.titles.get(task, PoseTask.title), picture))
            legend = self.maps[task].legend() if task in self.maps else None
            if legend is not None:
                titled.append(("", legend))
        titles, images = zip(*titled, strict=True)
        height, width = self.image.shape[:2]
        return drawing.sheet(
            images, titles, height=min(max(height, 256), 640), columns=3 if width > 1.2 * height else None
        )

    def to_coco(self, file_name: str | None = None) -> dict[str, Any]:
        """The people as a COCO keypoint dictionary of this one image: images, annotations, categories.

        file_name: of the image; by default the source's name, or "image".
        """
        height, width = self.image.shape[:2]
        file_name = file_name or (self.source.name if self.source else "image")
        return {
            **({} if self.detector is None else {"info": {"detector": self.detector}}),
            "images": [{"id": 1, "file_name": file_name, "width": width, "height": height}],
            "annotations": [person.to_coco(number, 1) for number, person in enumerate(self.persons, start=1)],
            "categories": [coco_category(self.keypoint_set)],
        }

    def save(
        self,
        folder: str | Path,
        name: str | None = None,
        formats: Sequence[FormatName] = (),
        file_name: str | None = None,
        point_cloud: tuple[float, float, float] | None = None,
    ) -> list[Path]:
        """Write files into a folder (made if missing) and return those written, each as other tools read it.

        name: how the files' names begin, by default the source's name without its ending, or "image". formats: by
        default json, png, npz, overlay and sheet; a list replaces them, unless "default" is in it; docs/formats.md
        says what each holds. file_name: what files call the image, by default the source's name, or `name`.
        point_cloud: focal length in pixels and distances of the nearest and the farthest point, for ply and glb of
        relative depth.

        NAME_parts.png     indexed PNG: pixel = class id, palette = the part colors
        NAME_depth.png     16-bit PNG: 0 = nobody, 1 (nearest) … 65535 (farthest), linear between
        NAME_depth.npz     "depth" float32, the raw values, NaN where nobody is
        NAME_normals.npz   "normals" float16 unit vectors, NaN where nobody is
        NAME_normals.png   8-bit view of them, (n + 1) / 2
        NAME_points.npz    "points" float32 meters, x right, y down, z forward, and "camera", see PointMap.files
        NAME_points.png    16-bit PNG: the distances in millimeters, 0 = nobody
        NAME_cutout.png    8-bit RGBA; NAME_alpha.png   16-bit PNG, 65535 = all of the pixel is the person
        NAME_albedo.png    8-bit RGB; NAME_albedo.npz   "albedo" float16 from 0 to 1, NaN where nobody is
        NAME_pose.jpg, NAME_segmentation.jpg, …   one overlay per task; NAME_sheet.jpg   all of them on one sheet
        NAME_keypoints.json   COCO keypoints with "keypoint_scores" and "person_id"; last, so that it says: all is there

        Only what was predicted is written. Raises OptionsError for a format of videos or one that needs another task,
        ModuleNotFoundError for one whose library is not installed, OSError if the folder cannot be written.
        """
        # Formats are of results, so they import this module.
        from opensapiens.inference.formats import check_formats, formats_of
        from opensapiens.inference.formats.format import Photo

        check_formats(formats, self.tasks(), point_cloud, of_photo=True)
        chosen = formats_of(resolved(formats, OF_PHOTOS))
        name = name or (self.source.stem if self.source else "image")
        photo = Photo(self, file_name or (self.source.name if self.source else name), point_cloud)
        *others, last = [one.photo(photo) for one in chosen if one.photo is not None] or [{}]
        files = {Path(folder) / f"{name}_{ending}": write for some in others for ending, write in some.items()}
        with ThreadPoolExecutor() as pool:  # encoders release Python's lock, and take most of the time
            futures = [pool.submit(write, path) for path, write in files.items()]
        for future in futures:
            future.result()  # raises its error
        for ending, write in last.items():
            files[Path(folder) / f"{name}_{ending}"] = write
            write(Path(folder) / f"{name}_{ending}")
        return list(files)

    def save_point_cloud(
        self, path: str | Path, focal_length: float | None = None, near: float | None = None, far: float | None = None
    ) -> int:
        """The people as a colored point cloud in a .ply file, with normals where they were predicted, or a .glb file;
        returns the number of points.

        Points of a pointmap need no more; relative depth needs all of the arguments of DepthMap.points. Axes are those
        of the normals. Raises ResultError without either, for arguments that are missing or not needed, for impossible
        distances, and for another ending.
        """
        from opensapiens.inference.formats.point_cloud import save_cloud

        if Path(path).suffix not in (".ply", ".glb"):
            raise ResultError(f"{path}: a point cloud is a file .ply or .glb")
        points = self._cloud(focal_length, near, far)
        known = np.isfinite(points).all(axis=-1)
        normals = None if self.normals is None else np.nan_to_num(self.normals.values[known])
        save_cloud(Path(path), points[known], self.image[known], normals)
        return int(known.sum())

    def _cloud(self, focal_length: float | None, near: float | None, far: float | None) -> np.ndarray:
        """H×W×3 float32, x right, y up, z towards the camera; NaN where there is nothing."""
        if self.points is not None:
            if (focal_length, near, far) != (None, None, None):
                raise ResultError("the points are known: leave focal length and distances away")
            return self.points.values * np.array([1, -1, -1], np.float32)
        if self.depth is None:
            raise ResultError("a point cloud needs depth or points, which were not predicted")
        if focal_length is None or near is None or far is None:
            raise ResultError("depth is relative: a point cloud needs a focal length and two distances")
        try:
            return self.depth.points(focal_length, near, far)
        except ValueError as error:
            raise ResultError(str(error)) from error


def people_in_words(count: int) -> str:
    """ "nobody found", "1 person", "2 people"."""
    return "nobody found" if count == 0 else "1 person" if count == 1 else f"{count} people"
