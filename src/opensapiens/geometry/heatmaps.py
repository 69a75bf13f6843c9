"""Keypoints as heatmaps and back: UDP (Huang et al., CVPR 2020) with DARK decoding (Zhang et al., CVPR 2020).

Axes: B images, K keypoints, H and W of the heatmap. The published models use sigma 6 on 256 x 192 heatmaps of a 1024
x 768 input.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

MIN_VISIBILITY = 0.5  # below it a point has no heatmap
BLUR_KERNEL = 11  # pixels of a heatmap, before its peak is refined
BLUR_SIGMA = 0.3 * ((BLUR_KERNEL - 1) / 2 - 1) + 0.8  # what cv2 takes for such a kernel: 2.0
LOG_RANGE = (1e-3, 50.0)  # heat outside it is clipped before the logarithm
BLURRED_PIXELS = 1 << 19  # at a time: 2 MB, which stay in a cache
EPSILON = float(np.finfo(np.float32).eps)


def encode_heatmaps(
    points_K2: np.ndarray,
    visible_K: np.ndarray,
    input_size_hw: tuple[int, int],
    heatmap_size_hw: tuple[int, int],
    sigma: float,
) -> tuple[np.ndarray, np.ndarray]:
    """One Gaussian per keypoint: peak 1 at the exact position, cut off at 3 sigma around the nearest pixel.

    points_K2: input pixels; visible_K: visibility or weight; sigma: heatmap pixels.
    -> heatmaps_KHW float32 and weights_K float32: the visibilities, but 0 if the Gaussian is off the heatmap. A point
    with visibility below 0.5 has an empty heatmap and keeps its visibility as weight.
    Source: the published pose code's UDP codec, Gaussian type.
    """
    height, width = heatmap_size_hw
    ratio = (np.array(input_size_hw[::-1]) - 1) / (np.array([width, height]) - 1)
    points = points_K2.astype(np.float32) / ratio.astype(np.float32)
    nearest = np.trunc(points + 0.5)
    radius = math.ceil(3 * sigma)
    # "+ 1 >= 0" and not "> 0": the published code's bound is one pixel wider than the Gaussian on this side.
    on_map = ((nearest - radius < [width, height]) & (nearest + radius + 1 >= 0)).all(axis=-1)
    weights = np.where(on_map | (visible_K < MIN_VISIBILITY), visible_K, 0).astype(np.float32)
    drawn = on_map & (visible_K >= MIN_VISIBILITY)

    def profile(axis: int, length: int) -> np.ndarray:
        """exp(-d^2 / 2 sigma^2) along one axis, (K, length); a 2D Gaussian is the product of two of these."""
        pixels = np.arange(length, dtype=np.float32)
        distance = pixels - points[:, axis, None]
        in_window = (np.abs(pixels - nearest[:, axis, None]) <= radius) & drawn[:, None]
        return np.where(in_window, np.exp(-(distance**2) / np.float32(2 * sigma**2)), np.float32(0))

    return profile(1, height)[:, :, None] * profile(0, width)[:, None, :], weights


def decode_heatmaps(
    heatmaps_BKHW: np.ndarray, input_size_hw: tuple[int, int], blur_kernel: int = BLUR_KERNEL
) -> tuple[np.ndarray, np.ndarray]:
    """The position, refined below a pixel, and height of each heatmap's peak.

    heatmaps_BKHW float32 -> points_BK2 float32 in input pixels and scores_BK float32, the maxima before any blur. A
    heatmap without a positive value has no peak; its point is off the crop and meaningless. Points are multiplied by
    the input's width and height, not by those minus one; person_crop.crop_points_to_image undoes it. Source: the
    published pose code's UDP codec and DARK refinement (Taylor step on the logarithm of the blurred heatmap).
    """
    heatmaps_BKHW = np.ascontiguousarray(heatmaps_BKHW, dtype=np.float32)
    *_, height, width = heatmaps_BKHW.shape
    peaks, scores = heatmap_maxima(heatmaps_BKHW)
    refined = refine_peaks(peaks, scores, heatmaps_BKHW, blur_kernel)
    points = refined / (np.array([width, height]) - 1) * np.array(input_size_hw[::-1])
    return points.astype(np.float32), scores


def heatmap_maxima(heatmaps_BKHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first pixel with the largest value of each heatmap, (B, K, 2) int64 x, y, and the values (B, K).

    (-1, -1) if no value is positive.
    """
    batch, keypoints, _, width = heatmaps_BKHW.shape
    flat = heatmaps_BKHW.reshape(batch, keypoints, -1)
    index = flat.argmax(axis=-1)
    scores = np.take_along_axis(flat, index[..., None], axis=-1)[..., 0]
    peaks = np.stack([index % width, index // width], axis=-1)
    return np.where(scores[..., None] > 0, peaks, -1), scores


def refine_peaks(
    peaks_BK2: np.ndarray, scores_BK: np.ndarray, heatmaps_BKHW: np.ndarray, blur_kernel: int
) -> np.ndarray:
    """One Newton step from each peak to the maximum of the log heatmap: (B, K, 2) float64 heatmap pixels.

    As in the published code, the step is not limited and can be large on noise.
    """
    padded, stride = _blur_and_pad(heatmaps_BKHW, scores_BK, blur_kernel)
    batch, keypoints = scores_BK.shape
    per_image = padded.size // batch
    # A missing peak (-1, -1) is the corner of the padding. As in the published code, its upper and left neighbors are
    # the last ones of the previous keypoint (cyclically, hence the modulo). This only affects meaningless points.
    start = np.arange(keypoints) * (per_image // keypoints) + (peaks_BK2[..., 1] + 1) * stride + peaks_BK2[..., 0] + 1
    image_start = np.arange(batch)[:, None] * per_image

    def log_heat(dx: int, dy: int) -> np.ndarray:
        heat = padded.reshape(-1)[(start + dy * stride + dx) % per_image + image_start]
        return np.log(np.clip(heat, *LOG_RANGE))

    here, right, left, below, above = (log_heat(*at) for at in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)))
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxx = right - 2 * here + left
    dyy = below - 2 * here + above
    dxy = 0.5 * (log_heat(1, 1) - right - below + here + here - left - above + log_heat(-1, -1))
    # Times the inverse of the Hessian, in closed form and float64. Epsilon, as published, gives a flat map no step; so
    # does a determinant that is zero nevertheless, for which the published inversion fails.
    dxx, dyy, dxy = dxx + np.float64(EPSILON), dyy + np.float64(EPSILON), dxy.astype(np.float64)
    determinant = dxx * dyy - dxy**2
    step = np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], axis=-1)
    solvable = (determinant != 0)[..., None]
    return peaks_BK2 - np.divide(step, determinant[..., None], out=np.zeros_like(step), where=solvable)


