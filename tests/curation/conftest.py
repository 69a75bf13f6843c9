"""Small images with known content, and stages that cost nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from opensapiens.curation import pack as pack_module
from opensapiens.curation import score as score_module
from opensapiens.curation.engine import Pool
from opensapiens.curation.picture import Picture, Scores
from opensapiens.curation.stage import Score, Stage


def noise_image(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth random picture, H×W×3 uint8, different for each seed also to a perceptual hash."""
    random = np.random.default_rng(seed)
    return cv2.resize(
        random.integers(0, 256, (8, 8, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )


def encoded(image: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def mean_of(pictures: Sequence[Picture]) -> list[Scores]:
    """The mean of all pixels."""
    return [{"mean": float(picture.image.mean())} for picture in pictures]


def mean_stage(make: Callable[[], Score] = lambda: mean_of, gpu: bool = False) -> Stage:
    """A stage that says how bright an image is."""
    return Stage("mean", "1", {"mean": "float32"}, make, gpu=gpu)


def without_ray(count: int, pools: Sequence[Pool], workers: int) -> Iterator[dict[str, Any]]:
    """What `run_pieces` does, in this process; the last piece first."""
    steps = [pool.make() for pool in pools]
    for piece in reversed(range(count)):
        batch: dict[str, Any] = {"id": np.array([piece])}
        for step in steps:
            batch = step(batch)
        yield {name: column[0] for name, column in batch.items()}


@contextmanager
def no_ray(workers: int | None = None, address: str | None = None) -> Iterator[int]:
    """What `ray_running` gives, without Ray."""
    yield workers or 1


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[pytest.MonkeyPatch]:
    """Starting Ray takes longer than all the rest together: one test does, for the others the engine is replaced."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (score_module, pack_module):
            patch.setattr(module, "run_pieces", without_ray)
            patch.setattr(module, "ray_running", no_ray)
        patch.setattr(score_module, "gpus_available", lambda: False)
        yield patch
