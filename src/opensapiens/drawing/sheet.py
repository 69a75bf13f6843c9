"""Several pictures on one sheet with titles, and the legend of a part map."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from opensapiens.labels.parts import PartSet

_PAPER = (24, 24, 28)
_INK = (235, 235, 235)
WIDEST = 4  # aspect ratio of a sheet's images: wider ones get less height


def sheet(
    images: Sequence[np.ndarray], titles: Sequence[str], height: int = 640, columns: int | None = None
) -> np.ndarray:
    """Images in rows under their titles, scaled to the same height (see WIDEST), on dark paper.

    columns: images per row, by default all. Raises ValueError unless there are images and as many titles.
    """
    if not images or len(images) != len(titles):
        raise ValueError(f"a sheet needs one title for each image, got {len(images)} images and {len(titles)} titles")
    columns = columns or len(images)
    margin, title_height = max(4, height // 64), max(18, height // 18)
    font = ImageFont.load_default(size=title_height * 0.62)
    tiles = [_scaled(image, height) for image in images]
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]
    width = max(sum(tiles[i].width + margin for i in row) for row in rows) + margin
    paper = Image.new("RGB", (width, len(rows) * (height + title_height + margin) + margin), _PAPER)
    pen = ImageDraw.Draw(paper)
    for row_number, row in enumerate(rows):
        x, y = margin, margin + row_number * (height + title_height + margin)
        for i in row:
            pen.text((x + 2, y), titles[i], fill=_INK, font=font)
            paper.paste(tiles[i], (x, y + title_height))
            x += tiles[i].width + margin
    return np.asarray(paper)


def legend(part_set: PartSet, present: Sequence[int], height: int = 640) -> np.ndarray:
    """Color swatches with names for the labels given (0 is left out), as a panel of the given height in pixels."""
    shown = [label for label in sorted({int(label) for label in present}) if 0 < label < len(part_set.names)]
    line = max(10, min(height // 16, height // (len(shown) + 1)))
    font = ImageFont.load_default(size=line * 0.62)
    names = [part_set.names[label].replace("_", " ") for label in shown] or ["no parts found"]
    text_width = max(round(font.getlength(name)) for name in names)
    panel = Image.new("RGB", (line * 2 + text_width, height), _PAPER)
    pen = ImageDraw.Draw(panel)
    for row, name in enumerate(names):
        top = round((row + 0.5) * line)
        if shown:
            color = tuple(int(c) for c in part_set.colors[shown[row]])
            pen.rounded_rectangle((line * 0.3, top, line * 1.2, top + line * 0.75), radius=line * 0.15, fill=color)
        pen.text((line * 1.5, top), name, fill=_INK, font=font)
    return np.asarray(panel)


def _scaled(image: np.ndarray, height: int) -> Image.Image:
    factor = min(height / image.shape[0], WIDEST * height / image.shape[1])
    width, height = (max(1, round(side * factor)) for side in image.shape[1::-1])
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LANCZOS4
    return Image.fromarray(cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=interpolation))
