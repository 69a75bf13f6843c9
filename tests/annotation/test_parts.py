from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from opensapiens.annotation.parts import PartView, _rastered, _surface, agree_on_parts
from opensapiens.geometry.cameras import CalibratedCamera

Ring = Callable[..., list[CalibratedCamera]]

# A person of balls: center, radius, part. Arms stand off, so that a hull can tell them from the trunk.
BALLS = [
    ((0, 0, 1.6), 0.14, 3), ((0, 0, 1.3), 0.2, 21), ((0, 0, 1.0), 0.2, 21), ((0.5, 0, 1.3), 0.12, 6),
    ((-0.5, 0, 1.3), 0.12, 16), ((0.15, 0, 0.6), 0.15, 8), ((-0.15, 0, 0.6), 0.15, 18),
]  # fmt: skip
LOW, HIGH = np.array([-0.8, -0.45, 0.3]), np.array([0.8, 0.45, 1.9])


def shot(camera: CalibratedCamera) -> np.ndarray:
    """The part of the nearest ball at each pixel of a small picture of the balls, 0 where there is none."""
    assert camera.size is not None
    height, width = camera.size
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(float)
    ahead = np.concatenate([camera.rays(pixels), np.ones((height, width, 1))], -1)
    ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True)
    parts, nearest = np.zeros((height, width), np.uint8), np.full((height, width), np.inf)
    for center, radius, part in BALLS:
        middle = camera.to_camera(np.array(center, float))
        along = ahead @ middle
        inside = radius**2 - (middle @ middle - along**2)
        depth = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), np.inf)
        parts[depth < nearest], nearest = part, np.minimum(nearest, depth)
    return parts


def small(cameras: list[CalibratedCamera]) -> list[CalibratedCamera]:
    scale = np.diag([0.25, 0.25, 1])
    return [replace(camera, matrix=scale @ camera.matrix, size=(180, 320)) for camera in cameras]


@pytest.fixture(scope="module")
def views() -> list[PartView]:
    from tests.annotation.conftest import make_ring

    cameras = small(make_ring(10))
    maps = [shot(camera) for camera in cameras]
    return [
        PartView(camera, parts, parts > 0, np.zeros(parts.shape, bool))
        for camera, parts in zip(cameras, maps, strict=True)
    ]


def wrong(found: list[np.ndarray], views: list[PartView]) -> float:
    return float(
        np.mean([(one[view.person] != view.parts[view.person]).mean() for one, view in zip(found, views, strict=True)])
    )


def test_what_is_right_stays(views: list[PartView]) -> None:
    found = agree_on_parts(views, LOW, HIGH, 29)
    assert wrong(found.parts, views) < 0.01
    pixels = sum(int(view.person.sum()) for view in views)
    assert found.seen > 0.9 * pixels and found.disagreed < 0.05 * pixels
    assert all((one[~view.person] == 0).all() for one, view in zip(found.parts, views, strict=True))


def test_a_view_with_exchanged_sides_and_patches_is_outvoted(views: list[PartView]) -> None:
    exchange = np.arange(256, dtype=np.uint8)
    exchange[[6, 16, 8, 18]] = [16, 6, 18, 8]
    spoilt = [replace(view, parts=exchange[view.parts]) if v == 4 else view for v, view in enumerate(views)]
    patch = spoilt[1].parts.copy()
    rows, columns = np.nonzero(patch == 21)
    patch[int(rows.mean()) - 6 : int(rows.mean()) + 6][:, int(columns.mean()) - 6 : int(columns.mean()) + 6] = 3
    spoilt[1] = replace(spoilt[1], parts=np.where(views[1].person, patch, 0).astype(np.uint8))
    before = wrong([view.parts for view in spoilt], views)
    found = agree_on_parts(spoilt, LOW, HIGH, 29)
    assert before > 0.035 and wrong(found.parts, views) < 0.45 * before
    assert found.agreed_after > found.agreed_before and found.changed > 0


def test_where_half_of_the_views_differ_a_person_is_asked(views: list[PartView]) -> None:
    spoilt = [
        replace(view, parts=np.where(view.parts == 3, 5, view.parts).astype(np.uint8)) if v % 2 else view
        for v, view in enumerate(views)
    ]
    found = agree_on_parts(spoilt, LOW, HIGH, 29)
    head = sum(int((view.parts == 3).sum()) for view in views)
    asked = sum(int(doubt[view.parts == 3].sum()) for doubt, view in zip(found.doubtful, views, strict=True))
    elsewhere = sum(int(doubt[view.parts != 3].sum()) for doubt, view in zip(found.doubtful, views, strict=True))
    assert asked > 0.7 * head and elsewhere < 0.15 * asked


def test_somebody_in_front_does_not_cut_the_person(views: list[PartView]) -> None:
    """In a view somebody else hides half of the person: nothing behind that half is carved away."""
    hidden = np.zeros(views[0].parts.shape, bool)
    hidden[:, : hidden.shape[1] // 2] = True
    behind = replace(views[3], parts=np.where(hidden, 0, views[3].parts), person=views[3].person & ~hidden)
    corners = np.stack(np.meshgrid(*np.stack([LOW, HIGH], 1), indexing="ij"), -1).reshape(-1, 3)

    def voxels(view: PartView) -> int:
        rasters = [_rastered(one, corners, 0.0125) for one in [view, *views[:3], *views[4:]]]
        return len(_surface(rasters, LOW, HIGH, 0.0125)[0])

    whole = voxels(views[3])
    assert voxels(replace(behind, unknown=hidden)) >= whole
    assert voxels(behind) < 0.7 * whole
