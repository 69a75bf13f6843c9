"""Points in space from several calibrated views, robust against wrong views.

Axes: V views, N points. Measurements are rays, x / z and y / z in each camera's coordinates (CalibratedCamera.rays),
or NaN; extrinsics are [R | t]. Errors are in units of each measurement's expected error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PAIRS = 64  # hypotheses per point: all pairs of up to 11 views, else random ones
CHUNK = 64  # points at a time: bounds memory at 64 x PAIRS x V numbers
STEPS = 8
ABSENT = 1e6  # an error beyond any threshold


@dataclass(frozen=True, eq=False)
class Triangulation:
    """points (N, 3) in the world, NaN with fewer than two views; agreeing (V, N) bool: measurements within the
    threshold; errors (V, N): distances of measurements from the projected point in expected errors, NaN without a
    measurement; covariance (N, 3, 3) in the world's unit, given the agreeing measurements."""

    points: np.ndarray
    agreeing: np.ndarray
    errors: np.ndarray
    covariance: np.ndarray


def triangulate(rays_VN2: np.ndarray, extrinsics_V34: np.ndarray, weights_VN: np.ndarray) -> np.ndarray:
    """The points (N, 3) with the least weighted algebraic error; NaN with fewer than two weights above 0.

    Source: the linear method of Hartley and Zisserman, Multiple View Geometry, section 12.2, with a weight per view.
    """
    usable = np.isfinite(rays_VN2).all(-1) & (weights_VN > 0)
    weights, rays = np.where(usable, weights_VN, 0), np.where(usable[..., None], rays_VN2, 0)
    rows = rays[..., None] * extrinsics_V34[:, None, 2:] - extrinsics_V34[:, None, :2]  # (V, N, 2, 4)
    system = np.einsum("vn,vnia,vnib->nab", weights, rows, rows)
    homogeneous = np.linalg.eigh(system)[1][..., 0]
    enough = usable.sum(0) >= 2
    scale = np.where(np.abs(homogeneous[:, 3:]) > 1e-12, homogeneous[:, 3:], np.nan)
    return np.where(enough[:, None], homogeneous[:, :3] / scale, np.nan)


def ray_errors(
    points_N3: np.ndarray, rays_VN2: np.ndarray, extrinsics_V34: np.ndarray, expected_VN: np.ndarray
) -> np.ndarray:
    """Distances (V, N) between measured rays and projected points in units of `expected_VN`; NaN without measurement,
    ABSENT for a point behind the camera."""
    local = _to_cameras(points_N3, extrinsics_V34)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.linalg.norm(local[..., :2] / local[..., 2:] - rays_VN2, axis=-1) / expected_VN
        return np.where(np.isfinite(error) & (local[..., 2] <= 0), ABSENT, error)


def _to_cameras(points_N3: np.ndarray, extrinsics_V34: np.ndarray) -> np.ndarray:
    """World to camera coordinates (V, N, 3)."""
    return np.einsum("vij,nj->vni", extrinsics_V34[..., :3], points_N3) + extrinsics_V34[:, None, :, 3]


