"""Videos are files, of these containers, and say where they end before their time."""

import socket
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensapiens.storage.videos import VideoError, frame_count_and_rate, open_video, read_frames

av = pytest.importorskip("av")
FRAMES = 90


def write_video(path: Path, count: int, size: tuple[int, int] = (32, 48), codec: str = "h264", **more: Any) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    with av.open(f"file:{path}", "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=more.get("rate", 30))
        stream.height, stream.width = size
        stream.pix_fmt = more.get("pix_fmt", "yuv420p")
        container.metadata.update(more.get("metadata", {}))
        for image in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def count_up_to_error(path: Path) -> tuple[int, str]:
    count = 0
    try:
        for _ in read_frames(path):
            count += 1
    except VideoError as error:
        return count, str(error)
    return count, ""


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov"])
def test_a_video_that_ends_early_gives_what_there_is_and_says_so(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES, codec="mpeg4" if name == "a.avi" else "h264")
    assert count_up_to_error(path) == (FRAMES, "")
    if name == "a.mov":  # its index is at the end
        return
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 8 // 10])
    count, sentence = count_up_to_error(path)
    assert 40 < count < FRAMES
    assert f"{path}: ends early" in sentence and f"{count} of {FRAMES} frames could be read" in sentence


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_damage_within_a_video_is_named(name: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES)
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(len(data) // 3, len(data) * 9 // 10, 40):
        data[place] ^= 255
    path.write_bytes(data)
    count, sentence = count_up_to_error(path)
    assert count > 20 and ("frames are damaged" in sentence or "ends early" in sentence)


def test_a_list_of_other_files_is_no_video(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 2)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    assert count_up_to_error(tmp_path / "list.mp4")[0] == 0
    with pytest.raises(VideoError, match="not a video in a format that can be read"):
        open_video(tmp_path / "list.mp4")


def test_names_are_not_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        name = f"http:127.0.0.1:{server.getsockname()[1]}.mp4"
        for own in (name, "12:30.mp4"):
            write_video(Path(own), 2)
            assert count_up_to_error(Path(own)) == (2, "")
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(("size", "sentence"), [((2, 2), "2x2 pixels"), ((16, 17000), "17000x16 pixels")])
def test_sizes_that_show_nobody(size: tuple[int, int], sentence: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 2, size, "rawvideo")
    with pytest.raises(VideoError, match=sentence):
        next(read_frames(path))
    with pytest.raises(VideoError, match=sentence):
        frame_count_and_rate(path)


@pytest.mark.parametrize("rate", [Fraction(90000), Fraction(1, 3600)])
def test_rates_that_nothing_has_are_not_believed(rate: Fraction, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 3, rate=rate)
    assert frame_count_and_rate(path)[1] == 25 and count_up_to_error(path) == (3, "")


def test_a_title_may_be_in_any_encoding(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 2, metadata={"title": "Zoe at sea"})
    path.write_bytes(path.read_bytes().replace(b"Zoe", b"Zo\xeb"))
    assert count_up_to_error(path) == (2, "")


def test_pictures_in_an_unknown_coding(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"none"))
    with pytest.raises(VideoError, match="a coding that this FFmpeg does not know"):
        next(read_frames(path))
