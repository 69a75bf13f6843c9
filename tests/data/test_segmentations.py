"""Polygons and run lengths in and out, as COCO has them."""

import numpy as np
import pytest

from opensapiens.data.segmentations import mask_of, polygons_of, run_lengths_of


def blobs(seed: int = 0, shape: tuple[int, int] = (60, 40)) -> np.ndarray:
    """A mask with holes, and pieces at the borders of the picture."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    phase = np.random.default_rng(seed).uniform(0, 6, 2)
    return np.sin(rows / 5 + phase[0]) + np.cos(columns / 4 + phase[1]) > 0.2


def test_run_lengths_round_trip() -> None:
    for mask in (blobs(), ~blobs(), np.zeros((3, 4), bool), np.ones((3, 4), bool)):
        assert (mask_of(run_lengths_of(mask), mask.shape) == mask).all()
    lengths = run_lengths_of(np.array([[0, 1], [1, 1]], bool))
    assert lengths == {"size": [2, 2], "counts": [1, 3]}, "down the columns, zeros first"


def test_polygons_round_trip() -> None:
    mask = np.zeros((60, 40), bool)
    mask[5:30, 3:20] = True
    mask[40:, 25:] = True
    mask[45:50, 0:9] = np.tri(5, 9, 3, dtype=bool)
    outlines = polygons_of(mask)
    assert len(outlines) == 3 and (mask_of(outlines, mask.shape) == mask).all()
    assert min(outlines[-1][::2] + outlines[0][::2]) >= 0.5, "the center of the first pixel lies at a half"


def test_compressed_run_lengths_are_those_of_coco() -> None:
    coco = pytest.importorskip("faster_coco_eval.core.mask")
    for seed in range(3):
        mask = blobs(seed)
        encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        text = encoded["counts"].decode()
        assert (mask_of({"size": [60, 40], "counts": text}, (60, 40)) == mask).all()
        plain = coco.decode(coco.frPyObjects(run_lengths_of(mask), 60, 40))
        assert (plain.astype(bool) == mask).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": [60, 40], "counts": [5, 5]},
        {"size": [60, 40], "counts": [10**15]},
        {"size": [60, 40], "counts": [-3, 2403]},
        {"size": [40, 60], "counts": [2400]},
        {"size": [60, 40], "counts": "~~"},
        {"size": [60, 40]},
        {"size": 2400, "counts": [2400]},
        {"size": [60, 40], "counts": [None]},
        {"size": [60, 40], "counts": ["2400"]},
        {"size": [60, 40], "counts": [2399.5, 0.5]},
        {"size": [60, 40], "counts": [2**70]},
        {"size": [60, 40], "counts": "o" * 10_000},  # one number of 50,000 bits
        [[]],
        [[1, 2, None, 4, 5, 6]],
        [["1", 2, 3, 4, 5, 6]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, float("nan")]],
        "polygon",
    ],
)
def test_a_segmentation_that_is_none(wrong: object) -> None:
    with pytest.raises(ValueError):
        mask_of(wrong, (60, 40))
