"""Who is who in a picture: each person's box and number, in a color of their own."""

import colorsys
from collections.abc import Iterable

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

TURN = 0.618034  # of the circle of hues, from one number to the next: the golden ratio keeps neighbors apart


def person_color(number: int) -> tuple[int, int, int]:
    """RGB of a person's number: bright, the same wherever the number comes up, and unlike those of nearby numbers."""
    red, green, blue = colorsys.hsv_to_rgb((number * TURN) % 1, 0.75 if number % 2 else 0.45, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_tags(image: np.ndarray, people: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """Boxes with numbers over a copy of the (H, W, 3) uint8 RGB image. people: number and xyxy box in pixels."""
    height, width = image.shape[:2]
    size = max(12, round(max(height, width) / 45))
    font = ImageFont.load_default(size=size)
    canvas = np.ascontiguousarray(image).copy()
    for number, box in people:
        color = person_color(number)
        corners = [(round(float(x)), round(float(y))) for x, y in np.asarray(box, float).reshape(2, 2)]
        cv2.rectangle(canvas, corners[0], corners[1], color, max(2, size // 8), cv2.LINE_AA)
        x1, y1, x2, y2 = font.getbbox(str(number))
        tag = Image.new("RGB", (round(x2 - x1) + size // 2, round(y2 - y1) + size // 2), color)
        ImageDraw.Draw(tag).text((size // 4 - x1, size // 4 - y1), str(number), fill=(20, 20, 20), font=font)
        left = int(np.clip(box[0], 0, max(width - tag.width, 0)))
        top = int(np.clip(box[1] - tag.height, 0, max(height - tag.height, 0)))
        shown = np.asarray(tag)[: height - top, : width - left]
        canvas[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return canvas


def side_by_side(pictures: list[np.ndarray], widest: int) -> np.ndarray:
    """Pictures of one size in a row, scaled down where that is wider than `widest` pixels."""
    row = np.concatenate(pictures, axis=1)
    if row.shape[1] <= widest:
        return row
    height = max(2, round(row.shape[0] * widest / row.shape[1]))
    return cv2.resize(row, (widest, height), interpolation=cv2.INTER_AREA)
