import builtins
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from opensapiens.inference.pipeline import People
from opensapiens.inference.results import Person
from opensapiens.inference.video import (
    VideoError,
    frame_count_and_rate,
    keep_ids,
    predict_video,
    read_frames,
    save_video,
)

from .conftest import paint, painted_model

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person moving right over 12 frames."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 200, 120, "yuv420p", 4_000_000
        for number in range(12):
            left = 20 + 4 * number
            frame = av.VideoFrame.from_ndarray(paint([(left, 20, left + 60, 100)]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_frames_are_read_in_order(clip: Path) -> None:
    frames = list(read_frames(clip))
    assert len(frames) == 12 and frame_count_and_rate(clip) == (12, Fraction(10))
    assert frames[0].shape == (120, 200, 3)
    assert frames[0][60, 25, 2] > 150 > 100 > frames[11][60, 25, 2]


def test_the_person_is_followed_under_one_id(clip: Path, tmp_path: Path) -> None:
    people = People([painted_model()])
    looks = 0

    def counted(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal looks
        looks += 1
        return detector(image)

    detector, people.detector = people.detector, counted
    results = list(predict_video(people, clip))
    assert looks == 2, "at frames 0 and 10; between them the masks say where to look"
    assert [[person.id for person in result.persons] for result in results] == [[1]] * 12
    lefts = np.array([np.flatnonzero(result.persons[0].mask[60])[0] for result in results])
    assert np.abs(lefts - (20 + 4 * np.arange(12))).max() <= 3
    video, keypoints = save_video(iter(results), tmp_path, "clip", Fraction(10))
    assert len(list(read_frames(video))) == 12
    frames = json.loads(keypoints.read_text())
    assert [frame["frame"] for frame in frames] == list(range(12)) and frames[11]["annotations"][0]["id"] == 1


def person(x: float, number: int = 0) -> Person:
    box = np.array([x, 0, x + 10, 20], np.float32)
    return Person(number, box, 1.0, np.empty((0, 2)), np.empty(0), (), np.zeros((1, 1), bool))


def test_ids_follow_the_boxes() -> None:
    now = [person(52), person(1), person(200)]
    assert keep_ids([person(0, 1), person(50, 2)], now, next_id=3) == 4
    assert [one.id for one in now] == [2, 1, 3]
    assert keep_ids([], [], next_id=7) == 7


def test_what_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        list(read_frames(tmp_path / "text.mp4"))
    with pytest.raises(VideoError, match=r"text\.mp4"):
        frame_count_and_rate(tmp_path / "text.mp4")


def test_what_came_before_an_error_is_written(clip: Path, tmp_path: Path) -> None:
    def breaks_off():
        yield from list(predict_video(People([painted_model()]), clip))[:3]
        raise VideoError("cut off")

    with pytest.raises(VideoError, match="cut off"):
        save_video(breaks_off(), tmp_path, "clip", Fraction(10))
    assert len(json.loads((tmp_path / "clip_keypoints.json").read_text())) == 3
    assert len(list(read_frames(tmp_path / "clip_overlay.mp4"))) == 3


def test_without_the_extra_the_error_says_what_to_install(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_av(name: str, *rest: object, **more: object) -> object:
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
        return original(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(ModuleNotFoundError, match=r"pip install opensapiens\[video\]"):
        list(read_frames(clip))
