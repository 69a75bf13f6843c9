"""Dense maps as colors: body parts, depth, surface normals, albedo, cut-outs."""

import cv2
import numpy as np

from opensapiens.labels.parts import PartSet

CHECKERS = 8, (178, 230)  # pixels of a square, and their grays
BACKGROUND_GRAY = 40  # behind depth and normals: dark enough that the far end of a color map still stands out


def draw_parts(image: np.ndarray, labels: np.ndarray, part_set: PartSet, opacity: float = 0.6) -> np.ndarray:
    """Part colors blended over the image, with a thin light line where two parts meet.

    labels: H×W class ids of part_set; 0 and 255 (unknown) leave the photo as it is. Raises ValueError for a label
    without a color.
    """
    known = (labels > 0) & (labels != 255)
    if known.any() and int(labels[known].max()) >= len(part_set.names):
        raise ValueError(
            f"label {int(labels[known].max())} is not one of the {len(part_set.names)} parts of {part_set.name}"
        )
    colors = np.zeros((256, 1, 3), np.uint8)
    colors[: len(part_set.colors), 0] = part_set.colors
    canvas = np.array(image, order="C")
    blended = cv2.addWeighted(canvas, 1 - opacity, _looked_up(labels, colors), opacity, 0)
    cv2.copyTo(blended, known.view(np.uint8), canvas)
    edges = np.zeros(labels.shape, bool)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    edges &= known
    canvas[edges] = (canvas[edges] * 0.4 + 255 * 0.6).astype(np.uint8)
    return canvas


def depth_colors(values: np.ndarray) -> np.ndarray:
    """Depth (small = near, NaN = nothing there) as the inferno color map, near bright; the background is dark gray.

    The range shown runs from the 1st to the 99th percentile, so that a few outliers do not flatten everything else.
    """
    valid = np.isfinite(values)
    colors = np.full((*values.shape, 3), BACKGROUND_GRAY, np.uint8)
    depths = values[valid]
    if not len(depths):
        return colors
    near, far = np.percentile(depths, [1, 99])
    nearness = np.clip((far - np.where(valid, values, far)) / max(float(far - near), 1e-12), 0, 1)
    # Start above inferno's black so that the farthest part of a person does not look like a hole.
    scaled = np.round(35 + nearness * 220).astype(np.uint8)
    inferno = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[..., ::-1]
    return cv2.copyTo(_looked_up(scaled, np.ascontiguousarray(inferno)), valid.view(np.uint8), colors)


def normal_colors(values: np.ndarray) -> np.ndarray:
    """Unit normals H×W×3 (NaN = nothing there) as (n + 1) / 2; the background is dark gray."""
    valid = _all_finite(values).view(np.uint8)
    normals = cv2.copyTo(values, valid, np.zeros(values.shape, values.dtype))  # a NaN has no color
    colors = cv2.convertScaleAbs(normals, alpha=127.5, beta=127.5)  # rounds, ends at 255
    return cv2.copyTo(colors, valid, np.full(values.shape, BACKGROUND_GRAY, np.uint8))


def draw_depth(image: np.ndarray, values: np.ndarray, background: float = 0.25) -> np.ndarray:
    """Depth colors where there is depth, over the photo darkened to the given share of its brightness."""
    return _over_darkened(image, depth_colors(values), np.isfinite(values), background)


def draw_normals(image: np.ndarray, values: np.ndarray, background: float = 0.25) -> np.ndarray:
    """Normal colors where there are normals, over the photo darkened to the given share of its brightness."""
    return _over_darkened(image, normal_colors(values), _all_finite(values), background)


def color_bytes(values: np.ndarray) -> np.ndarray:
    """RGB from 0 to 1, H×W×3 (NaN = nothing there), as uint8; black where there is nothing."""
    return np.round(np.nan_to_num(values).clip(0, 1) * 255).astype(np.uint8)


def draw_colors(image: np.ndarray, values: np.ndarray, background: float = 0.25) -> np.ndarray:
    """RGB from 0 to 1 where there is any, over the photo darkened to the given share of its brightness."""
    return _over_darkened(image, color_bytes(values), _all_finite(values), background)


def over_checkers(values: np.ndarray) -> np.ndarray:
    """Colors times alpha, and alpha (H×W×4, 0 to 1), before a checkerboard: H×W×3 uint8."""
    side, grays = CHECKERS
    rows, columns = np.indices(values.shape[:2]) // side
    board = np.where((rows + columns) % 2, *grays)[..., None]
    return np.round((values[..., :3] * 255 + (1 - values[..., 3:]) * board).clip(0, 255)).astype(np.uint8)


def _all_finite(values: np.ndarray) -> np.ndarray:
    """H×W bool of H×W×3: a sum is finite where all its terms are, and that is several times faster to test."""
    return np.isfinite(values[..., 0] + values[..., 1] + values[..., 2])


def _over_darkened(image: np.ndarray, colors: np.ndarray, valid: np.ndarray, background: float) -> np.ndarray:
    darkened = cv2.LUT(np.ascontiguousarray(image), (np.arange(256) * background).astype(np.uint8))
    return cv2.copyTo(colors, valid.view(np.uint8), darkened)


def _looked_up(indices: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The color (256×1×3 uint8) of each index (H×W uint8): H×W×3."""
    return cv2.LUT(cv2.merge([indices] * 3), colors)
