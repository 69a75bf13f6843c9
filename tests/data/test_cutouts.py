"""People cut out of frames: a model is given the same crop of them as of the frame."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from opensapiens.backbones.nano import PLACE, NanoConfig
from opensapiens.data import cutouts as cutouts_module
from opensapiens.data.crop import view_sample
from opensapiens.data.cutouts import cut_out_people
from opensapiens.data.shards import ShardDataset, ShardError
from opensapiens.data.workers import WorkerDied
from opensapiens.geometry.view import Preprocessing
from opensapiens.storage.folders import FolderError

SIZE = (192, 144)


def test_a_crop_of_a_cutout_is_that_of_the_frame(people_shards: Path, tmp_path: Path) -> None:
    frames = ShardDataset(people_shards)
    cutouts = ShardDataset(cut_out_people(people_shards, tmp_path / "cut"))
    assert len(cutouts) == len(frames) > 0
    nano = NanoConfig(SIZE, 32, 1, 2, (8, 16, 24))
    for index in range(len(frames)):
        whole, cut = (
            view_sample(sample, Preprocessing(SIZE).view(sample.box, sample.image.shape[:2]))
            for sample in (frames[index], cutouts[index])
        )
        assert cutouts[index].image.shape == (240, 180, 3)
        cut_place, place = (nano.view_inputs(sample.surroundings, SIZE)[PLACE] for sample in (cut, whole))
        np.testing.assert_allclose(cut_place, place, atol=1e-3)
        assert np.abs(place).max() > 0.005
        np.testing.assert_allclose(cut.box, whole.box, atol=0.1)
        np.testing.assert_allclose(cut.keypoints, whole.keypoints, atol=0.1)
        assert (cut.parts == whole.parts).mean() > 0.95
        assert (cut.mask == whole.mask).mean() > 0.97
        both = cut.mask & whole.mask
        assert np.median(np.abs(cut.depth - whole.depth)[both]) < 0.01
        assert np.abs(cut.image.astype(int) - whole.image).mean() < 8


def test_shards_that_are_there_are_kept_and_those_of_others_refused(people_shards: Path, tmp_path: Path) -> None:
    first, second = sorted(cut_out_people(people_shards, tmp_path / "cut").glob("*.tar"))
    first.write_bytes(b"there")
    second.unlink()
    cut_out_people(people_shards, tmp_path / "cut")
    assert first.read_bytes() == b"there" and second.exists()
    with pytest.raises(FolderError, match="choose another folder"):
        cut_out_people(people_shards, tmp_path / "cut", margin=1.5)
    (tmp_path / "others").mkdir()
    shutil.copy(sorted(people_shards.glob("*.tar"))[0], tmp_path / "others")
    with pytest.raises(FolderError, match="choose another folder"):
        cut_out_people(tmp_path / "others", tmp_path / "cut")


def test_a_shard_that_ends_its_process_is_named(
    people_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutouts_module, "run_in_processes", lambda do, jobs, _: iter([None, WorkerDied("it died")]))
    with pytest.raises(ShardError, match=r"000001\.tar: it died"):
        cut_out_people(people_shards, tmp_path / "cut")
    assert not (tmp_path / "cut" / "manifest.json").exists()
