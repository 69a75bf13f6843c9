"""Text in images: how much of the area it covers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from opensapiens.curation.picture import Picture, Scores, shrink
from opensapiens.curation.stage import Score, Stage

SIDE = 640  # pixels of the longer side: text too small to be seen there covers no area worth a filter
SURE = 0.7  # of the detector's scores: below, it also takes faces and plain surfaces for words
TALLEST = 1 / 3  # of the image's shorter side: taller boxes are not lines of text; plain images are boxed whole


def text_detector() -> Score:
    """The text detector in the package of the library rapidocr (PP-OCR, run by onnxruntime)."""
    from rapidocr import RapidOCR

    engine = RapidOCR(
        params={
            "Global.log_level": "error",
            "Det.limit_type": "max",
            "Det.limit_side_len": SIDE,
            "Det.box_thresh": SURE,
            "EngineConfig.onnxruntime.intra_op_num_threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )

    def score(pictures: Sequence[Picture]) -> list[Scores]:
        scores = []
        for picture in pictures:
            image = shrink(picture.image, SIDE)
            detected: Any = engine(image[..., ::-1], use_det=True, use_cls=False, use_rec=False)
            scale = picture.size[0] / image.shape[0]
            scores.append(_text_scores(detected.boxes, detected.scores, image.shape[:2], scale))
        return scores

    return score


def _text_scores(boxes: np.ndarray | None, scores: np.ndarray, size: tuple[int, int], scale: float) -> Scores:
    """boxes: N×4×2 corners in an image of `size`, or None; scale: pixels of the original per pixel of that image."""
    boxes = np.asarray([] if boxes is None else boxes, np.float32).reshape(-1, 4, 2)
    lines = np.array([is_line(box, size) for box in boxes], bool)
    if not lines.any():
        return {"text_area": 0.0, "text_score": 0.0, "text_boxes": []}
    mask = np.zeros(size, np.uint8)
    for box in boxes[lines]:
        cv2.fillConvexPoly(mask, np.rint(box).astype(np.int32), 1)
    return {
        "text_area": float(mask.mean()),
        "text_score": float(np.asarray(scores)[lines].max()),
        "text_boxes": (boxes[lines] * scale).ravel().tolist(),
    }


def is_line(box: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a box is low enough for a line of text. box: 4×2 corners; size: (height, width) of the image."""
    (_, sides, _) = cv2.minAreaRect(box)
    return min(sides) <= TALLEST * min(size)


# text_area: share of the image's pixels inside words; text_score: of the surest word; text_boxes: 8 numbers a word, its
# corners x, y in pixels of the original.
TEXT = Stage("text", "3", {"text_area": "float32", "text_score": "float32", "text_boxes": "float32[]"}, text_detector)
