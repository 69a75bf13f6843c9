"""Body parts by a vote of calibrated views: each place on the body gets the part that most views see there.

The person's shape is the visual hull (Laurentini, PAMI 1994): the voxels that fall into the person's mask in all views
but a few. What each view sees first of the hull's surface votes with its part for that voxel; next to a border between
parts a view counts less, since borders are where maps are wrong by a pixel or two. A pixel whose own part has hardly
any of the votes at its voxel gets the part that has most.

Limits. A hull has no hollows and bridges what no camera looks through (between arm and trunk, legs close together),
so votes there come from neighboring places; with few cameras it is thick. Parts smaller than a few voxels (lips,
teeth) are settled by the views' own maps: pixels whose part does have some of the votes are left alone. Things in front
of a person cut the hull in that view; other people do not, since their pixels say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from opensapiens.geometry.cameras import CalibratedCamera
from opensapiens.labels.parts import IGNORED

VOXELS = 128  # along the longest side of the person
VOXEL_PIXELS = 2.0  # of the rasters that votes are taken from
SPLAT = 1  # raster pixels around a voxel's center that it covers
STEEPEST = 2.0  # slope of a surface that still counts as in sight, where a nearer voxel covers the same pixel
FORGIVEN = 12  # one view in so many may lack part of the person
SURE_OF_BORDER = 3.0  # raster pixels from a border between parts at which a view's vote counts in full
LEAST_WEIGHT = 0.1
NEIGHBORS = 0.5  # weight of the six voxels around
KEPT = 0.25  # share of the others' votes, at a pixel's voxel or close by, from which it keeps its own part
REACH = 2  # raster pixels that count as close by: the hull may misplace a border by as much
DECIDED = 0.6  # share of the votes below which views disagree, and a person should look
LEAST_VOTERS = 3  # views that must see a voxel, or one beside it, for it to change a pixel


@dataclass(frozen=True, eq=False)
class PartView:
    """One view of a person: parts (H, W) uint8; person (H, W) bool where the person is; unknown (H, W) bool where it
    cannot be told, for example behind somebody else."""

    camera: CalibratedCamera
    parts: np.ndarray
    person: np.ndarray
    unknown: np.ndarray


@dataclass(frozen=True, eq=False)
class PartAgreement:
    """Per view: parts (H, W) uint8 with what was changed; doubtful (H, W) bool: pixels on whose part the views do not
    agree. seen: pixels with votes of three views or more; changed, disagreed, agreed_before, agreed_after: of those."""

    parts: list[np.ndarray]
    doubtful: list[np.ndarray]
    seen: int
    changed: int
    disagreed: int
    agreed_before: int
    agreed_after: int


@dataclass(frozen=True, eq=False)
class _Raster:
    """A view without its lens, so large that a voxel covers about two pixels: parts (h, w), 0 nobody, 255 unknown, and
    weights (h, w). A ray is at ray * focal + offset."""

    parts: np.ndarray
    weights: np.ndarray
    focal: np.ndarray
    offset: np.ndarray
    extrinsics: np.ndarray

    def place(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Row, column, depth of world points (N, 3), and which lie on the raster; others are at row and column 0."""
        local = points @ self.extrinsics[:, :3].T + self.extrinsics[:, 3]
        depth = local[:, 2]
        pixels = np.rint(local[:, :2] / np.where(depth > 0, depth, 1)[:, None] * self.focal + self.offset).astype(int)
        height, width = self.parts.shape
        inside = (depth > 0) & (pixels >= 0).all(1) & (pixels < [width, height]).all(1)
        pixels[~inside] = 0
        return pixels[:, 1], pixels[:, 0], depth, inside


def agree_on_parts(views: Sequence[PartView], low: np.ndarray, high: np.ndarray, classes: int) -> PartAgreement:
    """Parts of one person from all views. low, high (3,): a box in the world that holds the person."""
    voxel = float((high - low).max()) / VOXELS
    corners = np.stack(np.meshgrid(*np.stack([low, high], 1), indexing="ij"), -1).reshape(-1, 3)
    rasters = [_rastered(view, corners, voxel) for view in views]
    surface, around = _surface(rasters, low, high, voxel)
    cast = [_cast(raster, surface, around, voxel, classes) for raster in rasters]
    votes = np.sum([view_cast.votes for view_cast in cast], 0)
    voters = np.sum([view_cast.votes.any(1) for view_cast in cast], 0)
    doubt = (voters >= LEAST_VOTERS) & (_shares(votes).max(1) < DECIDED)
    decided = [
        _decided(view, raster, view_cast, votes, voters, doubt)
        for view, raster, view_cast in zip(views, rasters, cast, strict=True)
    ]
    parts, doubtful, counts = zip(*decided, strict=True)
    return PartAgreement(list(parts), list(doubtful), *np.sum(counts, 0).tolist())