def robust_triangulation(
    rays_VN2: np.ndarray,
    extrinsics_V34: np.ndarray,
    expected_VN: np.ndarray,
    confidence_VN: np.ndarray,
    threshold: float,
    seed: int = 0,
) -> Triangulation:
    """Points that as many confident views as possible agree on.

    Every pair of views is a hypothesis (of more than 64 pairs a random choice by `seed`); the one with the least
    truncated cost over all views (MSAC, Torr and Zisserman, CVIU 2000) is refined on the views that agree with it.

    expected_VN: expected error of each measurement, in units of the rays; confidence_VN: its weight, 0 ignores it.
    threshold: the largest error, in expected errors, at which a measurement agrees.
    """
    usable = np.isfinite(rays_VN2).all(-1) & (confidence_VN > 0) & np.isfinite(expected_VN)
    rays = np.where(usable[..., None], rays_VN2, np.nan)
    confidence = np.where(usable, confidence_VN, 0.0)
    points = np.full((rays.shape[1], 3), np.nan)
    draw = np.random.default_rng(seed).random(rays.shape[0] * (rays.shape[0] - 1) // 2)
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        points[part] = _best_of_pairs(
            rays[:, part], extrinsics_V34, expected_VN[:, part], confidence[:, part], threshold, draw
        )
    return refine(points, rays, extrinsics_V34, expected_VN, confidence, threshold)


def _best_of_pairs(
    rays: np.ndarray,
    extrinsics: np.ndarray,
    expected: np.ndarray,
    confidence: np.ndarray,
    threshold: float,
    draw: np.ndarray,
) -> np.ndarray:
    """The hypothesis of the least cost for each of n points, (n, 3)."""
    first, second = np.triu_indices(len(rays), 1)
    usable = (confidence[first] > 0) & (confidence[second] > 0)  # (pairs, n)
    chosen = np.argsort(np.where(usable, draw[:, None], 2.0), axis=0, kind="stable")[:PAIRS].T  # (n, pairs)
    a, b = first[chosen], second[chosen]
    each = np.arange(rays.shape[1])[:, None]
    candidates = _midpoints(rays[a, each], rays[b, each], extrinsics[a], extrinsics[b])
    candidates[~np.take_along_axis(usable.T, chosen, 1)] = np.nan
    local = np.einsum("vij,npj->vnpi", extrinsics[..., :3], candidates) + extrinsics[:, None, None, :, 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.linalg.norm(local[..., :2] / local[..., 2:] - rays[:, :, None], axis=-1) / expected[..., None]
    error[~(local[..., 2] > 0)] = ABSENT
    cost = np.einsum("vn,vnp->np", confidence, np.minimum(np.nan_to_num(error, nan=0.0), threshold) ** 2)
    cost[~np.isfinite(candidates).all(-1)] = np.inf
    best = cost.argmin(axis=1)
    return candidates[np.arange(len(best)), best]


def _midpoints(rays_a: np.ndarray, rays_b: np.ndarray, camera_a: np.ndarray, camera_b: np.ndarray) -> np.ndarray:
    """The midpoints (..., 3) between pairs of rays in normalized coordinates (..., 2) of cameras (..., 3, 4)."""

    def line(rays: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ahead = np.concatenate([rays, np.ones_like(rays[..., :1])], -1)
        direction = np.einsum("...ji,...j->...i", camera[..., :3], ahead)
        start = -np.einsum("...ji,...j->...i", camera[..., :3], camera[..., 3])
        return start, direction / np.linalg.norm(direction, axis=-1, keepdims=True)

    (start_a, along_a), (start_b, along_b) = line(rays_a, camera_a), line(rays_b, camera_b)
    between = start_b - start_a
    cosine = (along_a * along_b).sum(-1)
    on_a, on_b = (between * along_a).sum(-1), (between * along_b).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        far_a = (on_a - cosine * on_b) / (1 - cosine**2)
        far_b = (cosine * on_a - on_b) / (1 - cosine**2)
        middle = (start_a + far_a[..., None] * along_a + start_b + far_b[..., None] * along_b) / 2
    return np.where(np.isfinite(middle), middle, np.nan)


def refine(
    points_N3: np.ndarray,
    rays_VN2: np.ndarray,
    extrinsics_V34: np.ndarray,
    expected_VN: np.ndarray,
    confidence_VN: np.ndarray,
    threshold: float,
) -> Triangulation:
    """Gauss-Newton from `points_N3` on the reprojection error of all views, weighted by Tukey's biweight."""
    points = points_N3.copy()
    usable = (confidence_VN > 0) & np.isfinite(rays_VN2).all(-1)
    rays = np.where(usable[..., None], rays_VN2, np.nan)
    errors = ray_errors(points, rays, extrinsics_V34, expected_VN)
    for _ in range(STEPS):
        normal, gradient = _normal_equations(
            points, rays, extrinsics_V34, expected_VN, confidence_VN, errors, threshold
        )
        known = np.isfinite(points).all(-1) & (np.linalg.cond(normal) < 1e12)
        step = np.zeros_like(points)
        step[known] = np.linalg.solve(normal[known], gradient[known][..., None])[..., 0]
        moved = points + step
        moved_errors = ray_errors(moved, rays, extrinsics_V34, expected_VN)
        better = _cost(moved_errors, confidence_VN, threshold) <= _cost(errors, confidence_VN, threshold)
        points = np.where(better[:, None], moved, points)
        errors = np.where(better, moved_errors, errors)
    agreeing = usable & (np.nan_to_num(errors, nan=ABSENT) <= threshold)
    agreeing &= agreeing.sum(0) >= 2
    normal, _ = _normal_equations(
        points, rays, extrinsics_V34, expected_VN, agreeing.astype(float), np.zeros_like(errors), threshold
    )
    covariance = np.full((len(points), 3, 3), np.nan)
    known = np.isfinite(points).all(-1) & (agreeing.sum(0) >= 2) & (np.linalg.cond(normal) < 1e12)
    covariance[known] = np.linalg.inv(normal[known])
    return Triangulation(points, agreeing, errors, covariance)


def _cost(errors: np.ndarray, confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Tukey's loss summed over the views, (N,)."""
    share = np.minimum(np.nan_to_num(errors, nan=0.0) / threshold, 1)
    return (confidence * (1 - (1 - share**2) ** 3)).sum(0)


def _normal_equations(
    points: np.ndarray,
    rays: np.ndarray,
    extrinsics: np.ndarray,
    expected: np.ndarray,
    confidence: np.ndarray,
    errors: np.ndarray,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The 3 x 3 systems of a Gauss-Newton step, (N, 3, 3) and (N, 3)."""
    rotation = extrinsics[:, None, :, :3]
    local = _to_cameras(points, extrinsics)
    with np.errstate(invalid="ignore", divide="ignore"):
        projected = local[..., :2] / local[..., 2:]
        jacobian = (rotation[..., :2, :] - projected[..., None] * rotation[..., 2:, :]) / local[..., 2, None, None]
        residual = rays - projected
        share = np.minimum(np.nan_to_num(errors, nan=np.inf) / threshold, 1)
        weight = confidence * (1 - share**2) ** 2 / expected**2
    usable = np.isfinite(residual).all(-1) & np.isfinite(weight) & (local[..., 2] > 0)
    weight = np.where(usable, weight, 0)
    jacobian, residual = np.where(usable[..., None, None], jacobian, 0), np.where(usable[..., None], residual, 0)
    normal = np.einsum("vn,vnia,vnib->nab", weight, jacobian, jacobian)
    return normal, np.einsum("vn,vnia,vni->na", weight, jacobian, residual)
