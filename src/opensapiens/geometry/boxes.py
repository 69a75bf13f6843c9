"""Person boxes: xyxy in pixels, (..., 4). The box of the single pixel (x, y) is x, y, x + 1, y + 1."""

from __future__ import annotations

import numpy as np


def center_and_scale(
    box_xyxy: np.ndarray, aspect: float = 0.75, padding: float = 1.25
) -> tuple[np.ndarray, np.ndarray]:
    """The region that is cropped for a box: padded, then one side enlarged until width / height = `aspect`.

    box_xyxy (..., 4) pixels -> center (..., 2) and scale (..., 2) = (width, height) in pixels, float32. ValueError for
    boxes that are not finite or are empty. Source: the published pose code (padding 1.25, 1024 x 768 input).
    """
    box = np.asarray(box_xyxy, dtype=np.float32)
    start, end = box[..., :2], box[..., 2:]
    size = (end - start) * np.float32(padding)
    if not np.isfinite(box).all() or (size < 0).any() or (size.max(axis=-1) <= 0).any():
        raise ValueError(f"not a box with finite x1 <= x2, y1 <= y2 and some extent: {box.tolist()}")
    width, height, ratio = size[..., 0], size[..., 1], np.float32(aspect)
    too_wide = width > height * ratio
    scale_x, scale_y = np.where(too_wide, width, height * ratio), np.where(too_wide, width / ratio, height)
    return (start + end) * np.float32(0.5), np.stack([scale_x, scale_y], axis=-1)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of `a` (N, 4) with each of `b` (M, 4): (N, M); 0 for two empty boxes."""
    start = np.maximum(a[:, None, :2], b[None, :, :2])
    end = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.clip(end - start, 0, None).prod(axis=-1)
    area_a = np.clip(a[:, 2:] - a[:, :2], 0, None).prod(axis=-1)
    area_b = np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=-1)
    union = area_a[:, None] + area_b[None] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection, dtype=np.float64), where=union > 0)


def non_maximum_suppression(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Non-maximum suppression of boxes (N, 4) with scores (N,) at an IoU above `threshold`.

    -> indices (n,) int64 of the kept boxes, best score first; equal scores keep their order.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    overlaps = box_iou(boxes[order], boxes[order]) > threshold
    kept = np.ones(len(order), dtype=bool)
    for i in range(len(order)):
        if kept[i]:
            kept[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[kept].astype(np.int64)


def person_area(boxes_xyxy: np.ndarray) -> np.ndarray:
    """The area (...) in pixels of people in boxes (..., 4), without masks: 53 % of the box, the usual ratio in COCO."""
    return 0.53 * np.prod(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], axis=-1)


def image_box(image_size: tuple[int, int]) -> np.ndarray:
    """The box (4,) float32 of a whole image of (height, width)."""
    return np.array([0, 0, image_size[1], image_size[0]], np.float32)


def box_of_mask(mask_HW: np.ndarray) -> np.ndarray | None:
    """The smallest box (4,) float32 around the non-zero pixels of a mask; None if there are none."""
    columns = np.flatnonzero(mask_HW.any(axis=0))
    rows = np.flatnonzero(mask_HW.any(axis=1))
    if not len(columns):
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)
