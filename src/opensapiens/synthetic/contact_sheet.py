"""The contact sheet of a folder of shards: frames and their labels."""

from pathlib import Path

import cv2
import numpy as np

from opensapiens.data.label_kinds import ALBEDO, ALPHA, DEPTH, NORMALS, PARTS, POINTS
from opensapiens.data.shards import ShardDataset
from opensapiens.drawing.dense import depth_colors, draw_parts, normal_colors, over_checkers
from opensapiens.drawing.sheet import sheet
from opensapiens.drawing.skeleton import draw_keypoints
from opensapiens.labels.keypoints import SAPIENS_308
from opensapiens.labels.parts import SAPIENS_28

COLUMNS, FRAMES = 8, 64
ENLARGED = 2
"""Scale of the pictures; the points of a face would overlap without it."""


def contact_sheet(folder: Path | str) -> np.ndarray:
    """The first frames of a folder of shards (H, W, 3) uint8: the first eight as image, visible points, parts, depth
    and normals, and as the distances of points, alpha, the cut-out and albedo where there are such; the others as image
    only."""
    dataset = ShardDataset(folder)
    titles_of_rows = (
        "image",
        "points",
        PARTS.name,
        DEPTH.name,
        NORMALS.name,
        "meters",
        ALPHA.name,
        "cut-out",
        ALBEDO.name,
    )
    rows: dict[str, list[np.ndarray]] = {title: [] for title in titles_of_rows}
    for number in range(min(COLUMNS, len(dataset.keys))):
        frame = dataset.read_frame(number)
        image = cv2.resize(frame["jpg"], None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
        somebody = frame["instances.png"] > 0
        depth = np.where(somebody, frame["depth.png"] * frame["json"]["depth_scale"], np.nan)
        normals = np.where(somebody[..., None], frame["normals.png"] / 127.5 - 1, np.nan)
        rows["image"].append(image)
        rows[DEPTH.name].append(depth_colors(depth))
        rows[NORMALS.name].append(normal_colors(normals))
        if "parts.png" in frame:  # points and parts are not known for scans
            for person in frame["json"]["persons"]:
                keypoints = np.array(person["keypoints"])
                image = draw_keypoints(image, keypoints[:, :2] * ENLARGED, keypoints[:, 2] / 2, SAPIENS_308, 0.75)
            rows["points"].append(image)
            dark = np.full_like(frame["jpg"], 30)
            rows[PARTS.name].append(draw_parts(dark, frame["parts.png"], SAPIENS_28, opacity=1.0))
        if POINTS.member in frame:
            rows["meters"].append(depth_colors(frame[POINTS.member][..., 2]))
        if ALPHA.member in frame:
            alpha = frame[ALPHA.member]
            rows[ALPHA.name].append(cv2.merge([alpha] * 3))
            shares = alpha[..., None] / np.float32(255)
            rows["cut-out"].append(over_checkers(np.concatenate([frame["jpg"] / 255 * shares, shares], axis=-1)))
        if ALBEDO.member in frame:
            rows[ALBEDO.name].append(frame[ALBEDO.member])
    titles = [title for title, row in rows.items() for _ in row]
    pictures = [picture for row in rows.values() for picture in row]
    for number in range(COLUMNS, min(FRAMES, len(dataset.keys))):
        pictures.append(dataset.read_frame(number)["jpg"])
        titles.append("image")
    return sheet(pictures, titles, height=320, columns=len(rows["image"]))