@dataclass(frozen=True, eq=False)
class _Cast:
    """What a view sees first at each pixel of its raster, ids (h, w), n where no voxel; and the weights of its votes on
    the parts of the voxels, and of those beside them, (n + 1, classes)."""

    ids: np.ndarray
    votes: np.ndarray


def _cast(raster: _Raster, surface: np.ndarray, around: np.ndarray, voxel: float, classes: int) -> _Cast:
    ids, visible = _seen_first(raster, surface, voxel)
    row, column, _, _ = raster.place(surface[visible])
    label, weight = raster.parts[row, column], raster.weights[row, column]
    is_part = (label > 0) & (label < classes)
    votes = np.zeros((len(surface) + 1, classes), np.float32)
    votes[visible[is_part], label[is_part]] = weight[is_part]
    smooth = votes.copy()
    for k in range(around.shape[1]):
        smooth[:-1] += NEIGHBORS * votes[around[:, k]]
    return _Cast(ids, smooth)


def _shares(votes: np.ndarray) -> np.ndarray:
    return votes / np.maximum(votes.sum(1, keepdims=True), 1e-9)


def _rastered(view: PartView, corners: np.ndarray, voxel: float) -> _Raster:
    local = view.camera.to_camera(corners)
    depth = np.maximum(local[:, 2], voxel)
    matrix = view.camera.matrix
    focal = np.array([matrix[0, 0], matrix[1, 1]])
    scale = min(1.0, VOXEL_PIXELS * float(np.median(depth)) / (voxel * view.camera.focal))
    focal = focal * scale
    rays = local[:, :2] / depth[:, None]
    limit = np.array(view.parts.shape[::-1]) * scale / focal  # no raster beyond twice the picture
    start, end = np.maximum(rays.min(0), -limit) * focal, np.minimum(rays.max(0), limit) * focal
    width, height = np.maximum(np.ceil(end - start).astype(int) + 5, 1)
    offset = 2 - np.floor(start)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    local = np.concatenate([(grid - offset) / focal, np.ones((height, width, 1))], -1)
    pixels = view.camera.project((local - view.camera.translation) @ view.camera.rotation)
    known = np.isfinite(pixels).all(-1)
    column, row = np.moveaxis(np.rint(np.where(known[..., None], pixels, -1)).astype(int), -1, 0)
    known &= (row >= 0) & (column >= 0) & (row < view.parts.shape[0]) & (column < view.parts.shape[1])
    row, column = np.where(known, row, 0), np.where(known, column, 0)
    labels = np.where(view.person, view.parts, 0)
    labels[view.unknown] = IGNORED
    parts = np.where(known, labels[row, column], IGNORED).astype(np.uint8)
    return _Raster(parts, _border_weights(parts), focal, offset, view.camera.extrinsics)


def _border_weights(parts: np.ndarray) -> np.ndarray:
    """From 0.1 on a border between parts to 1 three pixels away from it. The person's outline counts as a border too,
    since the hull is as wrong there."""
    border = np.zeros(parts.shape, bool)
    border[:, 1:] |= parts[:, 1:] != parts[:, :-1]
    border[1:] |= parts[1:] != parts[:-1]
    away = cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(away / SURE_OF_BORDER, LEAST_WEIGHT, 1).astype(np.float32)


