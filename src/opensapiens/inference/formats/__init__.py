"""The files of results: a small file for each format, and the table of them."""

from collections.abc import Mapping, Sequence

from opensapiens.inference.formats.coco_json import COCO_JSON
from opensapiens.inference.formats.exr import EXR
from opensapiens.inference.formats.format import Format
from opensapiens.inference.formats.maps import NPZ, PNG
from opensapiens.inference.formats.openpose import OPENPOSE
from opensapiens.inference.formats.pictures import CUTOUT, OVERLAY, SHEET, VIDEOS
from opensapiens.inference.formats.point_cloud import GLB, PLY
from opensapiens.inference.formats.table import CSV, PARQUET
from opensapiens.inference.formats.trc import TRC
from opensapiens.inference.formats.wholebody import WHOLEBODY
from opensapiens.inference.options import CLOUDS, FormatName, OptionsError
from opensapiens.tasks.pointmap import PointmapTask

FORMATS: Mapping[FormatName, Format] = {
    "png": PNG,
    "npz": NPZ,
    "overlay": OVERLAY,
    "videos": VIDEOS,
    "sheet": SHEET,
    "cutout": CUTOUT,
    "exr": EXR,
    "ply": PLY,
    "glb": GLB,
    "csv": CSV,
    "parquet": PARQUET,
    "trc": TRC,
    "openpose": OPENPOSE,
    "wholebody": WHOLEBODY,
    "json": COCO_JSON,
}
"""In the order in which files are written; the JSON comes last, so that it says: all is there."""


def formats_of(names: Sequence[FormatName]) -> list[Format]:
    """The formats of these names, in the order of the table. Raises OptionsError for a name that is not in it."""
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise OptionsError(f"{unknown[0]} is no format; there are {', '.join(FORMATS)}")
    return [known for name, known in FORMATS.items() if name in names]


def check_formats(
    names: Sequence[FormatName],
    tasks: Sequence[str],
    point_cloud: tuple[float, float, float] | None = None,
    of_photo: bool = False,
) -> None:
    """Raises OptionsError for a format that needs what none of the tasks predicts, or the numbers of a point cloud, and
    ModuleNotFoundError for one that needs a library which is not installed. of_photo: also an OptionsError for a format
    of videos alone. "default" is always there."""
    for name in names:
        if name == "default":
            continue
        wanted = formats_of([name])[0]
        if of_photo and wanted.photo is None:
            raise OptionsError(f"the format {name} is of videos alone")
        if wanted.needs and not set(wanted.needs) & set(tasks):
            given = f"the model predicts {', '.join(tasks)}" if tasks else "the model has no heads"
            raise OptionsError(f"the format {name} needs {' or '.join(wanted.needs)}; {given}")
        if name in CLOUDS and point_cloud is None and PointmapTask.name not in tasks:
            raise OptionsError(f"the format {name} needs --point-cloud FOCAL NEAR FAR, since depth is relative")
        if wanted.library is not None:
            wanted.library()
