"""Reads scans of people (textured meshes) from untrusted files."""

import contextlib
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from opensapiens.storage.files import check_regular_file, read_regular_file
from opensapiens.storage.json_files import read_json
from opensapiens.storage.pictures import limited_formats

ENDINGS = (".glb", ".gltf", ".obj", ".ply")
MAX_BYTES = 1 << 30
"""Limit for one file: the scan, or a buffer or texture that it refers to."""
MAX_TRIANGLES = 4_000_000
KEPT_TEXTURE_SIDE = 4096
"""Larger textures are halved until they fit; this is more than a 4K frame shows of a person."""
PLAIN_GRAY = np.array([0.5, 0.5, 0.5])


class ScanError(ValueError):
    """A scan that cannot be used; the message says which and why."""


@dataclass(frozen=True, eq=False)
class ScanPiece:
    """A mesh with one material: vertices (V, 3) and normals (V, 3) float32, triangles (T, 3), uv (V, 2) float32,
    colors (V, 3) linear colors that replace the material's, or None; tint (3,) linear, multiplies the texture; texture
    (H, W, 3) uint8 sRGB or None."""

    vertices: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    colors: np.ndarray | None
    tint: np.ndarray
    texture: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Scan:
    """A person: pieces in meters, z up, standing on z = 0 and centered on the origin."""

    name: str
    pieces: tuple[ScanPiece, ...]


def find_scans(folder: Path | str) -> tuple[Path, ...]:
    """The scans of a folder and its subfolders. Raises ScanError when there is none."""
    paths = tuple(sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in ENDINGS))
    if not paths:
        raise ScanError(f"{folder}: no scan here ({', '.join(ENDINGS)})")
    return paths


def read_scan(path: Path | str) -> Scan:
    """Reads a GLB, glTF, OBJ or PLY file with its textures, from its own folder or below and nowhere else.

    glTF is in meters with y up, by its standard. For the others, z is up if the body is longer along z than along y; a
    height of 30 to 300 is taken for centimeters, of 300 to 3000 for millimeters, and any other outside 0.3 to 3 is set
    to 1.7 meters.

    Raises:
        ScanError: a file that is missing, damaged, of another kind, too large (MAX_BYTES, MAX_TRIANGLES), without
            triangles, with a texture that read_image would not take, or that refers to files elsewhere.
        ModuleNotFoundError: without the extra "synthetic".
    """
    import trimesh

    path = Path(path)
    try:
        _check_claims(path)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            kind = path.suffix.lower().lstrip(".")
            resolver = _bounded_resolver(path)
            refused = stack.enter_context(limited_formats())
            scene = trimesh.load_scene(file, file_type=kind, resolver=resolver, process=False)
        if refused := resolver.refused + refused:
            raise ScanError(f"{path}: {'; '.join(refused)}")
        named = [(scene.geometry[name], matrix) for matrix, name in _placed(scene)]
        triangles = sum(len(mesh.faces) for mesh, _ in named)
        if not 0 < triangles <= MAX_TRIANGLES:
            raise ScanError(f"{path}: {triangles} triangles; between 1 and {MAX_TRIANGLES} can be rendered")
        pieces = [_piece(mesh, matrix) for mesh, matrix in named]
        return Scan(path.name, tuple(_upright(pieces, gltf=path.suffix.lower() in (".glb", ".gltf"))))
    except ScanError:
        raise
    except Exception as error:  # the readers raise anything for a damaged file
        raise ScanError(f"{path}: cannot be read as a scan ({type(error).__name__}: {error})") from error


def _placed(scene: Any) -> list[tuple[np.ndarray, str]]:
    """(matrix (4, 4), geometry name) of each occurrence of a triangle mesh in a scene."""
    placed = [scene.graph[node] for node in scene.graph.nodes_geometry]
    return [(matrix, name) for matrix, name in placed if hasattr(scene.geometry[name], "faces")]


def _bounded_resolver(path: Path) -> Any:
    """A resolver of the files that a scan refers to: trimesh's own, which stays in the folder, with a size limit and
    a list of the files it refused, since readers continue without a texture that they cannot get."""
    from trimesh.resolvers import FilePathResolver

    class BoundedResolver(FilePathResolver):
        refused: list[str]

        def absolute(self, name: str) -> Path:
            path = super().absolute(name)
            if path.exists():
                check_regular_file(path, MAX_BYTES)
            return path

        def get(self, name: str) -> bytes:
            try:
                return super().get(name)
            except Exception as error:
                self.refused.append(f"it refers to {name!r}, which cannot be read ({error})")
                raise

    resolver = BoundedResolver(str(path))
    resolver.refused = []
    return resolver


