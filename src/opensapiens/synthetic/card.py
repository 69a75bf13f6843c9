"""The data card of a folder of shards: counts and histograms, as JSON and as a picture."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from opensapiens.data.shards import shard_records
from opensapiens.storage.files import write_bytes, write_json

FACINGS = ("front", "right side", "back", "left side")
"""Which side of the person the camera sees."""
PANEL = (420, 220)
COLUMNS = 3


def write_card(folder: Path | str) -> None:
    """Writes card.json and card.png beside the shards."""
    card = data_card(folder)
    write_json(Path(folder) / "card.json", card)
    write_bytes(Path(folder) / "card.png", cv2.imencode(".png", draw_card(card)[..., ::-1])[1].tobytes())


def data_card(folder: Path | str) -> dict[str, Any]:
    """Counts of frames and persons, and histograms (label -> count) of what the records say about them.

    Age, build, height and gender are on Anny's scales, 0 to 1. Scans have no pose and age; build, height and gender
    need recorded body parameters.
    """
    histograms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    frames = persons = 0
    for record in shard_records(folder):
        frames += 1
        persons += len(record["persons"])
        histograms["people per frame"][str(len(record["persons"]))] += 1
        for person in record["persons"]:
            histograms["height in the frame"][_tenth(person["height_fraction"])] += 1
            histograms["facing"][FACINGS[round(person["yaw_degrees"] / 90) % 4]] += 1
            histograms["occluded share"][_tenth(person["occluded_fraction"])] += 1
            histograms["truncated"]["yes" if person["truncated"] else "no"] += 1
            for name in ("pose", "scan"):
                if name in person:
                    histograms[name][str(person[name])] += 1
            if "age" in person:
                histograms["age"][_tenth(person["age"])] += 1
            if "body" in person:
                for name, key in (("build", "weight"), ("body height", "height"), ("gender", "gender")):
                    histograms[name][_tenth(person["body"]["phenotype"][key])] += 1
            if person["keypoints"] is not None:
                share = np.mean([point[2] == 2 for point in person["keypoints"]])
                histograms["visible share of points"][_tenth(float(share))] += 1
    ordered = {name: dict(sorted(counts.items())) for name, counts in histograms.items()}
    return {"frames": frames, "persons": persons, "histograms": ordered}


def _tenth(value: float) -> str:
    low = min(max(int(value * 10), 0), 9) / 10
    return f"{low:.1f}-{low + 0.1:.1f}"


def draw_card(card: dict[str, Any]) -> np.ndarray:
    """The histograms of a card as a picture (H, W, 3) uint8."""
    histograms = card["histograms"]
    rows = -(-len(histograms) // COLUMNS)
    picture = Image.new("RGB", (PANEL[0] * COLUMNS, PANEL[1] * max(rows, 1) + 30), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((12, 8), f"{card['frames']} frames, {card['persons']} persons", "black", ImageFont.load_default(16))
    for number, (name, counts) in enumerate(histograms.items()):
        left, top = number % COLUMNS * PANEL[0], number // COLUMNS * PANEL[1] + 30
        _draw_histogram(pen, left + 12, top, name, counts)
    return np.asarray(picture)


def _draw_histogram(pen: ImageDraw.ImageDraw, left: int, top: int, name: str, counts: dict[str, int]) -> None:
    shown = dict(sorted(counts.items(), key=lambda item: -item[1])[:10])  # the most frequent, if there are many scans
    shown = {label: shown[label] for label in counts if label in shown}
    pen.text((left, top), name, "black", ImageFont.load_default(14))
    line = (PANEL[1] - 40) / 10
    for row, (label, number) in enumerate(shown.items()):
        y = top + 22 + row * line
        pen.text((left, y), label[:16], "#333333", ImageFont.load_default(11))
        pen.rectangle((left + 105, y + 2, left + 105 + 230 * number / max(shown.values()), y + line - 4), "#4477aa")
        pen.text((left + 345, y), str(number), "#333333", ImageFont.load_default(11))
