"""Frames with composed objects in place of people: pretraining data to compare people with."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from opensapiens.data.shards import ShardDataset, write_shard
from opensapiens.storage.folders import claim
from opensapiens.storage.pictures import read_image
from opensapiens.storage.tars import contents, write_tar

PIECES = (3, 7)
"""Number of ellipses, boxes and triangles of an object; about as many as a person shows limbs."""


def replace_people(people: Path, out: Path) -> Path:
    """Writes the frames of a folder of shards to `out`, each person replaced by an object of the same visible area.

    The shards hold images only. Existing ones are kept, so a call that was stopped can be continued.
    """
    claim(out, "objects in place of people", {"people": str(people.resolve())})
    for path in tqdm(sorted(people.glob("*.tar")), desc=str(out), unit="shard"):
        if not (out / path.name).exists():
            shard = ShardDataset([path])
            write_shard(out / path.name, _frames(shard))
    return out


def only_images(people: Path, out: Path) -> Path:
    """Writes the frames of a folder of shards to `out` as images only, with the JPEG quality of `replace_people`."""
    claim(out, "images alone", {"people": str(people.resolve())})
    for path in tqdm(sorted(people.glob("*.tar")), desc=str(out), unit="shard"):
        if not (out / path.name).exists():
            write_tar(
                out / path.name,
                ((member.name, _jpeg(read_image(data)[..., ::-1])) for member, data in contents(path, ".jpg")),
            )
    return out


def _frames(shard: ShardDataset) -> Iterator[tuple[str, dict[str, bytes]]]:
    for number, key in enumerate(shard.keys):
        frame = shard.read_frame(number, ("jpg", "instances.png"))
        generator = np.random.default_rng([int(key) if key.isdigit() else number, 4])
        image = objects_in_place(frame["jpg"], frame["instances.png"], generator)
        yield key, {"jpg": _jpeg(image[..., ::-1])}


def _jpeg(image_bgr: np.ndarray) -> bytes:
    _, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return data.tobytes()


def objects_in_place(image: np.ndarray, instances: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Replaces each person by an object.

    The person's pixels are inpainted; the object has the person's colors, visible area and center.

    Args:
        image: (H, W, 3) uint8 RGB.
        instances: (H, W) uint8, 0 where nobody is, else the number of the person.
    """
    people = (instances > 0).astype(np.uint8)
    if not people.any():
        return image
    hole = cv2.dilate(people, np.ones((5, 5), np.uint8))  # the outline would show
    picture = np.where(hole[..., None] > 0, _filled_in(image, hole), image)
    for number in np.unique(instances[instances > 0]):
        mask = instances == number
        pixels = image[mask]
        pieces = _pieces(generator)
        rows, columns = np.nonzero(mask)
        center = float(columns.mean()), float(rows.mean())
        for piece in _scaled_to(pieces, center, int(mask.sum()), mask.shape):
            _paint(picture, piece, pixels, generator)
    return picture


def _filled_in(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Inpaints the hole, at half the size since the result is smooth."""
    height, width = hole.shape
    half = (max(width // 2, 1), max(height // 2, 1))
    small = (cv2.resize(255 * hole, half, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.inpaint(cv2.resize(image, half, interpolation=cv2.INTER_AREA), small, 3, cv2.INPAINT_TELEA)
    return cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)


def _pieces(generator: np.random.Generator) -> list[np.ndarray]:
    """Outlines (N, 2) of the pieces of an object, around the origin, about 1 in size, overlapping."""
    outlines = []
    for _ in range(generator.integers(*PIECES)):
        size, turn = generator.uniform(0.15, 0.6, 2), generator.uniform(0, 2 * np.pi)
        corners = int(generator.choice([3, 4, 32]))
        angles = np.arange(corners) / corners * 2 * np.pi + np.pi / corners
        outline = np.column_stack([np.cos(angles), np.sin(angles)]) * size
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        outlines.append(outline @ rotation.T + generator.uniform(-0.45, 0.45, 2) * (0.7, 1.3))
    return outlines


def _scaled_to(
    pieces: list[np.ndarray], center: tuple[float, float], area: int, size: tuple[int, ...]
) -> list[np.ndarray]:
    """The pieces as masks (H, W) bool, scaled until they cover `area` pixels of the picture together."""

    def drawn(scale: float, chosen: list[np.ndarray]) -> np.ndarray:
        mask = np.zeros(size, np.uint8)
        for piece in chosen:
            points = np.round((piece * scale + center) * 16).clip(-(2**20), 2**20).astype(np.int32)
            cv2.fillPoly(mask, [points], 1, shift=4)
        return mask

    low, high = 0.0, 4.0 * max(size)
    for _ in range(16):
        scale = (low + high) / 2
        low, high = (scale, high) if cv2.countNonZero(drawn(scale, pieces)) < area else (low, scale)
    return [drawn(high, [piece]) > 0 for piece in pieces]


def _paint(picture: np.ndarray, mask: np.ndarray, pixels: np.ndarray, generator: np.random.Generator) -> None:
    """Paints one piece: two of the person's colors in soft blotches, darker towards one side, with a little noise."""
    if not mask.any():
        return
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    mask = mask[window]
    colors = pixels[generator.integers(len(pixels), size=2)].astype(np.float32)
    cells = generator.random((int(generator.integers(2, 12)), int(generator.integers(2, 12)))).astype(np.float32)
    share = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    turn = generator.uniform(0, 2 * np.pi)
    slope = np.cos(turn) * columns / width + np.sin(turn) * rows / height
    light = (1 + 0.8 * (slope - slope[mask].mean()))[..., None].clip(0.4, 1.6)
    noise = 4 * generator.standard_normal((height, width, 3), np.float32)
    paint = (colors[0] * share + colors[1] * (1 - share)) * light + noise
    picture[window][mask] = paint.clip(0, 255).astype(np.uint8)[mask]