def _surface(
    rasters: Sequence[_Raster], low: np.ndarray, high: np.ndarray, voxel: float
) -> tuple[np.ndarray, np.ndarray]:
    """The centers (n, 3) of the hull's outer voxels, and for each its six neighbors' indices (n, 6), n where none."""
    shape = np.maximum(np.ceil((high - low) / voxel).astype(int), 1)
    alive = np.arange(int(np.prod(shape)))
    misses = np.zeros(len(alive), np.uint8)
    for raster in rasters:
        centers = low + (np.stack(np.unravel_index(alive, shape), -1) + 0.5) * voxel
        row, column, _, inside = raster.place(centers)
        misses[alive] += inside & (raster.parts[row, column] == 0)
        alive = alive[misses[alive] <= len(rasters) // FORGIVEN]
    solid = np.zeros(shape + 2, bool)
    solid[1:-1, 1:-1, 1:-1].flat[alive] = True
    inner = solid[1:-1, 1:-1, 1:-1].copy()
    steps = [(axis, step) for axis in range(3) for step in (-1, 1)]
    for axis, step in steps:
        inner &= np.roll(solid, step, axis)[1:-1, 1:-1, 1:-1]
    outer = solid[1:-1, 1:-1, 1:-1] & ~inner
    cells = np.argwhere(outer)
    number = np.full(shape + 2, len(cells))
    number[1:-1, 1:-1, 1:-1][outer] = np.arange(len(cells))
    around = np.stack([np.roll(number, step, axis)[1:-1, 1:-1, 1:-1][outer] for axis, step in steps], -1)
    return low + (cells + 0.5) * voxel, around.reshape(-1, 6)


def _seen_first(raster: _Raster, surface: np.ndarray, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """The nearest voxel at each pixel of the raster (h, w), n where none, and the voxels that are in sight."""
    height, width = raster.parts.shape
    ids = np.full((height, width), len(surface))
    row, column, depth, inside = raster.place(surface)
    on_raster = np.flatnonzero(inside)
    far_first = on_raster[np.argsort(-depth[on_raster], kind="stable")]
    offsets = [(dy, dx) for dy in range(-SPLAT, SPLAT + 1) for dx in range(-SPLAT, SPLAT + 1)]
    rows = np.concatenate([row[far_first, None] + dy for dy, _ in offsets], 1).ravel()
    columns = np.concatenate([column[far_first, None] + dx for _, dx in offsets], 1).ravel()
    painted = np.repeat(far_first, len(offsets))
    kept = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    ids[rows[kept], columns[kept]] = painted[kept]  # the last, which is the nearest, stays
    front = np.append(depth, np.inf)[ids[row, column]]
    pixel = np.median(depth[on_raster]) / raster.focal.mean() if len(on_raster) else 0.0
    return ids, on_raster[depth[on_raster] <= front[on_raster] + 1.5 * voxel + STEEPEST * (SPLAT + 0.5) * pixel]


def _decided(
    view: PartView, raster: _Raster, cast: _Cast, votes: np.ndarray, voters: np.ndarray, doubt: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A view's parts after the vote, its doubtful pixels, and the counts for PartAgreement.

    A pixel changes if hardly any other view sees its part at its voxel or close by; it gets what most of them see."""
    others = _shares(votes - cast.votes)
    parts, doubtful = view.parts.copy(), np.zeros(view.parts.shape, bool)
    rows, columns = np.nonzero(view.person & (view.parts > 0) & (view.parts < votes.shape[1]))
    rays = view.camera.rays(np.stack([columns, rows], -1).astype(float))
    at = np.rint(rays * raster.focal + raster.offset).astype(int)
    height, width = raster.parts.shape
    inside = (at >= 0).all(1) & (at < [width, height]).all(1)
    at[~inside] = 0
    voxel = np.where(inside, cast.ids[at[:, 1], at[:, 0]], len(votes) - 1)
    before = view.parts[rows, columns].astype(int)
    support = np.zeros(len(before), np.float32)
    square = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    for part in np.unique(before).tolist():
        pixels = before == part
        support[pixels] = cv2.dilate(others[cast.ids, part], square)[at[pixels, 1], at[pixels, 0]]
    judged = voters[voxel] >= LEAST_VOTERS
    changed = judged & (support < KEPT)
    after = np.where(changed, others.argmax(1)[voxel], before)
    parts[rows, columns] = after
    disagreed = doubt[voxel]
    doubtful[rows[disagreed], columns[disagreed]] = True
    winner = votes.argmax(1)[voxel]
    counts = [judged, changed, disagreed, judged & (before == winner), judged & (after == winner)]
    return parts, doubtful, np.array([mask.sum() for mask in counts])
