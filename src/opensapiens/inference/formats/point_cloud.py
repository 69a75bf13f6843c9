"""`ply` and `glb`: the people as a colored cloud of points, one per pixel with depth; GLB is written by trimesh."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from opensapiens.inference.formats.format import Files, Format, Photo, missing_library
from opensapiens.storage.files import write_bytes
from opensapiens.tasks.depth import DepthTask
from opensapiens.tasks.pointmap import PointmapTask

NEEDS = (DepthTask.name, PointmapTask.name)


def _trimesh() -> ModuleType:
    try:
        import trimesh
    except ModuleNotFoundError as error:
        raise missing_library("trimesh", "GLB files", error) from error
    return trimesh


def save_cloud(path: Path, points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None = None) -> None:
    """Points (N×3 float) with RGB colors (N×3 uint8), and in PLY with normals where given, as .ply or .glb.

    Raises ModuleNotFoundError for GLB without trimesh.
    """
    if path.suffix == ".ply":
        write_bytes(path, _ply(points, colors, normals))
    else:
        cloud = _trimesh().PointCloud(points, colors)
        write_bytes(path, cloud.export(file_type="glb"))


def _ply(points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None) -> bytes:
    """Binary PLY, little endian."""
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    columns = [points]
    if normals is not None:
        fields += [("nx", "<f4"), ("ny", "<f4"), ("nz", "<f4")]
        columns.append(normals)
    fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    columns.append(colors)
    vertices = np.empty(len(points), dtype=fields)
    for (name, _), values in zip(fields, np.concatenate([column.T for column in columns]), strict=True):
        vertices[name] = values
    properties = [f"property {'uchar' if kind == 'u1' else 'float'} {name}" for name, kind in fields]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *properties, "end_header", ""]
    return "\n".join(header).encode("ascii") + vertices.tobytes()


def _of_photo(kind: str, photo: Photo) -> Files:
    numbers = photo.point_cloud if photo.result.points is None and photo.point_cloud is not None else ()

    def write(path: Path) -> None:
        photo.result.save_point_cloud(path, *numbers)

    return {f"points.{kind}": write}


PLY = Format(partial(_of_photo, "ply"), needs=NEEDS, endings=("points.ply",))
GLB = Format(partial(_of_photo, "glb"), needs=NEEDS, endings=("points.glb",), library=_trimesh)
