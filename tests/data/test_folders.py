"""Parallel folders as samples."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.data.folders import FolderDataset
from opensapiens.data.label_kinds import DEPTH, MASK, PARTS
from opensapiens.storage.pictures import ImageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """images/a.jpg, images/b/c.png; masks for both, depth for c only."""
    mask = np.zeros((20, 30), np.uint8)
    mask[5:11, 8:18] = 255
    for folder in ("images/b", "masks/b", "depth/b"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (30, 20), "red").save(tmp_path / "images" / "a.jpg")
    Image.new("RGB", (30, 20), "blue").save(tmp_path / "images" / "b" / "c.png")
    for name in ("a.png", "b/c.png"):
        Image.fromarray(mask).save(tmp_path / "masks" / name)
    np.save(tmp_path / "depth" / "b" / "c.npy", np.full((20, 30), 2.5, np.float32))
    return tmp_path


def test_labels_belong_to_the_picture_of_their_name(root: Path) -> None:
    people = FolderDataset(root / "images", {MASK: root / "masks", DEPTH: root / "depth"}, depth_scale=2.0)
    assert len(people) == 2 and [people[i].key for i in range(2)] == ["a", "b/c"]
    assert set(people[0].labels) == {MASK}, "a label that does not exist for this sample"
    assert set(people[1].labels) == {MASK, DEPTH}
    sample = people[1]
    assert sample.image[0, 0].tolist() == [0, 0, 255] and sample.depth is not None and sample.depth[0, 0] == 5.0
    assert sample.box is not None and sample.box.tolist() == [8, 5, 18, 11]


def test_label_maps_may_lie_beside_the_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "x_seg.png")
    people = FolderDataset(tmp_path, {PARTS: tmp_path})
    assert people.names == ["x"] and people[0].parts is not None and people[0].parts.trace() == 4


def test_folders_that_do_not_fit(root: Path) -> None:
    Image.new("L", (3, 3)).save(root / "masks" / "a.png")
    with pytest.raises(ImageError, match=r"a.png: \(3, 3\) pixels, its picture \(20, 30\)"):
        FolderDataset(root / "images", {MASK: root / "masks"})[0]
    (root / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: holds no"):
        FolderDataset(root / "images", {MASK: root / "empty"})
    with pytest.raises(ImageError, match="no folder"):
        FolderDataset(root / "images", {MASK: root / "nowhere"})
    np.save(root / "empty" / "other.npy", np.zeros((2, 2)))
    with pytest.raises(ImageError, match="holds nothing for any picture"):
        FolderDataset(root / "images", {DEPTH: root / "empty"})
    Image.new("RGB", (30, 20)).save(root / "images" / "a.png")
    with pytest.raises(ImageError, match="the same name"):
        FolderDataset(root / "images", {MASK: root / "masks"})
    with pytest.raises(ValueError, match="give one or more folders of label maps"):
        FolderDataset(root / "images", {})
