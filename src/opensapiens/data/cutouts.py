"""Cuts shards of single people out of shards of whole frames, for faster training."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from opensapiens.data.crop import crop_sample
from opensapiens.data.sample import Sample
from opensapiens.data.shards import (
    Frame,
    ShardDataset,
    ShardError,
    encode_frame,
    shard_paths,
    write_manifest,
    write_shard,
)
from opensapiens.data.workers import WorkerDied, run_in_processes
from opensapiens.geometry.boxes import center_and_scale
from opensapiens.storage.folders import claim
from opensapiens.storage.progress import progress

JPEG_QUALITY = 95
VERSION = 2  # the first did not say where in its picture a cut-out lies


def cut_out_people(
    shards: Path | str,
    out: Path | str,
    size_hw: tuple[int, int] = (240, 180),
    margin: float = 1.2,
    box_padding: float = 1.25,
    workers: int = 1,
) -> Path:
    """Writes each person of a folder of shards as a separate frame of `size_hw` pixels; returns the folder `out`.

    A cut-out has `margin` times the sides of the crop for a model with this `box_padding`, to leave room for shifts and
    rotations in training. Existing shards are kept. Raises ShardError for a shard that cannot be read and, at the end,
    for one that crashed its process; FolderError if `out` holds anything else.
    """
    out = Path(out)
    paths = shard_paths(shards)
    made_of = {"size": list(size_hw), "margin": margin, "box_padding": box_padding, "version": VERSION}
    whole = {"shards": {path.name: path.stat().st_size for path in paths}}
    claim(out, "cut-out people", {**made_of, **whole})
    missing = [path for path in paths if not (out / path.name).exists()]
    cut = partial(_cut_shard, out=out, size_hw=size_hw, scaled=margin * box_padding)
    results = progress(run_in_processes(cut, missing, workers), str(out), len(missing), "shards")
    died = [
        f"{path}: {result}" for path, result in zip(missing, results, strict=True) if isinstance(result, WorkerDied)
    ]
    if died:
        raise ShardError(f"{'; '.join(died)}. The people of the other shards are cut out")
    write_manifest(out, {**made_of, "shards": [path.name for path in paths]})
    return out


def _cut_shard(path: Path, out: Path, size_hw: tuple[int, int], scaled: float) -> None:
    cv2.setNumThreads(0)
    dataset = ShardDataset([path])
    people = ((key, _frame(sample, size_hw, scaled)) for key, sample in dataset.people_by_frame())
    write_shard(out / path.name, people)


def _frame(sample: Sample, size_hw: tuple[int, int], scaled: float) -> Frame:
    assert sample.box is not None
    cut = crop_sample(sample, size_hw, *center_and_scale(sample.box, size_hw[1] / size_hw[0], scaled))
    assert cut.box is not None and cut.mask is not None and cut.picture is not None
    person = {
        "id": 1,
        "box": np.round(cut.box.astype(float), 2).tolist(),
        "keypoints": None if cut.keypoints is None else np.round(cut.keypoints.astype(float), 2).tolist(),
    }
    picture = np.round(cut.picture.astype(float), 2).tolist()
    record = {"width": size_hw[1], "height": size_hw[0], "picture": picture, "persons": [person]}
    return encode_frame(cut.image, cut.mask.astype(np.uint8), cut.labels, record, JPEG_QUALITY)
