"""A test collection for curation with known truth: real photos that you have, and all that can be made.

$ python benchmarks/curation_collection.py --photos photos.csv --people shards/holdout --out collection

photos.csv names the real photos with what is on them: file (relative to the CSV), and tags separated by spaces out of
person, text, drawing, gray, blurred. --people is a folder that `opensapiens synthesize` wrote. Every image gets a line
in truth.csv: whether it is untouched and real, what is on it, what it was derived from and how.
"""

from __future__ import annotations

import argparse
import csv
import io
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from opensapiens.storage.pictures import read_image

WORDS = ["summer", "sale", "photo", "stock", "sample", "preview", "copyright", "agency", "www", "new", "best", "news"]
SIDE = 512  # pixels of the longer side of every image
SMALL, LONG = 65, 4  # what counts as small, in pixels of the shorter side, and as long, in shorter sides


@dataclass(frozen=True)
class Truth:
    """One line of truth.csv. base: the image it was derived from; how: in which way; real: 1 if no pixel was made."""

    file: str = ""
    base: str = ""
    how: str = "original"
    real: int = 0
    person: int = 0
    text: int = 0
    drawing: int = 0
    render: int = 0
    blurred: int = 0
    gray: int = 0
    dark: int = 0
    animated: int = 0
    small: int = 0
    long: int = 0
    corrupt: int = 0


class Writer:
    """Writes numbered images and remembers the truth of each."""

    def __init__(self, out: Path) -> None:
        self.folder = out / "images"
        self.folder.mkdir(parents=True)
        self.rows: list[Truth] = []

    def add(self, image: np.ndarray, truth: Truth, quality: int = 92) -> Truth:
        """Write an H×W×3 RGB image as JPEG. Whether it is small or long, its size says."""
        short, longer = sorted(image.shape[:2])
        truth = replace(truth, small=int(short < SMALL), long=int(longer > LONG * short))
        return self.add_bytes(jpeg(image, quality), ".jpg", truth)

    def add_bytes(self, data: bytes, ending: str, truth: Truth) -> Truth:
        """Write a file as it is."""
        name = f"{len(self.rows):06d}{ending}"
        (self.folder / name).write_bytes(data)
        self.rows.append(replace(truth, file=name, base=truth.base or name))
        return self.rows[-1]


