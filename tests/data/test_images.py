"""Images from folders and tar shards, and the squares that pretraining cuts from them."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.data.images import ImageCollection
from opensapiens.data.sample import Sample
from opensapiens.data.square_crop import SquareCrop, random_box, square_crop
from opensapiens.storage.pictures import ImageError
from opensapiens.storage.tars import TarError


def encoded(value: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 6, 3), value, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Two loose pictures, one of them deep down, and a shard of two pictures among other things, a sheet beside it."""
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "a.PNG").write_bytes(encoded(10, "png"))
    (tmp_path / "deep" / "down" / "b.jpg").write_bytes(encoded(20, "jpeg"))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "contact_sheet.png").write_bytes(encoded(77, "png"))
    with tarfile.open(tmp_path / "shards" / "shard.tar", "w") as tar:
        for name, data in {
            "1.jpg": encoded(30, "jpeg"),
            "1.json": b"{}",
            "1.parts.png": encoded(99, "png"),
            "sub/2.webp": encoded(40, "webp"),
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return tmp_path


def test_every_picture_is_found_once(collection: Path) -> None:
    images = ImageCollection(collection)
    assert [round(images[i].image.mean()) for i in range(len(images))] == [10, 20, 30, 40]
    assert images[2].image.shape == (8, 6, 3) and "shard.tar" in images[2].key
    assert len(ImageCollection(collection / "shards" / "shard.tar", collection / "a.PNG")) == 3


def test_sources_that_give_nothing(collection: Path) -> None:
    with pytest.raises(ImageError, match="no such file or folder"):
        ImageCollection(collection / "nowhere")
    (collection / "empty").mkdir()
    with pytest.raises(ImageError, match=r"no image .* in .*empty"):
        ImageCollection(collection / "empty")
    (collection / "broken.tar").write_bytes(b"no tar" * 100)
    with pytest.raises(TarError, match=r"broken.tar, byte 0: not a readable tar"):
        ImageCollection(collection)


def test_a_damaged_member_is_named(collection: Path) -> None:
    data = bytearray((collection / "shards" / "shard.tar").read_bytes())
    images = ImageCollection(collection / "shards")
    data[512:600] = bytes(88)  # the first picture's head
    (collection / "shards" / "shard.tar").write_bytes(data)
    with pytest.raises(ImageError, match=r"shard\.tar, member at byte 512"):
        images[0]
    assert round(images[1].image.mean()) == 40
    with pytest.raises(IndexError):
        images[2]


def test_boxes_keep_to_the_ranges() -> None:
    generator = np.random.default_rng(0)
    areas, aspects = [], []
    for _ in range(300):
        left, top, right, bottom = random_box(600, 800, generator, SquareCrop())
        assert 0 <= left < right <= 800 and 0 <= top < bottom <= 600
        areas.append((right - left) * (bottom - top) / (600 * 800))
        aspects.append((right - left) / (bottom - top))
    assert 0.19 < min(areas) < 0.25 and 0.85 < max(areas) <= 1.0
    assert 0.74 < min(aspects) < 0.8 and 1.25 < max(aspects) < 1.35


def test_a_picture_too_long_for_any_box_is_cut_in_the_middle() -> None:
    assert random_box(10, 1000, np.random.default_rng(0), SquareCrop()) == (493, 0, 506, 10)
    assert random_box(1000, 12, np.random.default_rng(0), SquareCrop()) == (0, 492, 12, 508)


def test_squares() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 200  # right half light
    made = [
        square_crop(
            Sample(image, "k"), (32, 32), np.random.default_rng(seed), SquareCrop(area=(1, 1), aspect=(1.5, 1.5))
        )
        for seed in range(20)
    ]
    assert all(sample.image.shape == (32, 32, 3) and sample.key == "k" for sample in made)
    flipped = [sample.image[0, 0, 0] == 200 for sample in made]
    assert 4 < sum(flipped) < 16
