"""What a folder holds is taken or counted, in every command that lists one."""

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from opensapiens.annotation.picture_labels import find_images
from opensapiens.curation.sources import find_items
from opensapiens.data.folders import FolderDataset
from opensapiens.data.images import ImageCollection
from opensapiens.inference.files import find_inputs
from opensapiens.storage.listing import passed_over_sentence

TAKEN = ["a.JPE", "b.jfif", "c.gif", "d.tiff", "h.jpg", "j.png"]


def by_predict(folder: Path) -> tuple[list[Path], str]:
    listing = find_inputs([folder])
    return listing.files, passed_over_sentence(listing.passed_over)


def by_annotate(folder: Path) -> tuple[list[Path], str]:
    names, _, sentence = find_images(folder)
    return [folder / name for name in names], sentence


def by_curate(folder: Path) -> tuple[list[Path], str]:
    passed_over: Counter[str] = Counter()
    return [Path(item.file) for item in find_items([folder], passed_over)], passed_over_sentence(passed_over)


def by_pretraining(folder: Path) -> tuple[list[Path], str]:
    images = ImageCollection(folder)
    return list(images.paths), passed_over_sentence(images.passed_over)


@pytest.mark.parametrize("read", [by_predict, by_annotate, by_curate, by_pretraining])
def test_what_is_passed_over_is_counted(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    silent = ("._a.jpg", ".DS_Store", "README.md", "labels.json", "a.npz")
    for name in (*TAKEN[:4], *silent, "e.heic", "f.HEIC", "g.tar.gz", "i"):
        (tmp_path / name).touch()
    (tmp_path / "h.jpg").symlink_to("nowhere.jpg")  # reading says what is wrong with these two
    os.mkfifo(tmp_path / "j.png")
    files, sentence = read(tmp_path)
    assert [file.name for file in files] == TAKEN
    assert sentence == "4 files skipped: 2 .heic (convert to JPEG or PNG), 1 .gz (unpack it), 1 without an ending"


def test_a_hidden_file_beside_a_picture_is_no_picture(tmp_path: Path) -> None:
    for name in ("images/a.png", "images/._a.png", "masks/a.png", "masks/._a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    assert FolderDataset(tmp_path / "images", {"mask": tmp_path / "masks"}).names == ["a"]


def test_pictures_beside_shards_are_counted(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "sheet.png")
    (tmp_path / "a.tar").write_bytes(bytes(10240))
    (tmp_path / "b").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "b" / "c.png")
    assert passed_over_sentence(ImageCollection(tmp_path).passed_over) == "1 file skipped: 1 picture beside shards"


def test_pictures_in_subfolders_that_are_not_searched_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "cam2/b.png", "cam2/c.jpg", "cam2/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert by_predict(tmp_path) == ([tmp_path / "a.png"], "2 files skipped: 2 in a subfolder (give it as an input)")