def jpeg(image: np.ndarray, quality: int = 92) -> bytes:
    """The bytes of a JPEG file."""
    return cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def fitted(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """With a longer side of at most `side`."""
    factor = min(1.0, side / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def real_photos(table: Path) -> Iterator[tuple[np.ndarray, Truth]]:
    """The photos of the CSV, made small."""
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            tags = {tag: 1 for tag in row["tags"].split()}
            yield fitted(read_image(table.parent / row["file"])), Truth(real=1, **tags)


def synthetic_people(shards: Path, count: int, seed: int) -> Iterator[np.ndarray]:
    """Frames out of shards of synthetic people, spread over all of them."""
    places = []
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            places += [(path, m.offset_data, m.size) for m in tar if m.name.endswith(".jpg")]
    chosen = np.random.default_rng(seed).choice(len(places), min(count, len(places)), replace=False)
    for path, offset, size in (places[i] for i in np.sort(chosen)):
        with open(path, "rb") as file:
            file.seek(offset)
            yield read_image(file.read(size))


def gradient(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth colored ground, H×W×3 float 0–255."""
    corners = random.uniform(20, 235, (2, 2, 3)).astype(np.float32)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)


def rendered_objects(random: np.random.Generator) -> np.ndarray:
    """Shaded spheres with highlights and shadows on a plane."""
    height, width = int(random.integers(200, 300)), int(random.integers(200, 321))
    image = gradient(random, height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    light = random.normal(size=3) + [0, -1, 1.5]
    light = (light / np.linalg.norm(light)).astype(np.float32)
    for _ in range(random.integers(1, 7)):
        radius = float(random.uniform(0.06, 0.25)) * min(height, width)
        cx, cy = float(random.uniform(0, width)), float(random.uniform(0.3 * height, height))
        image *= 1 - 0.4 * np.exp(-(((x - cx) / radius) ** 2 + ((y - cy - radius) / (0.3 * radius)) ** 2))[..., None]
        nx, ny = (x - cx) / radius, (y - cy) / radius
        inside = nx**2 + ny**2 < 1
        nz = np.sqrt(np.maximum(0, 1 - nx**2 - ny**2))
        shade = np.maximum(0, nx * light[0] + ny * light[1] + nz * light[2])
        color = (
            random.uniform(40, 230, 3).astype(np.float32) * (0.25 + 0.75 * shade[..., None])
            + 200 * shade[..., None] ** 16
        )
        image = np.where(inside[..., None], color, image)
    return image.clip(0, 255).astype(np.uint8)


def drawing(random: np.random.Generator) -> np.ndarray:
    """Flat shapes with outlines: a figure, a house or a chart, as children and slides have them."""
    height, width = int(random.integers(320, 513)), int(random.integers(320, 513))
    paper = tuple(int(c) for c in random.integers(200, 256, 3))
    image = Image.new("RGB", (width, height), paper)
    pen = ImageDraw.Draw(image)

    def color() -> tuple[int, ...]:
        return tuple(int(c) for c in random.integers(0, 256, 3))

    for _ in range(random.integers(3, 14)):
        x1, x2 = np.sort(random.integers(0, width, 2)).tolist()
        y1, y2 = np.sort(random.integers(0, height, 2)).tolist()
        line = int(random.integers(0, 6))
        kind = random.integers(0, 4)
        if kind == 0:
            pen.ellipse((x1, y1, x2, y2), fill=color(), outline=color(), width=line)
        elif kind == 1:
            pen.rectangle((x1, y1, x2, y2), fill=color(), outline=color(), width=line)
        elif kind == 2:
            points = random.integers(0, min(height, width), (int(random.integers(3, 8)), 2))
            pen.polygon([tuple(p) for p in points.tolist()], fill=color(), outline=color(), width=line)
        else:
            pen.line((x1, y1, x2, y2), fill=color(), width=line + 1)
    return np.asarray(image)


def cartoon(image: np.ndarray) -> np.ndarray:
    """A photo redrawn with few flat colors and dark outlines."""
    flat = cv2.pyrMeanShiftFiltering(fitted(image, 256), 16, 40)
    flat = (flat // 32) * 32 + 16
    gray = cv2.medianBlur(cv2.cvtColor(fitted(image, 256), cv2.COLOR_RGB2GRAY), 7)
    edges = cv2.adaptiveThreshold(gray, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 4)
    return np.where(edges[..., None] == 0, 20, flat).astype(np.uint8)


@lru_cache
def letters(size: int) -> Any:
    """Pillow's own font in a size."""
    return ImageFont.load_default(size=size)


def with_words(image: np.ndarray, random: np.random.Generator, alpha: float, count: int, size: float) -> np.ndarray:
    """Words laid over an image. alpha: 1 paint, less shines through. size: height of the letters by the image's."""
    layer = Image.new("L", (image.shape[1], image.shape[0]), 0)
    pen = ImageDraw.Draw(layer)
    font = letters(max(12, round(size * image.shape[0])))
    for _ in range(count):
        text = " ".join(random.choice(WORDS, int(random.integers(1, 4)))).upper()
        left = random.uniform(0, max(1, image.shape[1] - pen.textlength(text, font=font)))
        pen.text((left, random.uniform(0, (1 - 1.3 * size) * image.shape[0])), text, fill=255, font=font)
    if alpha < 1 and random.random() < 0.5:
        layer = layer.rotate(float(random.uniform(-35, 35)))
    mask = np.asarray(layer, np.float32)[..., None] / 255 * alpha
    ink = 255.0 if alpha < 1 or random.random() < 0.5 else 0.0
    return (image * (1 - mask) + ink * mask).clip(0, 255).astype(np.uint8)


def page_of_text(random: np.random.Generator) -> np.ndarray:
    """Black lines of words on paper."""
    image = Image.new("RGB", (480, 640), tuple(int(c) for c in random.integers(215, 256, 3)))
    pen, size = ImageDraw.Draw(image), int(random.integers(14, 30))
    for y in range(24, 600, int(size * 1.5)):
        pen.text((24, y), " ".join(random.choice(WORDS, 9)), fill=(20, 20, 20), font=letters(size))
    return np.asarray(image)


def cropped(image: np.ndarray, random: np.random.Generator, share: float) -> np.ndarray:
    """A piece with `share` of each side."""
    height, width = (np.array(image.shape[:2]) * share).astype(int)
    top, left = random.integers(0, image.shape[0] - height + 1), random.integers(0, image.shape[1] - width + 1)
    return image[top : top + height, left : left + width]


def corrupt_files(random: np.random.Generator, image: np.ndarray) -> Iterator[bytes]:
    """Files that are no whole picture: cut off, empty, of another kind, overwritten, claiming a gigantic size."""
    data = jpeg(image)
    yield data[: int(len(data) * random.uniform(0.05, 0.6))]
    yield b""
    yield b"<html>404 not found</html>"
    yield bytes(random.integers(0, 256, 4000, dtype=np.uint8))
    yield b"\xff\xd8\xff" + bytes(600)
    bomb = io.BytesIO()
    Image.new("1", (20000, 20000)).save(bomb, "PNG")
    yield bomb.getvalue()


def add_made(writer: Writer, sources: list[tuple[np.ndarray, Truth]], random: np.random.Generator, unit: int) -> None:
    """What is derived from the photos and the synthetic people, `unit` of each kind times its weight."""

    def pick(weight: float) -> Iterator[tuple[np.ndarray, Truth]]:
        for i in random.integers(0, len(sources), int(unit * weight)):
            image, truth = sources[i]
            yield image, replace(truth, real=0)

    for image, truth in pick(3):
        alpha, size = float(random.uniform(0.2, 0.6)), float(random.uniform(0.06, 0.16))
        overlaid = with_words(image, random, alpha, int(random.integers(1, 6)), size)
        writer.add(overlaid, replace(truth, how="translucent text", text=1))
    for image, truth in pick(3):
        size = float(random.uniform(0.05, 0.14))
        writer.add(with_words(image, random, 1.0, int(random.integers(2, 8)), size), replace(truth, how="text", text=1))
    for image, truth in pick(2):
        drawn = replace(truth, how="cartoon", drawing=1, render=0, gray=0, blurred=0)
        writer.add(cartoon(image), drawn)
    for image, truth in pick(2):
        sigma = float(random.uniform(3, 9))
        writer.add(cv2.GaussianBlur(image, (0, 0), sigma), replace(truth, how="blurred", blurred=1))
    for image, truth in pick(2):
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        writer.add(gray, replace(truth, how="gray", gray=1))
    for image, truth in pick(1):
        dark = (image.astype(np.float32) * float(random.uniform(0.02, 0.15))).astype(np.uint8)
        writer.add(dark, replace(truth, how="dark", dark=1))
    for image, truth in pick(4):
        writer.add(image, replace(truth, how="re-encoded"), quality=int(random.integers(35, 80)))
    for image, truth in pick(4):
        scale = float(random.uniform(0.4, 0.8))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        writer.add(small, replace(truth, how="scaled"))
    for share in (0.97, 0.9, 0.75):
        for image, truth in pick(1.5):
            writer.add(cropped(image, random, share), replace(truth, how=f"cropped to {share:.0%}"))
    for image, truth in pick(0.5):
        writer.add(fitted(image, int(random.integers(16, 64))), replace(truth, how="small"))
    for image, truth in pick(0.5):
        strip = image[: max(8, image.shape[0] // 12)]
        writer.add(strip, Truth(base=truth.base, how="strip", render=truth.render))
    for image, truth in pick(0.3):
        frames = [Image.fromarray(fitted(np.roll(image, 9 * i, 1), 160)) for i in range(3)]
        data = io.BytesIO()
        frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
        writer.add_bytes(data.getvalue(), ".gif", replace(truth, how="animated", animated=1))


def make(photos: Path, people: Path, out: Path, unit: int, seed: int) -> list[Truth]:
    """Write the collection: about 52 images for each `unit`, and the photos."""
    random = np.random.default_rng(seed)
    writer = Writer(out)
    sources: list[tuple[np.ndarray, Truth]] = []
    for image, truth in real_photos(photos):
        sources.append((image, writer.add(image, truth, 95)))
    for image in synthetic_people(people, 15 * unit, seed):
        truth = writer.add(image, Truth(person=1, render=1))
        if len(sources) < 4 * unit:
            sources.append((image, truth))
    for _ in tqdm(range(5 * unit), desc="objects", disable=None):
        writer.add(rendered_objects(random), Truth(render=1))
    for _ in range(4 * unit):
        writer.add(drawing(random), Truth(drawing=1))
    for _ in range(2 * unit):
        writer.add(page_of_text(random), Truth(text=1, drawing=1))
    add_made(writer, sources, random, unit)
    for number in range(unit):
        data = list(corrupt_files(random, sources[number % len(sources)][0]))[number % 6]
        writer.add_bytes(data, ".jpg", Truth(how="corrupt", corrupt=1))
    with open(out / "truth.csv", "w", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Truth)])
        table.writeheader()
        table.writerows(asdict(row) for row in writer.rows)
    return writer.rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="CSV with the columns file and tags")
    parser.add_argument("--people", type=Path, required=True, help="folder of synthetic shards")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--unit", type=int, default=100, help="size: about 52 images each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = make(arguments.photos, arguments.people, arguments.out, arguments.unit, arguments.seed)
    print(f"{len(rows)} images in {arguments.out}, {sum(row.real for row in rows)} of them untouched photos")
