"""What a person should look at: a table of points, and a page of crops from the views."""

from __future__ import annotations

import csv
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from opensapiens.annotation.agreement import REASONS, SURE
from opensapiens.annotation.multiview import Views
from opensapiens.drawing import sheet
from opensapiens.geometry.person_crop import warp
from opensapiens.storage.files import write_text, written
from opensapiens.storage.listing import counted
from opensapiens.storage.pictures import ImageError, read_image
from opensapiens.storage.progress import progress
from opensapiens.storage.text_files import csv_cell

COLUMNS = (
    "frame", "person_id", "point", "reason", "views_seen", "views_agreeing", "error_px", "error_relative", "deviation",
    "worst_view", "score",
)  # fmt: skip
MOST_ITEMS = 200  # on the page: more than a person looks at in one sitting; the table has all
MOST_CROPS = 8  # views per item
CROP = 220  # pixels high
LEAST_SHARE = 0.15  # of the person's size that a crop shows at least
_Shown = tuple[Path, str, int, np.ndarray]  # the sheet; group, instance, points
MODEL, AGREED = (255, 60, 60), (60, 230, 90)  # red where the view's own point is, green where the others say it is


def write_review_table(path: Path, views: Views) -> int:
    """A row per point that a person should look at, the worst first; returns how many.

    error_px: mean distance between the points of the views and where the agreed point falls in them; error_relative:
    the same over the person's size. Points that only a left-out camera sees count as unseen.
    """
    rows = []
    agreement, measured = views.agreement, views.measured
    for i, k in zip(*np.nonzero(agreement.reason), strict=True):
        errors = agreement.errors[i, :, k]
        known = np.isfinite(errors) & ~agreement.left_out
        relative = float(np.mean(agreement.relative[i, known, k])) if known.any() else np.nan
        rows.append(
            (
                -np.nan_to_num(relative, nan=-1.0),
                views.rig.frames[views.instances[i].frame],
                views.instances[i].person,
                views.keypoint_set.names[k],
                REASONS[agreement.reason[i, k]],
                int(((measured.scores[i, :, k] >= SURE) & ~agreement.left_out).sum()),
                int(agreement.agreeing[i, :, k].sum()),
                f"{np.mean(errors[known]):.2f}" if known.any() else "",
                f"{relative:.4f}" if known.any() else "",
                f"{agreement.deviation[i, k]:.5f}" if np.isfinite(agreement.deviation[i, k]) else "",
                views.rig.cameras[int(np.nanargmax(np.where(known, errors, -1)))].name if known.any() else "",
                f"{agreement.scores[i, k]:.3f}",
            )
        )
    rows.sort()
    with written(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(map(csv_cell, row[1:]) for row in rows)
    return len(rows)


def write_review_page(path: Path, images: Path, views: Views) -> None:
    """review.html with a sheet of crops per person and group of points, at most 200, those with most points first."""
    groups = np.array(views.keypoint_set.groups)
    items = []
    for i in range(len(views.instances)):
        doubtful = (views.agreement.reason[i] > 0) & (views.measured.scores[i] >= SURE).any(0)
        for group in dict.fromkeys(views.keypoint_set.groups):
            points = np.flatnonzero(doubtful & (groups == group))
            if len(points):
                items.append((i, group, points))
    items.sort(key=lambda item: (-len(item[2]), item[0]))
    folder = path.with_suffix("")
    shown: list[_Shown] = []
    for number, (i, group, points) in enumerate(progress(items[:MOST_ITEMS], "review page", unit="sheets")):
        picture = _crops(images, views, i, points)
        if picture is not None:
            file = folder / f"{number:04d}.jpg"
            with written(file) as temporary:
                Image.fromarray(picture).save(temporary, "JPEG", quality=85)
            shown.append((file, group, i, points))
    write_text(path, _page(folder, shown, len(items), views))


def _crops(images: Path, views: Views, i: int, points: np.ndarray) -> np.ndarray | None:
    """The views that see most of the points, side by side; None where no picture can be read."""
    names, measured, agreement = views.rig.names[views.instances[i].frame], views.measured, views.agreement
    sure = (measured.scores[i][:, points] >= SURE).sum(1)
    order = [int(v) for v in np.argsort(-sure, kind="stable") if sure[v] and names[v] is not None][:MOST_CROPS]
    crops, titles = [], []
    for v in sorted(order):
        try:
            image = read_image(images / str(names[v]))
        except ImageError:
            continue
        seen, scores = measured.points[i, v, points], measured.scores[i, v, points]
        crops.append(_crop(image, seen, scores, agreement.projected[i, v, points], measured.boxes[i, v]))
        titles.append(f"{views.rig.cameras[v].name}{' (left out)' if agreement.left_out[v] else ''}")
    return sheet(crops, titles, CROP, columns=4) if crops else None


def _crop(image: np.ndarray, points: np.ndarray, scores: np.ndarray, agreed: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The surroundings of some points, marked where the view has them (red) and where others say they are (green)."""
    marked = points[(scores >= SURE) & np.isfinite(points).all(-1)]
    size = float(np.sqrt(np.prod(box[2:] - box[:2]))) if np.isfinite(box).all() else 100.0
    low, high = marked.min(0), marked.max(0)
    side = max(float((high - low).max()) * 1.4, LEAST_SHARE * size, 24.0)
    start = np.round((low + high) / 2 - side / 2).astype(int)
    scale = CROP * 2 / side
    shift = np.array([[scale, 0, -start[0] * scale], [0, scale, -start[1] * scale]])
    canvas = warp(image, shift, (CROP * 2, CROP * 2))
    for point, agreed_point, score in zip(points, agreed, scores, strict=True):
        seen = _at(point, start, scale) if score >= SURE else None
        placed = _at(agreed_point, start, scale)
        if seen and placed:
            cv2.line(canvas, seen, placed, (255, 255, 255), 1, cv2.LINE_AA)
        if placed:
            cv2.circle(canvas, placed, 5, AGREED, 2, cv2.LINE_AA)
        if seen:
            cv2.circle(canvas, seen, 4, MODEL, -1, cv2.LINE_AA)
    return canvas


def _at(point: np.ndarray, start: np.ndarray, scale: float) -> tuple[int, int] | None:
    if not np.isfinite(point).all():
        return None
    x, y = np.clip((point - start) * scale, -1e4, 1e4)
    return round(float(x)), round(float(y))


_STYLE = (
    "body{background:#18181c;color:#ebebeb;font:15px sans-serif;margin:2em}img{max-width:100%}"
    "h2{margin:1.6em 0 .2em;font-size:17px}p{margin:.2em 0 .5em;color:#bbb}"
)


def _page(folder: Path, shown: Sequence[_Shown], total: int, views: Views) -> str:
    lines = [
        f"<!doctype html><meta charset='utf-8'><title>Points to look at</title><style>{_STYLE}</style>",
        f"<h1>{total} to look at</h1><p>Red: where the view itself has the point. Green ring: where the agreeing views "
        f"say it is. {len(shown)} shown, those with most points first; review.csv has every point.</p>",
    ]
    for file, group, i, points in shown:
        words = [f"{views.keypoint_set.names[k]} ({REASONS[views.agreement.reason[i, k]]})" for k in points[:12]]
        more = f" and {len(points) - 12} more" if len(points) > 12 else ""
        frame, person = views.rig.frames[views.instances[i].frame], views.instances[i].person
        title = f"frame {frame}, person {person}, {group}: {counted(len(points), 'point')}"
        lines.append(
            f"<h2>{html.escape(title)}</h2><p>{html.escape(', '.join(words) + more)}</p>"
            f"<img loading='lazy' src='{html.escape(folder.name)}/{file.name}'>"
        )
    return "\n".join(lines) + "\n"