def _check_claims(path: Path) -> None:
    """Refuses files whose headers claim more than can be there, before a reader allocates memory for it.

    Raises ScanError for those, and anything for a damaged header.
    """
    check_regular_file(path, MAX_BYTES)
    if path.suffix.lower() == ".ply":
        with open(path, "rb") as file:
            lines = file.read(1 << 16).split(b"end_header")[0].splitlines()
        elements = [words for line in lines if len(words := line.split()) == 3 and words[0] == b"element"]
        claimed, size = sum(int(words[2]) for words in elements if words[2].isdigit()), path.stat().st_size
        if claimed > size:  # each takes at least one byte
            raise ScanError(f"{path}: its header claims {claimed} elements in {size} bytes")
    if path.suffix.lower() in (".glb", ".gltf"):
        header = read_json(_gltf_header(path), str(path), MAX_BYTES)
        counts = [int(accessor["count"]) for accessor in header.get("accessors", ())]
        if any(not 0 <= count <= 3 * MAX_TRIANGLES for count in counts) or sum(counts) > 32 * MAX_TRIANGLES:
            raise ScanError(f"{path}: its header claims more numbers than {MAX_TRIANGLES} triangles have")
        packed = {"KHR_draco_mesh_compression", "EXT_meshopt_compression"} & set(header.get("extensionsRequired", ()))
        if packed:
            raise ScanError(f"{path}: compressed geometry ({', '.join(sorted(packed))}); decompress it first")


def _gltf_header(path: Path) -> bytes:
    """The JSON of a glTF file."""
    data = read_regular_file(path, MAX_BYTES)
    if path.suffix.lower() == ".gltf":
        return data
    magic, _, _, length, kind = struct.unpack("<4sIII4s", data[:20])
    if magic != b"glTF" or kind != b"JSON" or length > len(data):
        raise ValueError("no GLB header")
    return data[20 : 20 + length]


def _piece(mesh: Any, matrix: np.ndarray) -> ScanPiece:
    vertices = np.asarray(mesh.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    triangles = np.asarray(mesh.faces, np.int64)
    if not np.isfinite(vertices).all() or triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError("a vertex is not finite, or a triangle refers to a vertex that does not exist")
    if np.linalg.det(matrix[:3, :3]) < 0:
        triangles = triangles[:, ::-1]
    uv, colors, tint, texture = _look(mesh.visual, len(vertices))
    normals = _smooth_normals(vertices, triangles)
    return ScanPiece(vertices.astype(np.float32), normals, triangles, uv, colors, tint, texture)


def _look(visual: Any, count: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray | None]:
    """uv, vertex colors, tint and texture of a trimesh visual."""
    uv = getattr(visual, "uv", None)
    material = getattr(visual, "material", None)
    image = None if uv is None else getattr(material, "baseColorTexture", getattr(material, "image", None))
    if image is not None and uv is not None:
        factor = getattr(material, "baseColorFactor", None)
        tint = np.ones(3) if factor is None else _linear(np.asarray(factor)[:3])
        return np.asarray(uv, np.float32)[:, :2], None, tint, _texture(image)
    if getattr(visual, "kind", None) in ("vertex", "face"):
        colors = visual.vertex_colors
    else:
        colors = getattr(visual, "vertex_attributes", {}).get("color")
    tint = PLAIN_GRAY if material is None else _linear(np.asarray(material.main_color)[:3])
    fits = colors is not None and len(colors) == count
    return np.zeros((count, 2), np.float32), _linear(np.asarray(colors)[:, :3]) if fits else None, tint, None


def _linear(color: np.ndarray) -> np.ndarray:
    """sRGB colors, 0 to 255 if they are integers and 0 to 1 otherwise, as linear colors."""
    share = color / 255.0 if np.issubdtype(color.dtype, np.integer) else color.astype(np.float64)
    return np.clip(share, 0, 1) ** 2.2


def _texture(image: Any) -> np.ndarray:
    texture = np.asarray(image.convert("RGB"))  # opacity is ignored: people are not transparent
    while max(texture.shape[:2]) > KEPT_TEXTURE_SIDE:
        texture = halved(texture)
    return texture


def halved(texture: np.ndarray) -> np.ndarray:
    """A texture at half its size, each pixel the mean of four."""
    height, width = texture.shape[:2]
    return cv2.resize(texture, (max(width // 2, 1), max(height // 2, 1)), interpolation=cv2.INTER_AREA)


def _smooth_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32; vertices at the same position share theirs, so that texture seams do not show."""
    positions, index = np.unique(vertices, axis=0, return_inverse=True)
    index = index.reshape(-1)
    merged = index[triangles]
    corners = positions[merged]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = [sum(np.bincount(merged[:, c], faces[:, axis], len(positions)) for c in range(3)) for axis in range(3)]
    normals = np.stack(sums, 1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return normals[index].astype(np.float32)


def _upright(pieces: list[ScanPiece], gltf: bool) -> list[ScanPiece]:
    """Pieces turned z up, in meters, standing on the floor."""
    points = np.concatenate([piece.vertices for piece in pieces])
    extent = np.ptp(points, axis=0)
    turn = np.eye(3) if not gltf and extent[2] > extent[1] else np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    points = points @ turn.T
    height = float(np.ptp(points[:, 2]))
    if height <= 0:
        raise ValueError("the mesh is flat")
    scale = next((s for s in (1.0, 0.01, 0.001) if 0.3 <= height * s <= 3.0), 1.7 / height)
    low, high = points.min(0) * scale, points.max(0) * scale
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    return [
        replace(
            piece,
            vertices=(piece.vertices @ turn.T * scale - shift).astype(np.float32),
            normals=(piece.normals @ turn.T).astype(np.float32),
        )
        for piece in pieces
    ]
