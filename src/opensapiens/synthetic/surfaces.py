"""Surfaces: the pieces that scenes are built from."""

import functools
from dataclasses import dataclass

import numpy as np

from opensapiens.synthetic.materials import Material

FAR = 9.0
"""Distance inside a cut, in meters, that leaves a surface whole."""


@dataclass(frozen=True)
class Surface:
    """A part of a person or a thing, ready to render; see rasterizer.Mesh. material: of all triangles; normals:
    computed from the triangles if None."""

    vertices: np.ndarray
    texture: np.ndarray
    paint: np.ndarray
    keep: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray
    material: Material
    normals: np.ndarray | None = None


def thing(
    vertices: np.ndarray,
    texture: np.ndarray,
    triangles: np.ndarray,
    look: Material,
    part: int = 0,
    keep: np.ndarray | None = None,
) -> Surface:
    """A surface without paint, of one part, cut only if `keep` is given."""
    paint, whole = _plain(len(vertices))
    parts = _parts(len(triangles), part)
    return Surface(vertices, texture, paint, whole if keep is None else keep, triangles, parts, look)


@functools.cache
def _plain(count: int) -> tuple[np.ndarray, np.ndarray]:
    """No paint (count, 4) and no cuts (count,)."""
    return np.zeros((count, 4), np.float32), np.full(count, FAR, np.float32)


@functools.cache
def _parts(count: int, part: int) -> np.ndarray:
    return np.full(count, part, np.uint8)


@functools.cache
def grid_triangles(rows: int, columns: int) -> np.ndarray:
    """Triangles (2 * rows * columns, 3) of a grid of quadrilaterals whose (rows + 1) * (columns + 1) vertices are
    numbered row by row."""
    wide = columns + 1
    a = (np.arange(rows)[:, None] * wide + np.arange(columns)).ravel()
    return np.concatenate([np.stack([a, a + wide, a + 1], 1), np.stack([a + 1, a + wide, a + wide + 1], 1)])


def any_corner(marked: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Which triangles (T, 3) have a marked corner; marked (V,) bool."""
    a, b, c = marked.take(triangles).T
    return a | b | c


def compact(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices that triangles (T, 3) use, and the triangles reindexed to them."""
    mask = np.zeros(triangles.max(initial=-1) + 1, bool)
    mask[triangles.ravel()] = True
    return np.flatnonzero(mask), (np.cumsum(mask) - 1).take(triangles)


@functools.cache
def unit_sphere(rings: int = 10, sectors: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (T, 3) of a sphere of radius 1."""
    around = np.arange(sectors) * 2 * np.pi / sectors
    polar, around = np.meshgrid(np.linspace(0, np.pi, rings + 1), around, indexing="ij")
    points = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    ring, sector = np.meshgrid(np.arange(rings), np.arange(sectors), indexing="ij")
    a, b = ring * sectors + sector, ring * sectors + (sector + 1) % sectors
    triangles = np.concatenate([np.stack([a, a + sectors, b], -1), np.stack([b, a + sectors, b + sectors], -1)])
    return points.reshape(-1, 3), triangles.reshape(-1, 3)
