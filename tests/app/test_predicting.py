from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from PIL import Image
from tests.inference.conftest import paint

from opensapiens.app import predicting
from opensapiens.app.download import save_zip
from opensapiens.app.options import LONGEST_SIDE, MOST_FILES
from opensapiens.app.predicting import PredictedPhoto, PredictedVideo, predict_uploads
from opensapiens.app.sessions import Sessions
from opensapiens.app.views import Look
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import Result

from .conftest import BOXES, write_clip

TASKS = ("pose", "segmentation", "depth", "normals")


def predict(people: People, uploads: list[Path], folder: Path, stop: Event | None = None) -> list:
    return list(predict_uploads(people, uploads, folder, "pose", stop or Event(), lambda share, words: None))


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(
    people: People, photo: Path, damaged: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    names = ["damaged.png", "notes.txt", "phone.heic", "clip.mp4"]
    *problems, found = predict(people, [*(tmp_path / name for name in names), photo], tmp_path / "out")
    said = ["truncated or damaged", "not a picture in a format", "convert to JPEG or PNG", "not a"]
    for name, words, sentence in zip(names, said, problems, strict=True):
        assert sentence.startswith(f"{name}: {words}"), sentence
        assert str(tmp_path) not in sentence
    assert isinstance(found, PredictedPhoto) and found.name == "two people"


def test_a_higher_score_leaves_people_out_as_if_they_had_not_been_found(
    people: People, photo: Path, tmp_path: Path
) -> None:
    (found,) = predict(people, [photo], tmp_path)
    both, first = found.result(), found.result(0.895)
    assert [person.id for person in both.persons] == [1, 2] and [person.id for person in first.persons] == [1]
    alone = people(photo, boxes=[both.persons[0].box])
    np.testing.assert_array_equal(first.parts.labels, alone.parts.labels)
    np.testing.assert_array_equal(first.depth.values, alone.depth.values)
    assert (both.parts.labels != alone.parts.labels).any()
    found.predictions.scores = np.array([0.5, 0.9], np.float32)
    assert [person.id for person in found.result(0.7).persons] == [2]  # everybody keeps their number
    assert not found.result(0.95).persons and not found.result(0.95).parts.labels.any()


def test_a_large_photo_is_scaled_down_and_that_is_said(people: People, tmp_path: Path) -> None:
    Image.new("RGB", (4000, 30)).save(tmp_path / "wide.png")
    (found,) = predict(people, [tmp_path / "wide.png"], tmp_path)
    assert found.result().image.shape == (12, LONGEST_SIDE, 3)
    assert found.note == "wide.png: scaled from 4000×30 to 1600×12 pixels"


def test_too_many_files_are_counted(people: People, photo: Path, tmp_path: Path) -> None:
    *found, last = predict(people, [photo] * (MOST_FILES + 2), tmp_path)
    assert len(found) == MOST_FILES and len({one.name for one in found}) == MOST_FILES
    assert last == "2 files left out: the page takes 20 at a time"


def test_a_stop_leaves_out_what_has_not_begun(people: People, photo: Path, tmp_path: Path) -> None:
    stop, done = Event(), []
    for one in predict_uploads(people, [photo] * 3, tmp_path, "pose", stop, lambda share, words: None):
        done.append(one)
        stop.set()
    assert isinstance(done[0], PredictedPhoto) and done[1:] == ["stopped: 2 files not predicted"]


def test_a_video_that_is_stopped_keeps_its_frames(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    people.batch_size = 2
    clip = write_clip(tmp_path / "clip.mp4", paint(BOXES), 20, 10)
    stop, told = Event(), []

    def report(share: float, words: str) -> None:
        told.append(words)
        if "frame 4" in words:
            stop.set()

    (found,) = predict_uploads(people, [clip], tmp_path / "out", "pose", stop, report)
    assert isinstance(found, PredictedVideo) and found.overlay.exists()
    assert found.note == "clip.mp4: stopped after 5 frames, which are shown"
    assert {path.name for path in found.files} == {"clip_overlay.mp4", "clip_keypoints.json"}
    assert told[1].startswith("clip.mp4: frame 1 of 20, about ") and told[1].endswith(" s to go")

    monkeypatch.setattr(predicting, "LONGEST_VIDEO", 1.5)
    (sentence,) = predict(people, [clip], tmp_path / "long")
    assert sentence.startswith("clip.mp4: 2 seconds are too long for this page, which takes 2")
    monkeypatch.setattr(predicting, "frame_count_and_rate", lambda path: (None, 10))  # the file does not tell
    (found,) = predict(people, [clip], tmp_path / "untold")
    assert found.note == "clip.mp4: only its first 2 seconds are predicted" and found.overlay.exists()


def test_the_zip_has_the_files_of_every_format_for_the_tasks_that_are_shown(
    people: People, photo: Path, tmp_path: Path
) -> None:
    found = predict(people, [photo, photo], tmp_path)
    (tmp_path / "zips").mkdir()
    save_zip(found, Look("pose", TASKS), tmp_path / "zips" / "all.zip")
    with zipfile.ZipFile(tmp_path / "zips" / "all.zip") as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    endings = ["keypoints.json", "parts.png", "depth.npz", "normals.npz", "sheet.jpg", "pose.jpg", "csv", "cutout.png"]
    for name in ("two people_png", "two people_png_2"):
        for ending in endings:
            assert any(one.startswith(f"{name}_") and one.endswith(ending) for one in names), (name, ending, names)
    save_zip(found[:1], Look("depth", ("depth",)), tmp_path / "zips" / "depth.zip")
    with zipfile.ZipFile(tmp_path / "zips" / "depth.zip") as archive:
        names = set(archive.namelist())
    assert any("depth" in name for name in names) and not any("parts" in name or "pose" in name for name in names)
    assert {path.name for path in (tmp_path / "zips").iterdir()} == {"all.zip", "depth.zip"}  # nothing else is left


def test_nothing_of_a_visitor_who_leaves_stays(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    session = sessions.of("a")
    assert sessions.of("a") is session and sessions.of("b") is not session
    (session.folder / "video").mkdir()
    (session.folder / "video" / "overlay.mp4").write_bytes(b"frames")
    session.begin()
    assert not any(session.folder.iterdir()) and not session.stop.is_set()
    (session.folder / "cloud.glb").write_bytes(b"points")
    sessions.close("a")
    assert session.stop.is_set() and not session.folder.exists() and sessions.of("b").folder.exists()
    sessions.close("a")


def test_the_end_waits_for_what_is_computed(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    session = sessions.of("a")
    begun, done = Event(), Event()

    def found() -> Iterator[str]:
        begun.set()
        session.stop.wait(30)
        time.sleep(0.05)
        done.set()
        yield "stopped"

    thread = Thread(target=lambda: list(session.each(found())))
    thread.start()
    begun.wait(30)
    sessions.close("a")
    sessions.end()
    assert done.is_set()
    thread.join(30)


def test_a_result_is_given_for_a_photo_without_people(people: People, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "empty.png")
    (found,) = predict(people, [tmp_path / "empty.png"], tmp_path)
    result = found.result()
    assert isinstance(result, Result) and not result.persons
