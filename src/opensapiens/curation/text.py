"""Writing in images: how much of the area it covers."""

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

    name, version, full_size, gpu = "text", "3", False, False
    columns: ClassVar = {"text_area": "float32", "text_score": "float32", "text_boxes": "float32[]"}

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
        numbers a word, its corners x, y in pixels of the original."""
        return [self._scores(picture) for picture in pictures]

    def _scores(self, picture: Picture) -> Scores:
        image = shrink(picture.image, SIDE)
        found: Any = self._engine(image[..., ::-1], use_det=True, use_cls=False, use_rec=False)
        boxes = np.asarray([] if found.boxes is None else found.boxes, np.float32).reshape(-1, 4, 2)
        lines = np.array([is_line(box, image.shape[:2]) for box in boxes], bool)
        if not lines.any():
            return {"text_area": 0.0, "text_score": 0.0, "text_boxes": []}
        boxes, scores = boxes[lines], np.asarray(found.scores)[lines]
        mask = np.zeros(image.shape[:2], np.uint8)
        for box in boxes:
            cv2.fillConvexPoly(mask, np.rint(box).astype(np.int32), 1)
        return {
            "text_area": float(mask.mean()),
            "text_score": float(scores.max()),
            "text_boxes": (boxes * (picture.size[0] / image.shape[0])).ravel().tolist(),
        }


def is_line(box: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a found box can be a line of writing, by its height. box: 4×2 corners; size: of the image, in pixels."""
    (_, sides, _) = cv2.minAreaRect(box)
    return min(sides) <= TALLEST * min(size)