def _blur_and_pad(heatmaps_BKHW: np.ndarray, scores_BK: np.ndarray, blur_kernel: int) -> tuple[np.ndarray, int]:
    """Heatmaps blurred, rescaled to their former maximum, the border repeated: (B, K, H + 2, W + 2), and W + 2."""
    batch, keypoints, height, width = heatmaps_BKHW.shape
    padded = np.empty((batch * keypoints, height + 2, width + 2), dtype=np.float32)
    # Several maps at a time are stacked to one tall image, separated by enough zero rows for the kernel. Sigma 0 lets
    # cv2 derive it from the kernel (2.0 for 11).
    maps = heatmaps_BKHW.reshape(-1, height, width)
    at_once = max(BLURRED_PIXELS // (height * width), 1)
    tall = np.zeros((min(at_once, len(maps)), height + blur_kernel // 2, width), dtype=np.float32)
    for start in range(0, len(maps), at_once):
        stack = tall[: len(maps[start : start + at_once])]
        stack[:, :height] = maps[start : start + at_once]
        blurred = cv2.GaussianBlur(stack.reshape(-1, width), (blur_kernel,) * 2, 0, borderType=cv2.BORDER_CONSTANT)
        padded[start : start + len(stack), 1:-1, 1:-1] = blurred.reshape(stack.shape)[:, :height]
    padded = padded.reshape(batch, keypoints, height + 2, width + 2)
    inner = padded[..., 1:-1, 1:-1]
    blurred_maxima = inner.max(axis=(-2, -1))  # maps of zeros stay zero
    factors = np.divide(scores_BK, blurred_maxima, out=np.ones_like(scores_BK), where=blurred_maxima != 0)
    inner *= factors[..., None, None]
    padded[..., 0, :], padded[..., -1, :] = padded[..., 1, :], padded[..., -2, :]
    padded[..., 0], padded[..., -1] = padded[..., 1], padded[..., -2]
    return padded, width + 2
