"""`png` and `npz`: the maps of dense tasks, exact, as each task writes them (`TaskMap.files`)."""

from __future__ import annotations

from opensapiens.inference.formats.format import Files, Format, Frame, Photo
from opensapiens.inference.results import Result
from opensapiens.tasks.saving import npz

FOLDER = "maps"


def _png_of_photo(photo: Photo) -> Files:
    return {ending: write for ending, write in _files(photo.result).items() if ending.endswith(".png")}


def _npz_of_photo(photo: Photo) -> Files:
    """Also any other files that a task has."""
    return {ending: write for ending, write in _files(photo.result).items() if not ending.endswith(".png")}


def _files(result: Result) -> Files:
    return {ending: write for task_map in result.maps.values() for ending, write in task_map.files().items()}


def _png_of_frame(frame: Frame) -> Files:
    return {
        f"{frame.number:06d}_{ending}": write
        for task_map in frame.result.maps.values()
        for ending, write in task_map.frame_files().items()
    }


def _npz_of_frame(frame: Frame) -> Files:
    arrays = {key: array for task_map in frame.result.maps.values() for key, array in task_map.arrays().items()}
    return {f"{frame.number:06d}.npz": npz(**arrays)} if arrays else {}


PNG = Format(_png_of_photo, _png_of_frame, folder=FOLDER, inside=r"\d{6}_\w+\.png")
NPZ = Format(_npz_of_photo, _npz_of_frame, folder=FOLDER, inside=r"\d{6}\.npz")
