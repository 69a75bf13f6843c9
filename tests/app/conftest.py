"""Photos and videos of a painted person, and the network that reads its answers off them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.inference.conftest import PaintedDetector, paint, painted_model

from opensapiens.inference.encoding import Encoder
from opensapiens.inference.pipeline import People

BOXES = [(20, 10, 80, 110), (120, 20, 180, 100)]


@pytest.fixture
def people() -> People:
    return People([painted_model()], PaintedDetector())


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Two people, who score 0.9 and 0.89."""
    path = tmp_path / "two people.png"
    Image.fromarray(paint(BOXES)).save(path)
    return path


@pytest.fixture
def damaged(photo: Path) -> Path:
    path = photo.with_name("damaged.png")
    path.write_bytes(photo.read_bytes()[:-1000])
    return path


def write_clip(path: Path, picture: np.ndarray, frames: int, rate: int) -> Path:
    """A video that shows one picture."""
    encoder = Encoder(path, (picture.shape[0], picture.shape[1]), Fraction(rate))
    for number in range(frames):
        encoder.add(picture, number / rate)
    encoder.close()
    return path
