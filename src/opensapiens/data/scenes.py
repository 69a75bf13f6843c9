"""Pictures to train a person detector on, composed of rendered frames, cut-out people, photos without people, and
things.

A picture is a frame at a random zoom, or people cut out of frames on a photo, or four of these as a mosaic, or a photo
alone. Picture i is a pure function of the seed and i.

Axes in names: H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from opensapiens.data.augment import Augmentation, change_image
from opensapiens.data.images import ImageCollection
from opensapiens.data.repaint import repaint_clothes
from opensapiens.data.sample import Sample
from opensapiens.data.shards import ShardDataset, shard_paths
from opensapiens.geometry.boxes import box_of_mask
from opensapiens.labels.keypoint_maps import source_indices
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308
from opensapiens.storage.files import read_regular_file
from opensapiens.storage.listing import list_files
from opensapiens.storage.pictures import MAX_FILE_BYTES, open_image

BODY = source_indices(SAPIENS_308, COCO_17)
VISIBLE = 2
LEAST_VISIBLE = 0.25  # of a person's pixels: fewer, and the person may be missed
LEAST_HEIGHT = 12  # pixels; people below may be missed
LEAST_PIXELS = 24  # of a person: fewer are nobody
LEAST_POINTS = 3  # of COCO's 17 that are seen: with fewer, it may be a knee, and the person may be missed
POINTS_TO_CUT_OUT = 6
GARMENT_CHANCE = 0.7  # of each garment in a frame whose clothes are painted anew
PHOTO_SIDE = 900  # pixels that photos are kept at
PHOTOS_KEPT = 400
COLORS = Augmentation(
    brightness=35.0,
    contrast=(0.55, 1.4),
    saturation=(0.3, 1.6),
    hue_degrees=15.0,
    gain=(0.85, 1.18),
    gamma=(0.6, 1.8),
    color_chance=0.65,
    gray_chance=0.12,
    blur_chance=0.2,
    blur_sigma=(0.4, 1.6),
    low_resolution_chance=0.15,
    noise_chance=0.2,
    noise_sigma=(2.0, 12.0),
    jpeg_chance=0.35,
    jpeg_quality=(25, 90),
    patches_chance=0.0,
)


@dataclass(frozen=True)
class SceneSettings:
    """How pictures are composed.

    mosaic_chance: of four pictures in one. frame_chance, cutout_chance: of a frame, and of people cut out of frames, in
    all that is no mosaic; the rest are photos alone.
    people: chances of 0, 1, 2, ... cut-out people. height: of a cut-out person, in heights of the picture; those of one
    picture are of similar heights. largest: of a person's longer side, in sides of the picture: who is larger may be
    missed, since another look at the picture, made smaller, finds them. zoom: of a frame: its longer side over the
    picture's. photo_zoom: of a photo, 1 = as much of it as fits. things: mean number of things before the people, and
    behind them. repainted: chance of a frame to have clothes of pieces of photos.
    """

    mosaic_chance: float = 0.35
    frame_chance: float = 0.48
    cutout_chance: float = 0.43
    people: tuple[float, ...] = (0.06, 0.3, 0.2, 0.12, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02, 0.02, 0.01, 0.01)
    height: tuple[float, float] = (0.06, 1.7)
    largest: float = 0.69
    zoom: tuple[float, float] = (0.8, 2.6)
    photo_zoom: tuple[float, float] = (1.0, 3.0)
    things: float = 1.0
    repainted: float = 0.6


@dataclass
class Layers:
    """A picture in the making: pixels, and whose they are.

    owners: (H, W) uint8, 0 = nobody. whole: owner -> the number of pixels of this person if nothing hid them.
    uncounted: owners who may be missed whatever is visible of them. cutouts: owners who can be cut out. parts: (H, W)
    uint8, ids of `SAPIENS_28`, of frames alone.
    """

    image: np.ndarray
    owners: np.ndarray
    whole: dict[int, float] = field(default_factory=dict)
    uncounted: set[int] = field(default_factory=set)
    cutouts: list[int] = field(default_factory=list)
    parts: np.ndarray | None = None

    def people(self) -> np.ndarray:
        """(N, 5) as in `Sample.people`."""
        rows = []
        for owner, visible in enumerate(np.bincount(self.owners.ravel()).tolist()):
            box = box_of_mask(self.owners == owner) if owner and visible >= LEAST_PIXELS else None
            if box is not None:
                counted = visible >= LEAST_VISIBLE * self.whole[owner] and box[3] - box[1] >= LEAST_HEIGHT
                rows.append([*box, counted and owner not in self.uncounted])
        return np.array(rows, np.float32).reshape(-1, 5)


class FrameDataset:
    """Whole frames of shards, with everybody's box, for validation of a detector."""

    def __init__(self, *folders: Path | str) -> None:
        """Raises ShardError for a folder without shards."""
        self.shards = ShardDataset([path for folder in folders for path in shard_paths(folder)], kinds=())
        self._seen: dict[int, dict[int, int]] = {}  # of frames that were read: person -> points that are seen

    def __len__(self) -> int:
        return len(self.shards.keys)

    def __getitem__(self, index: int) -> Sample:
        """Frame `index`. Raises IndexError past the end, ShardError for a damaged frame."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        frame = self.layers(index)
        return Sample(image=frame.image, key=self.shards.name_of_frame(index), people=frame.people())

    def layers(self, index: int, with_parts: bool = False) -> Layers:
        """Frame `index`; people without a record, or of whom little is seen, may be missed."""
        if index not in self._seen:
            persons = self.shards.read_frame(index, ("jpg", "json"))["json"]["persons"]
            self._seen[index] = {
                int(p["id"]): 0 if p["keypoints"] is None else int((np.array(p["keypoints"])[BODY, 2] == VISIBLE).sum())
                for p in persons
            }
        seen = self._seen[index]
        contents = self.shards.read_frame(index, ("jpg", "instances.png", *(("parts.png",) if with_parts else ())))
        owners = contents["instances.png"]
        counts = np.bincount(owners.ravel()).tolist()
        whole = {owner: float(count) for owner, count in enumerate(counts) if owner and count}
        uncounted = {owner for owner in whole if seen.get(owner, 0) < LEAST_POINTS}
        cutouts = [owner for owner in sorted(set(whole) - uncounted) if seen[owner] >= POINTS_TO_CUT_OUT]
        return Layers(contents["jpg"], owners, whole, uncounted, cutouts, contents.get("parts.png"))


class Scenes:
    """A sequence of composed pictures of one size.

    Args:
        frames: folders of shards of rendered frames.
        photos: a folder of photos without people; None = frames only.
        things: a folder of cut-out things, PNG with transparency, that are put before and behind people.
        size: height and width.
        count: number of pictures.
        seed: of everything.
        settings: how they are composed.
    """

    def __init__(
        self,
        frames: Sequence[Path | str],
        photos: Path | str | None = None,
        things: Path | str | None = None,
        size: tuple[int, int] = (416, 416),
        count: int = 1_000_000,
        seed: int = 0,
        settings: SceneSettings = SceneSettings(),
    ) -> None:
        self.frames = FrameDataset(*frames)
        self.photos = None if photos is None else ImageCollection(photos)
        self.things = [] if things is None else sorted(list_files(Path(things), (".png",)).files)
        self.size, self.count, self.seed, self.settings = size, count, seed, settings

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Picture `index`. Raises IndexError past the end; ShardError, ImageError for what cannot be read."""
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        rng = np.random.default_rng((self.seed, 4, index))
        layers = self.compose(rng)
        image = change_image(layers.image, 0.6 * self.size[0], rng, COLORS)
        people = layers.people()
        sides = (people[:, 2:4] - people[:, :2]).max(axis=1)
        people[sides > self.settings.largest * max(self.size), 4] = 0
        return Sample(image=image, key=f"scene:{self.seed}/{index}", people=people)

    def compose(self, rng: np.random.Generator) -> Layers:
        """A picture before light, lens and compression change it."""
        if rng.random() < self.settings.mosaic_chance:
            layers = self._mosaic(rng)
        else:
            layers = self._scene(rng, self.size)
        if rng.random() < 0.5:
            layers.image = np.ascontiguousarray(layers.image[:, ::-1])
            layers.owners = np.ascontiguousarray(layers.owners[:, ::-1])
        return layers

    def _mosaic(self, rng: np.random.Generator) -> Layers:
        height, width = self.size
        y, x = int(height * rng.uniform(0.35, 0.65)), int(width * rng.uniform(0.35, 0.65))
        mosaic = Layers(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8))
        for rows, columns in (
            (slice(0, y), slice(0, x)), (slice(0, y), slice(x, width)),
            (slice(y, height), slice(0, x)), (slice(y, height), slice(x, width)),
        ):  # fmt: skip
            part = self._scene(rng, (rows.stop - rows.start, columns.stop - columns.start))
            mosaic.image[rows, columns] = part.image
            table = np.zeros(256, np.uint8)
            for owner in sorted(part.whole):
                if len(mosaic.whole) < 250:
                    table[owner] = new = len(mosaic.whole) + 1
                    mosaic.whole[new] = part.whole[owner]
                    mosaic.uncounted |= {new} if owner in part.uncounted else set()
            mosaic.owners[rows, columns] = table[part.owners]
        return mosaic

    def _scene(self, rng: np.random.Generator, size: tuple[int, int]) -> Layers:
        settings = self.settings
        draw = rng.random()
        if draw < settings.frame_chance or self.photos is None:
            return self._zoomed_frame(rng, size)
        layers = Layers(self._backdrop(rng, size), np.zeros(size, np.uint8))
        self._add_things(rng, layers)
        if draw < settings.frame_chance + settings.cutout_chance:
            self._add_people(rng, layers)
            self._add_things(rng, layers)
        return layers

    def _frame(self, rng: np.random.Generator) -> Layers:
        """A frame, at times with other clothes."""
        index = int(rng.integers(len(self.frames)))
        repainted = self.photos is not None and rng.random() < self.settings.repainted
        frame = self.frames.layers(index, with_parts=repainted)
        if frame.parts is not None:
            frame.image = repaint_clothes(
                rng, frame.image, frame.owners, frame.parts, lambda size: self._backdrop(rng, size), GARMENT_CHANCE
            )
        return frame

    def _zoomed_frame(self, rng: np.random.Generator, size: tuple[int, int]) -> Layers:
        frame = self._frame(rng)
        height, width = size
        low, high = np.log(self.settings.zoom)
        scale = float(np.exp(rng.uniform(low, high))) * max(size) / max(frame.image.shape[:2])
        spare = np.array([width, height]) - np.array(frame.image.shape[1::-1]) * scale
        left, top = rng.uniform(0, 1, 2) * spare
        matrix = np.array([[scale, 0, left], [0, scale, top]], np.float32)
        image = cv2.warpAffine(*_before_warp(frame.image, matrix), (width, height), flags=cv2.INTER_LINEAR)
        owners = cv2.warpAffine(frame.owners, matrix, (width, height), flags=cv2.INTER_NEAREST)
        whole = {owner: pixels * scale**2 for owner, pixels in frame.whole.items()}
        layers = Layers(image, owners, whole, set(frame.uncounted))
        if (spare > 1).any():
            inside = cv2.warpAffine(
                np.full(frame.image.shape[:2], 255, np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST
            )
            outside = inside == 0
            around = self._backdrop(rng, size) if rng.random() < 0.8 else _plain(rng, size)
            layers.image[outside] = around[outside]
        return layers

    def _backdrop(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """A window of a photo, at times blurred."""
        if self.photos is None:
            return _plain(rng, size)
        photo = _photo(self.photos, int(rng.integers(len(self.photos))))
        height, width = size
        fit = min(photo.shape[0] / height, photo.shape[1] / width)
        share = fit / float(np.exp(rng.uniform(*np.log(self.settings.photo_zoom))))
        rows, columns = max(round(height * share), 1), max(round(width * share), 1)
        top = int(rng.integers(photo.shape[0] - rows + 1))
        left = int(rng.integers(photo.shape[1] - columns + 1))
        part = photo[top : top + rows, left : left + columns]
        window = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if share > 1 else cv2.INTER_LINEAR)
        return cv2.GaussianBlur(window, (0, 0), float(rng.uniform(1, 6))) if rng.random() < 0.25 else window

    def _add_people(self, rng: np.random.Generator, layers: Layers) -> None:
        chances = np.array(self.settings.people)
        count = int(rng.choice(len(chances), p=chances / chances.sum()))
        low, high = np.log(self.settings.height)
        typical = rng.uniform(low + 0.06 * min(count, 6), high - 0.16 * min(count, 6))  # many people are smaller
        heights = np.sort(np.exp(np.clip(rng.normal(typical, 0.35, count), low, high)))
        for height in heights:  # smaller ones are farther away
            self._paste_person(rng, layers, float(height) * layers.image.shape[0])

    def _paste_person(self, rng: np.random.Generator, layers: Layers, height: float) -> None:
        frame = self._frame(rng)
        if not frame.cutouts:
            return
        mask = frame.owners == frame.cutouts[int(rng.integers(len(frame.cutouts)))]
        box = box_of_mask(mask)
        if box is None:
            return
        x1, y1, x2, y2 = box.astype(int)
        cutout, alpha = frame.image[y1:y2, x1:x2], mask[y1:y2, x1:x2].astype(np.float32)
        if y2 - y1 < 24 or height > 3.0 * (y2 - y1):
            return
        if rng.random() < 0.5:
            cutout, alpha = cutout[:, ::-1], alpha[:, ::-1]
        placed = _placed(rng, cutout, alpha, height, layers.image.shape[:2], inside=0.5)
        if placed is None or len(layers.whole) > 200:
            return
        window, pixels, alpha, whole = placed
        pixels = _toned(rng, pixels, alpha, layers.image[window])
        _blend(layers.image[window], pixels, alpha)
        owner = len(layers.whole) + 1
        layers.owners[window][alpha > 0.5] = owner
        layers.whole[owner] = whole

    def _add_things(self, rng: np.random.Generator, layers: Layers) -> None:
        for _ in range(rng.poisson(self.settings.things) if self.things else 0):
            picture = _thing(self.things[int(rng.integers(len(self.things)))])
            height = layers.image.shape[0] * float(np.exp(rng.uniform(np.log(0.05), np.log(0.6))))
            alpha = picture[..., 3].astype(np.float32) / 255
            placed = _placed(rng, picture[..., :3], alpha, height, layers.image.shape[:2], inside=0.3)
            if placed is not None:
                window, pixels, alpha, _ = placed
                _blend(layers.image[window], pixels, alpha)
                layers.owners[window][alpha > 0.5] = 0


@lru_cache(maxsize=PHOTOS_KEPT)
def _photo(photos: ImageCollection, index: int) -> np.ndarray:
    image = photos[index].image
    scale = PHOTO_SIDE / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image


@lru_cache(maxsize=512)
def _thing(path: Path) -> np.ndarray:
    """(H, W, 4) uint8 RGB and alpha."""
    with open_image(read_regular_file(path, MAX_FILE_BYTES), str(path)) as image:
        return np.asarray(image.convert("RGBA"))


def _plain(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return np.full((*size, 3), rng.integers(0, 256, 3 if rng.random() < 0.5 else 1), np.uint8)


def _before_warp(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image shrunk by area where the matrix shrinks it by more than a half, and the matrix for it."""
    scale = float(matrix[0, 0])
    if scale > 0.7:
        return image, matrix
    shrunk = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    fits = np.array(image.shape[1::-1]) * scale / np.array(shrunk.shape[1::-1])
    return shrunk, np.array([[fits[0], 0, matrix[0, 2]], [0, fits[1], matrix[1, 2]]], np.float32)


def _placed(
    rng: np.random.Generator,
    cutout: np.ndarray,
    alpha: np.ndarray,
    height: float,
    size: tuple[int, ...],
    inside: float,
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray, float] | None:
    """A cut-out at a height in pixels, at a random place of a picture of which it is inside by at least the given share
    of each side: the window of the picture, the pixels and alpha there, and the whole alpha's sum."""
    scale = height / cutout.shape[0]
    new = max(round(cutout.shape[1] * scale), 2), max(round(height), 2)
    if max(new) > 4 * max(size):
        return None
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = cv2.resize(np.ascontiguousarray(cutout), new, interpolation=method)
    alpha = cv2.resize(np.ascontiguousarray(alpha), new, interpolation=method)
    if alpha.shape[0] > 40:
        alpha = np.clip(cv2.GaussianBlur(alpha, (0, 0), 0.8) * 2 - 0.9, 0, 1)  # a soft edge, a little inside
    whole = float((alpha > 0.5).sum())
    starts = []
    for length, picture in ((new[1], size[0]), (new[0], size[1])):
        overlap = inside * min(length, picture)
        starts.append(int(rng.uniform(overlap - length, picture - overlap)))
    top, left = starts
    rows = slice(max(top, 0), min(top + new[1], size[0]))
    columns = slice(max(left, 0), min(left + new[0], size[1]))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return None
    part = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return (rows, columns), pixels[part], alpha[part], whole


def _toned(rng: np.random.Generator, pixels: np.ndarray, alpha: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The cut-out's pixels, part of the way to the brightness of what lies below, so that edges do not give it away."""
    solid = alpha > 0.5
    if not solid.any():
        return pixels
    own, other = pixels[solid].mean(), below.mean()
    factor = np.clip((other + 10) / (own + 10), 0.4, 2.0) ** rng.uniform(0, 0.8)
    return cv2.convertScaleAbs(pixels, alpha=float(factor))


def _blend(picture: np.ndarray, pixels: np.ndarray, alpha: np.ndarray) -> None:
    mixed = picture + (pixels.astype(np.float32) - picture) * alpha[..., None]
    picture[:] = mixed.astype(np.uint8)
