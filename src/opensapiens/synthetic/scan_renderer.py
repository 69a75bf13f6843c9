"""Renders frames of scanned people with random light, focal length, rotation and translation, as in the paper."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from opensapiens.data.order import sample_index
from opensapiens.synthetic.backdrop import draw_backdrop
from opensapiens.synthetic.camera import Subject, bounds, draw_camera
from opensapiens.synthetic.environment import Backdrop, Surroundings
from opensapiens.synthetic.frame import Frame, person_record, photograph
from opensapiens.synthetic.materials import IMAGE, Material
from opensapiens.synthetic.places import draw_place
from opensapiens.synthetic.rasterizer import Camera, Materials
from opensapiens.synthetic.rotations import UP, rotation_about
from opensapiens.synthetic.scan_files import Scan, ScanPiece, halved, read_scan
from opensapiens.synthetic.scene import Scene, merge
from opensapiens.synthetic.style import FRAMES_PER_BATCH, Style
from opensapiens.synthetic.surfaces import FAR, Surface
from opensapiens.synthetic.things import things_in_front

COARSEST = 8
"""Textures are halved at most this many times."""


class ScanRenderer:
    """Renders scans from files.

    A scan is seen from FRAMES_PER_BATCH sides in a row, and every scan has its turn before the first comes again.
    Image, instances, depth and normals are known for scans; points and parts are not and are left out.
    """

    def __init__(self, paths: Sequence[Path], surroundings: Surroundings | None = None) -> None:
        self.paths = list(paths)
        self.surroundings = surroundings

    def frames(self, seed: int, first: int, count: int, style: Style) -> Iterator[Frame]:
        """Frames first .. first + count - 1 of a seed. Raises ScanError if a file has changed and cannot be read."""
        for index in range(first, first + count):
            rng = np.random.default_rng([seed, index])
            prepared = _prepare(self.paths[sample_index(index // FRAMES_PER_BATCH, len(self.paths), seed)])
            yield self._frame(rng, [seed, index], prepared, style)

    def _frame(self, rng: np.random.Generator, numbers: list[int], prepared: "_Prepared", style: Style) -> Frame:
        yaw = float(rng.uniform(-180, 180))
        turned = [_turned(surface, yaw) for surface in prepared.surfaces]
        body = np.concatenate([surface.vertices for surface in turned])
        camera = draw_camera(rng, style, _subject(body))
        low, high = bounds(body)
        distance = float(np.linalg.norm(camera.position[:2]))
        place = draw_place(rng, camera, float(high[1]), float(max(-low[0], high[0])), distance, surrounded=True)
        surfaces = [(surface, 1) for surface in turned]
        surfaces += [(thing, 0) for thing in things_in_front(rng, style, camera, body, body.mean(0))]
        mesh, materials = merge(surfaces, place.floor)
        materials = prepared.seen_from(camera, body, materials)
        scene = Scene(mesh, materials, camera, place.light, place, body[None])
        if self.surroundings is None:
            backdrop: Backdrop | None = Backdrop(draw_backdrop(rng, style.size), linear=False)
        else:
            light, backdrop = self.surroundings.draw(np.random.default_rng([*numbers, 1]), camera)
            scene = replace(scene, light=light or scene.light)
        frame, rendering = photograph(rng, scene, backdrop, parts_known=False)
        mask, details = frame.instances == 1, {"scan": prepared.name}
        record = person_record(1, mask, rendering, camera, body[::5], None, yaw, details)
        frame.record["persons"] = [] if record is None else [record]
        frame.record["camera"] |= camera.pose()
        return frame


class _Prepared:
    """A scan as surfaces whose textures are pages of one atlas, kept as a mipmap."""

    def __init__(self, scan: Scan) -> None:
        self.name = scan.name
        self.surfaces: list[Surface] = []
        pages: list[np.ndarray] = []
        top, texels, area, least = 0, 0.0, 0.0, 2**COARSEST
        for piece in scan.pieces:
            look = Material(piece.tint, piece.tint, gloss=0.03)
            if piece.texture is not None:
                height, width = piece.texture.shape[:2]
                look = Material(piece.tint, piece.tint, IMAGE, 1.0, 0.0, (0, top, width, height))
                pages.append(_padded(piece.texture))
                top += pages[-1].shape[0]
                texels += _area(piece.uv * [width, height], piece.triangles)
                area += _area(piece.vertices, piece.triangles)
                least = min(least, width, height)
            self.surfaces.append(_surface(piece, look))
        self.texels_per_meter = float(np.sqrt(texels / max(area, 1e-9)))
        self.atlases: list[np.ndarray] = []
        if pages:
            width = max(page.shape[1] for page in pages)
            pages = [np.pad(page, ((0, 0), (0, width - page.shape[1]), (0, 0)), mode="edge") for page in pages]
            self.atlases.append(np.concatenate(pages))
            for _ in range(int(np.log2(least))):
                self.atlases.append(halved(self.atlases[-1]))

    def seen_from(self, camera: Camera, body: np.ndarray, materials: Materials) -> Materials:
        """The materials with the atlas level whose texels are about the size of a pixel at the nearest point."""
        if not self.atlases:
            return materials
        x, y, depth = camera.project(body[::17]).T
        inside = (depth > 0.1) & (x > 0) & (y > 0) & (x < camera.size[1]) & (y < camera.size[0])
        meters_per_pixel = float(depth[inside].min()) / camera.focal if inside.any() else 0.0
        level = int(np.log2(max(self.texels_per_meter * meters_per_pixel, 1.0)))
        level = min(level, len(self.atlases) - 1)
        halved_pages = [
            replace(material, page=tuple(side / 2**level for side in material.page)) for material in materials.materials
        ]
        return Materials(halved_pages, self.atlases[level])


def _padded(texture: np.ndarray) -> np.ndarray:
    """A texture padded with its edges to multiples of 2**COARSEST, so that halving the atlas halves every page."""
    unit = 2**COARSEST
    height, width = texture.shape[:2]
    return np.pad(texture, ((0, -height % unit), (0, -width % unit), (0, 0)), mode="edge")


@functools.lru_cache(maxsize=1)
def _prepare(path: Path) -> _Prepared:
    return _Prepared(read_scan(path))


def _surface(piece: ScanPiece, look: Material) -> Surface:
    count = len(piece.vertices)
    paint = np.zeros((count, 4), np.float32)
    if piece.colors is not None:
        paint = np.concatenate([piece.colors, np.ones((count, 1))], 1).astype(np.float32)
    texture = np.concatenate([piece.uv, np.zeros((count, 1))], 1).astype(np.float32)
    keep, parts = np.full(count, FAR, np.float32), np.zeros(len(piece.triangles), np.uint8)
    return Surface(piece.vertices, texture, paint, keep, piece.triangles, parts, look, piece.normals)


def _turned(surface: Surface, degrees: float) -> Surface:
    """A surface turned about the z axis."""
    turn = rotation_about(UP, degrees).T.astype(np.float32)
    assert surface.normals is not None
    return replace(surface, vertices=surface.vertices @ turn, normals=surface.normals @ turn)


def _subject(body: np.ndarray) -> Subject:
    """What a camera is set up for: head and chest are placed as in a standing person of that height."""
    low, high = bounds(body)
    tall = high[2] - low[2]
    crown = body[body[:, 2] > high[2] - 0.12 * tall].mean(0)
    return Subject(body, crown, crown - [0, 0, 0.3 * tall], body)


def _area(points: np.ndarray, triangles: np.ndarray) -> float:
    """Sum of the areas of triangles (T, 3) of points in the plane or in space."""
    first, second = points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]
    squared = (first**2).sum(1) * (second**2).sum(1) - (first * second).sum(1) ** 2
    return float(0.5 * np.sqrt(np.maximum(squared, 0)).sum())
