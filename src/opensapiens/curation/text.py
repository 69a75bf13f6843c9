"""Writing in images: how much of the area it covers, and whether it looks laid over the picture like a watermark."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np

from opensapiens.curation.picture import Picture, Scores, shrink

SIDE = 640  # pixels of the longer side: what is too small to be seen there covers no area worth a filter
SURE = 0.7  # of the detector's scores: below, it also takes faces and plain surfaces for words
TALLEST = 1 / 3  # of the image's shorter side: what is higher is no line of writing; plain pictures are found whole


class TextArea:
    """The text detector that the library rapidocr carries in its package (PP-OCR, run by onnxruntime)."""

    name, version, full_size, gpu = "text", "2", False, False
    columns: ClassVar = {
        "text_area": "float32",
        "text_score": "float32",
        "text_boxes": "float32[]",
        "watermark": "float32",
    }

    def prepare(self) -> None:
        """Load the detector."""
        from rapidocr import RapidOCR

        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        self._engine = RapidOCR(
            params={
                "Global.log_level": "error",
                "Det.limit_type": "max",
                "Det.limit_side_len": SIDE,
                "Det.box_thresh": SURE,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def __call__(self, pictures: Sequence[Picture]) -> list[Scores]:
        """text_area: share of the image's pixels inside words, 0 to 1; text_score: of the surest word; text_boxes: 8
        numbers a word, its corners x, y in pixels of the original; watermark: see `watermark_likelihood`."""
        return [self._scores(picture) for picture in pictures]

    def _scores(self, picture: Picture) -> Scores:
        image = shrink(picture.image, SIDE)
        found: Any = self._engine(image[..., ::-1], use_det=True, use_cls=False, use_rec=False)
        boxes = np.asarray([] if found.boxes is None else found.boxes, np.float32).reshape(-1, 4, 2)
        lines = np.array([is_line(box, image.shape[:2]) for box in boxes], bool)
        if not lines.any():
            return {"text_area": 0.0, "text_score": 0.0, "text_boxes": [], "watermark": 0.0}
        boxes, scores = boxes[lines], np.asarray(found.scores)[lines]
        mask = np.zeros(image.shape[:2], np.uint8)
        for box in boxes:
            cv2.fillConvexPoly(mask, np.rint(box).astype(np.int32), 1)
        return {
            "text_area": float(mask.mean()),
            "text_score": float(scores.max()),
            "text_boxes": (boxes * (picture.size[0] / image.shape[0])).ravel().tolist(),
            "watermark": max(watermark_likelihood(image, box) for box in boxes),
        }


def is_line(box: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a found box can be a line of writing, by its height. box: 4×2 corners; size: of the image, in pixels."""
    (_, sides, _) = cv2.minAreaRect(box)
    return min(sides) <= TALLEST * min(size)


def watermark_likelihood(image: np.ndarray, box: np.ndarray) -> float:
    """How much a word looks like a translucent overlay, 0 to 1. image: H×W×3 uint8; box: 4×2 corners in its pixels.

    Letters of ink or paint have one colour; through translucent ones the picture shows. So the word's pixels are split
    in two by brightness, letters and ground, and the roughness (local contrast) of the letters is compared with that of
    the picture around the word: near 0 for paint, near 1 for glass. A rough guess, weak where the ground is plain.
    """
    left, top = np.floor(box.min(0)).astype(int)
    right, bottom = np.ceil(box.max(0)).astype(int)
    margin = max(4, (bottom - top) // 2)
    height, width = image.shape[:2]
    y1, y2, x1, x2 = (
        max(0, top - margin),
        min(height, bottom + margin),
        max(0, left - margin),
        min(width, right + margin),
    )
    if y2 - y1 < 8 or x2 - x1 < 8:
        return 0.0
    grey = cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = np.zeros(grey.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.rint(box - [x1, y1]).astype(np.int32), 1)
    around = inside == 0
    # Brightness with the picture's own slow changes taken away, so that letters stand out also on uneven ground.
    level = grey - cv2.GaussianBlur(grey, (0, 0), max(2.0, (bottom - top) / 2))
    word = inside == 1
    if word.sum() < 32 or around.sum() < 32:
        return 0.0
    scaled = cv2.normalize(level[word], None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # type: ignore[call-overload]
    cut, _ = cv2.threshold(scaled.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    upper = scaled.ravel() > cut
    # Letters cover less of a word's box than the ground does.
    letters = upper if upper.mean() < 0.5 else ~upper
    ground, ink = grey[around], grey[word][letters]
    if len(ink) < 16 or ground.std() < 1:
        return 0.0
    see_through = min(1.0, float(ink.std() / ground.std()))
    contrast = abs(float(ink.mean() - grey[word][~letters].mean())) / 255
    return see_through * max(0.0, 1 - contrast / 0.8)
