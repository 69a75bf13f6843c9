"""Pictures to look at: `overlay`, one per task, of videos one with people's numbers and boxes; `sheet`, all tasks on
one; `videos`, a video of each map alone; and `cutout`, the people without what is behind them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from opensapiens.drawing import draw_tags, side_by_side
from opensapiens.inference.formats.format import Files, Format, Frame, Photo
from opensapiens.inference.options import SIDE_BY_SIDE
from opensapiens.inference.results import Result
from opensapiens.inference.saving import save_overlay
from opensapiens.tasks.matting import MattingTask
from opensapiens.tasks.pose import PoseTask
from opensapiens.tasks.saving import PNG_LEVEL, save_picture
from opensapiens.tasks.segmentation import SegmentationTask

WIDEST_VIDEO = 3840  # pixels, of panels beside each other


def _overlays(photo: Photo) -> Files:
    return {f"{task}.jpg": partial(save_overlay, picture=picture) for task, picture in photo.overlays.items()}


def frame_picture(result: Result, names: tuple[str, ...]) -> np.ndarray:
    """A frame with tasks drawn over it, maps first and the pose on top, or in panels, and everybody's number and box.

    names: of tasks and perhaps SIDE_BY_SIDE; without tasks the first, side by side all of them.
    """
    beside = SIDE_BY_SIDE in names
    tasks = [name for name in names if name != SIDE_BY_SIDE] or result.tasks()[: None if beside else 1]
    tags = [(person.id, person.box) for person in result.persons]
    if not beside:
        drawn = result
        for task in sorted(tasks, key=lambda task: task == PoseTask.name):
            drawn = replace(drawn, image=drawn.overlay(task))
        return draw_tags(drawn.image, tags)
    panels = [result.overlay(task) for task in tasks]
    if len(panels) == 1:
        panels.insert(0, result.image)
    return side_by_side([draw_tags(panel, tags) for panel in panels], WIDEST_VIDEO)


def _overlay_of_frame(frame: Frame) -> dict[str, np.ndarray]:
    return {"overlay": frame_picture(frame.result, frame.overlay)}


def _maps_of_frame(frame: Frame) -> dict[str, np.ndarray]:
    """The maps in their colors, on black."""
    black = np.zeros_like(frame.result.image)
    return {task: task_map.draw(black) for task, task_map in frame.result.maps.items()}


def _sheet(photo: Photo) -> Files:
    return {"sheet.jpg": lambda path: save_overlay(path, photo.result.sheet(photo.overlays))}


def _cutout(photo: Photo) -> Files:
    """The matte if there is one, else the photo with the people's masks as its alpha channel (straight alpha)."""
    if photo.result.matte is not None:
        return {"cutout.png": photo.result.matte.files()["cutout.png"]}

    def write(path: Path) -> None:
        anybody = np.zeros(photo.result.image.shape[:2], bool)
        for person in photo.result.persons:
            anybody |= person.mask
        pixels = np.dstack([photo.result.image, anybody.astype(np.uint8) * 255])
        save_picture(path, Image.fromarray(pixels, "RGBA"), compress_level=PNG_LEVEL)

    return {"cutout.png": write}


OVERLAY = Format(_overlays, pictures=_overlay_of_frame, endings=("overlay.mp4",))
VIDEOS = Format(pictures=_maps_of_frame)
SHEET = Format(_sheet, endings=("sheet.jpg",))
CUTOUT = Format(_cutout, needs=(MattingTask.name, SegmentationTask.name), endings=("cutout.png",))
