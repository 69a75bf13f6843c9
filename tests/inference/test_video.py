import builtins
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from opensapiens.drawing import person_color
from opensapiens.inference import encoding, recording, video
from opensapiens.inference.detection import WholeImage
from opensapiens.inference.formats.format import VideoPeople
from opensapiens.inference.formats.trc import TRC
from opensapiens.inference.options import PredictOptions, VideoOptions
from opensapiens.inference.pipeline import People
from opensapiens.inference.recording import record_video
from opensapiens.inference.video import (
    PredictedFrame,
    predict_video,
    predicted_frames,
    usual_interval,
)
from opensapiens.labels.keypoints import COCO_17
from opensapiens.labels.own_labels import label_entry
from opensapiens.storage.folders import FolderError
from opensapiens.storage.videos import VideoError, frame_count_and_rate, open_video, read_frames

from .conftest import HEADS, PaintedDetector, paint, painted_model

av = pytest.importorskip("av")
FRAMES = 14


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person who moves right, and from the 8th frame on another scene with somebody else."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 200, 120, "yuv420p", 4_000_000
        for number in range(FRAMES):
            left = 20 + 4 * number
            image = paint([(left, 20, left + 60, 100)])
            if number >= 8:
                image[..., 1] = 255 - image[..., 1]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def people() -> People:
    return People([painted_model()], PaintedDetector(), batch_size=4)


def test_frames_are_read_in_order(clip: Path) -> None:
    frames = list(read_frames(clip))
    assert len(frames) == FRAMES and frame_count_and_rate(clip) == (FRAMES, Fraction(10))
    assert [seconds for _, seconds in frames] == pytest.approx(np.arange(FRAMES) / 10)
    first, last = frames[0][0], frames[-1][0]
    assert first.shape == (120, 200, 3) and first[60, 25, 2] > 150 > 100 > last[60, 25, 2]


def test_people_are_followed_under_one_id_until_the_cut(clip: Path) -> None:
    pipeline = people()
    looks = 0

    def counted(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal looks
        looks += 1
        return detector(image)

    detector, pipeline.detector = pipeline.detector, counted
    results = list(pipeline.video(clip, detect_every=5))
    assert looks == 3 + 2, "frames 0, 5 and 7, the last of the scene; then 8 and 13, the last of all"
    assert [[person.id for person in result.persons] for result in results] == [[1]] * 8 + [[2]] * 6
    lefts = np.array([np.flatnonzero(result.persons[0].mask[60])[0] for result in results])
    assert np.abs(lefts - (20 + 4 * np.arange(FRAMES))).max() <= 3


def test_a_cheap_detector_looks_at_every_frame() -> None:
    for detector, interval in ((PaintedDetector(), 10), (WholeImage(), 1)):
        assert usual_interval(detector) == interval


def test_batches_are_filled_across_frames(clip: Path) -> None:
    pipeline = People([painted_model("squash", ["segmentation", "depth"])], PaintedDetector(), batch_size=4)
    sizes: list[int] = []
    pipeline.models[0].network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))  # type: ignore[union-attr]
    assert len(list(predict_video(pipeline, clip))) == FRAMES
    assert sizes == [4, 4, 4, 2]


def read(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "clip_keypoints.json").read_text())
    assert [image["frame"] for image in content["images"]] == list(range(len(content["images"])))
    assert [one["id"] for one in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
    return content


def test_what_is_recorded(clip: Path, tmp_path: Path) -> None:
    options = PredictOptions(format=("default", "csv", "png"))
    made = record_video(people(), clip, tmp_path, "clip", options)
    assert made.frames == FRAMES and made.people == 2
    assert sorted(path.name for path in made.files) == ["clip_keypoints.csv", "clip_keypoints.json", "clip_overlay.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clip_keypoints.csv", "clip_keypoints.json", "clip_maps", "clip_overlay.mp4"
    ]  # fmt: skip
    assert len(list(read_frames(tmp_path / "clip_overlay.mp4"))) == FRAMES
    content = read(tmp_path)
    assert content["info"]["complete"] and content["info"]["detector"] == "painted"
    assert [one["person_id"] for one in content["annotations"]] == [1] * 8 + [2] * 6
    assert content["annotations"][9]["image_id"] == content["images"][9]["id"] == 10
    rows = (tmp_path / "clip_keypoints.csv").read_text().splitlines()
    assert rows[0] == "file,frame,seconds,person_id,keypoint,x,y,score" and len(rows) == 1 + FRAMES * 17
    assert rows[1 + 9 * 17].startswith("clip.mp4,9,0.9,2,nose,")
    depth = np.asarray(Image.open(tmp_path / "clip_maps" / "000013_depth.png"))
    assert depth.max() == 65535 and len(list((tmp_path / "clip_maps").iterdir())) == 3 * FRAMES


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("video", "recording"):
        monkeypatch.setattr(f"opensapiens.inference.{module}.SEGMENT", 4)


def stopping_at(number: int, stop: BaseException) -> Any:
    def frames(*arguments: Any) -> Iterator[PredictedFrame]:
        for frame in predicted_frames(*arguments):
            if frame.number == number:
                raise stop
            yield frame

    return frames


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.usefixtures("short_segments")
def test_an_interrupted_run_goes_on_to_the_same_end(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smooth: bool
) -> None:
    settings = PredictOptions(format=("default", "csv", "npz"), video=VideoOptions(3, smooth))
    record_video(people(), clip, tmp_path / "whole", "clip", settings)
    folder = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(video, "predicted_frames", stopping_at(10, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            record_video(people(), clip, folder, "clip", settings)
    assert len(list(read_frames(folder / "clip_overlay.mp4"))) == 10, "playable, up to the frame it came to"
    content = read(folder)
    assert len(content["images"]) == 10 and not content["info"]["complete"]
    started: list[int] = []

    def noted(*arguments: Any) -> Iterator[PredictedFrame]:
        started.append(arguments[-1])
        return predicted_frames(*arguments)

    monkeypatch.setattr(video, "predicted_frames", noted)
    record_video(people(), clip, folder, "clip", replace(settings, resume=True))
    assert started == [8], "after the last whole segment"
    names = {path.relative_to(folder) for path in folder.rglob("*")}
    assert names == {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*")}
    for name in ("clip_keypoints.json", "clip_keypoints.csv", "clip_overlay.mp4"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.usefixtures("short_segments")
def test_a_killed_run_leaves_whole_segments_and_goes_on(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_video(people(), clip, tmp_path / "whole", "clip")
    with monkeypatch.context() as patch:
        # What a kill leaves: nothing is finished or put together afterwards.
        patch.setattr(video, "predicted_frames", stopping_at(6, KeyboardInterrupt()))
        patch.setattr(recording._Recording, "join", lambda *_, **__: None)
        patch.setattr(recording._Recording, "close_segment", kept_whole(recording._Recording.close_segment))
        with pytest.raises(KeyboardInterrupt):
            record_video(people(), clip, tmp_path / "killed", "clip")
    whole = {path.name for path in (tmp_path / "killed" / "clip_segments").iterdir() if ".part" not in path.name}
    assert whole == {"000000.json", "000000.overlay.mp4", "identity.json"}
    record_video(people(), clip, tmp_path / "killed", "clip", PredictOptions(resume=True))
    for name in ("clip_keypoints.json", "clip_overlay.mp4"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def kept_whole(close: Any) -> Any:
    return lambda self, tracker, whole: close(self, tracker, whole) if whole else None


@pytest.mark.usefixtures("short_segments")
def test_a_run_killed_while_it_cleans_up_stays_whole(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folder: Path, **_: bool) -> None:
        for first in Path(folder).glob("000000.json"):
            first.unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            record_video(people(), clip, tmp_path / "out", "clip")
    whole = read(tmp_path / "out")
    assert len(whole["images"]) == FRAMES
    assert record_video(people(), clip, tmp_path / "out", "clip", PredictOptions(resume=True)).frames == FRAMES
    assert read(tmp_path / "out") == whole


@pytest.mark.usefixtures("short_segments")
def test_a_run_of_other_settings_is_not_resumed(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(video, "predicted_frames", stopping_at(6, VideoError("cut off")))
        with pytest.raises(VideoError, match="cut off"):
            record_video(people(), clip, tmp_path, "clip")
    with pytest.raises(FolderError, match="of another smooth"):
        record_video(people(), clip, tmp_path, "clip", PredictOptions(resume=True, video=VideoOptions(smooth=True)))
    renamed = painted_model()
    own = label_entry(replace(COCO_17, name="own", names=("tip", *COCO_17.names[1:])))
    renamed.description.heads["pose"] = replace(HEADS["pose"], labels=own)
    with pytest.raises(FolderError, match="of another heads"):
        record_video(
            People([renamed], PaintedDetector(), batch_size=4), clip, tmp_path, "clip", PredictOptions(resume=True)
        )
    smooth = PredictOptions(video=VideoOptions(smooth=True))
    assert record_video(people(), clip, tmp_path, "clip", smooth).frames == FRAMES


@pytest.mark.usefixtures("short_segments")
def test_of_a_video_that_ends_early_all_there_is_is_kept(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "clip.mp4"
    broken.write_bytes(clip.read_bytes())
    with open_video(clip) as container:  # cut within the tenth frame, with the index at the start
        starts = [packet.pos for packet in container.demux(container.streams.video[0]) if packet.size]
    data = bytearray(clip.read_bytes())
    data[starts[9] : starts[13]] = bytes(starts[13] - starts[9])
    broken.write_bytes(data)
    with pytest.raises(VideoError, match=f"of {FRAMES} frames"):
        record_video(people(), broken, tmp_path / "out", "clip")
    content = read(tmp_path / "out")
    assert not content["info"]["complete"] and len(content["images"]) >= 9
    assert len(list(read_frames(tmp_path / "out" / "clip_overlay.mp4"))) == len(content["images"])
    with pytest.raises(VideoError, match=f"of {FRAMES} frames"):
        record_video(people(), broken, tmp_path / "out", "clip", PredictOptions(resume=True))
    assert read(tmp_path / "out") == content


def test_what_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    for read_it in (lambda path: list(read_frames(path)), frame_count_and_rate):
        with pytest.raises(VideoError, match=r"text\.mp4"):
            read_it(tmp_path / "text.mp4")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        record_video(people(), tmp_path / "text.mp4", tmp_path / "out", "text")
    assert not (tmp_path / "out").exists()


def test_without_the_extra_the_error_says_what_to_install(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_av(name: str, *rest: object, **more: object) -> object:
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
        return original(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(ModuleNotFoundError, match=r"pip install opensapiens\[video\]"):
        list(read_frames(clip))


def trc_of(path: Path) -> tuple[dict[str, str], list[str], np.ndarray]:
    """Header, names, and frame × (number, seconds, points): as Pose2Sim splits the file."""
    lines = path.read_text().splitlines()
    names = lines[3].split("\t")[2::3]
    rows = [[float(cell or "nan") for cell in line.split("\t")] for line in lines[6:]]
    return dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True)), names, np.array(rows)


def test_each_person_of_a_video_has_a_trc_file(clip: Path, tmp_path: Path) -> None:
    made = record_video(people(), clip, tmp_path, "clip", PredictOptions(format=("trc", "json")))
    assert sorted(path.name for path in made.files) == ["clip_keypoints.json", "clip_trc"]
    assert sorted(path.name for path in (tmp_path / "clip_trc").iterdir()) == ["person_1.trc", "person_2.trc"]
    content = read(tmp_path)
    for person, frames in ((1, range(8)), (2, range(8, FRAMES))):
        header, names, rows = trc_of(tmp_path / "clip_trc" / f"person_{person}.trc")
        assert header["NumFrames"] == str(len(frames)) and header["DataRate"] == "10" and header["Units"] == "px"
        assert names == list(COCO_17.names)
        assert rows[:, 0].tolist() == [number + 1 for number in frames]
        assert np.allclose(rows[:, 1], [number / 10 for number in frames])
        for row, number in zip(rows, frames, strict=True):
            points = np.array(content["annotations"][number]["keypoints"], float).reshape(17, 3)
            expected = np.column_stack([points[:, 0], 119 - points[:, 1], np.zeros(17)])
            expected[points[:, 2] == 0] = np.nan
            assert np.array_equal(row[2:].reshape(17, 3), expected, equal_nan=True)


def test_a_person_out_of_sight_has_empty_cells(tmp_path: Path) -> None:
    seen = {"keypoints": [5.0, 2.0, 2], "person_id": 1}
    pieces = [
        {"images": [{"id": k + 1, "frame": k, "seconds": k / 2, "height": 10} for k in piece], "annotations": shown}
        for piece, shown in ((range(2), [{**seen, "image_id": 2}]), (range(2, 5), [{**seen, "image_id": 4}]))
    ]
    points = replace(COCO_17, names=("nose",))
    video = VideoPeople("clip.mp4", Fraction(2), points, "painted", True, lambda: iter(pieces))
    assert TRC.video is not None
    TRC.video(video)["trc"](tmp_path)
    _, _, rows = trc_of(tmp_path / "person_1.trc")
    assert rows[:, :2].tolist() == [[2, 0.5], [3, 1], [4, 1.5]]
    assert rows[0, 2:].tolist() == rows[2, 2:].tolist() == [5, 7, 0] and np.isnan(rows[1, 2:]).all()


def test_each_frame_has_the_files_of_its_formats(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    made = record_video(people(), clip, tmp_path, "clip", PredictOptions(format=("openpose", "exr", "wholebody")))
    assert [path.name for path in made.files] == ["clip_wholebody.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip_exr", "clip_openpose_json", "clip_wholebody.json"]
    assert sorted(path.name for path in (tmp_path / "clip_exr").iterdir()) == [f"{k:06d}.exr" for k in range(FRAMES)]
    names = [f"clip_{number:012d}_keypoints.json" for number in range(FRAMES)]
    files = [tmp_path / "clip_openpose_json" / name for name in names]
    assert sorted(files) == sorted((tmp_path / "clip_openpose_json").iterdir())
    ids = [[person["person_id"] for person in json.loads(file.read_text())["people"]] for file in files]
    assert ids == [[[1]]] * 8 + [[[2]]] * 6
    rows = json.loads((tmp_path / "clip_wholebody.json").read_text())
    assert [row["image_id"] for row in rows] == list(range(1, FRAMES + 1)) and len(rows[0]["face_kpts"]) == 204


def packets_of(path: Path, kind: str) -> list[tuple[float, bytes]]:
    """Time and content of the packets of a video's first stream of a kind."""
    with open_video(path) as container:
        (stream,) = getattr(container.streams, kind)
        return [(float(one.pts * one.time_base), bytes(one)) for one in container.demux(stream) if one.dts is not None]


def sounding_clip(path: Path, seconds: list[float], coding: str = "aac") -> Path:
    """A person who moves right, in frames at these times, and a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 200, 120, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream(coding, rate=16_000, layout="mono")
        for number, time in enumerate(seconds):
            image = paint([(20 + 4 * number, 20, 80 + 4 * number, 100)])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        tone = (3000 * np.sin(np.arange(int(16_000 * (seconds[-1] + 0.1))) / 5)).astype(np.int16)
        wave = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        wave.sample_rate = 16_000
        container.mux(sound.encode(wave))
        container.mux(sound.encode())
    return path


@pytest.mark.usefixtures("short_segments")
def test_frames_keep_their_times_and_the_sound_its_packets(tmp_path: Path) -> None:
    seconds = [0, 0.1, 0.15, 0.5, 1.3, 1.35, 1.4, 1.9, 1.95, 2.0]
    source = sounding_clip(tmp_path / "clip.mp4", seconds)
    record_video(people(), source, tmp_path / "out", "clip")
    made = tmp_path / "out" / "clip_overlay.mp4"
    assert [time for time, _ in packets_of(made, "video")] == pytest.approx(seconds, abs=1e-4)
    assert [time for _, time in read_frames(made)] == pytest.approx(seconds, abs=1e-4)
    before, after = ([one for one in packets_of(path, "audio") if one[0] >= 0] for path in (source, made))
    assert (
        len(after) >= len(before) - 1
        and after == [(pytest.approx(time, abs=1e-3), data) for time, data in before][: len(after)]
    )


def test_sound_that_mp4_cannot_hold_is_encoded_again(tmp_path: Path) -> None:
    source = sounding_clip(tmp_path / "clip.mkv", [k / 10 for k in range(8)], "pcm_s16le")
    record_video(people(), source, tmp_path / "out", "clip")
    with open_video(tmp_path / "out" / "clip_overlay.mp4") as container:
        (stream,) = container.streams.audio
        assert stream.codec_context.name == "aac"
        length = sum(frame.samples for frame in container.decode(stream)) / stream.codec_context.sample_rate
    assert length == pytest.approx(0.8, abs=0.15)


def test_damaged_sound_does_not_lose_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = sounding_clip(tmp_path / "clip.mkv", [k / 10 for k in range(8)])
    write = encoding._Sound._write

    def damaged(self: Any, packet: Any) -> None:
        if packet.pts * packet.time_base > 0.3:
            raise av.InvalidDataError(1, "damaged")
        write(self, packet)

    monkeypatch.setattr(encoding._Sound, "_write", damaged)
    record_video(people(), source, tmp_path / "out", "clip")
    made = tmp_path / "out" / "clip_overlay.mp4"
    assert len(packets_of(made, "video")) == 8 and 2 < len(packets_of(made, "audio")) < 8
    assert caplog.text.count("clip.mkv: its sound could not be kept to its end") == 1


def test_frames_of_a_longer_clip_do_not_stay(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    options = PredictOptions(format=("png", "npz", "exr", "openpose", "trc"))
    record_video(people(), clip, tmp_path, "clip", options)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        later = path.name.replace("000013", "000099").replace("person_2", "person_7")
        path.with_name(later).touch()
        if "openpose" not in path.parent.name:
            path.with_name(f"my_{path.name}").touch()
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    record_video(people(), clip, tmp_path, "clip", options)
    removed = before - {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    assert {path.name for path in removed} == {
        "000099_parts.png", "000099_depth.png", "000099_normals.png", "000099.npz", "000099.exr",
        "clip_000000000099_keypoints.json", "person_7.trc",
    }  # fmt: skip


def first_frame(path: Path) -> np.ndarray:
    return next(iter(read_frames(path)))[0].astype(float)


def test_the_overlay_shows_what_is_asked_for(clip: Path, tmp_path: Path) -> None:
    shown = {}
    for overlay in ((), ("depth", "pose"), ("side-by-side",), ("normals", "side-by-side")):
        options = PredictOptions(format=("overlay",), video=VideoOptions(overlay=overlay))
        (path,) = record_video(people(), clip, tmp_path / "_".join(("o", *overlay)), "clip", options).files
        shown[overlay] = first_frame(path)
    assert {overlay: picture.shape[1] for overlay, picture in shown.items()} == {
        (): 200, ("depth", "pose"): 200, ("side-by-side",): 800, ("normals", "side-by-side"): 400
    }  # fmt: skip
    assert shown["depth", "pose"][110, 150].max() < 0.6 * shown[()][110, 150].max(), "depth darkens the photo"
    frame, color = shown[()], person_color(1)
    assert np.abs(frame[60, 20] - color).max() < 90, "the left edge of the box of person 1"


def test_maps_as_videos_of_their_own(clip: Path, tmp_path: Path) -> None:
    made = record_video(people(), clip, tmp_path, "clip", PredictOptions(format=("videos",)))
    names = {path.name for path in made.files}
    assert names == {"clip_segmentation.mp4", "clip_depth.mp4", "clip_normals.mp4"}
    for path in made.files:
        assert len(list(read_frames(path))) == FRAMES
        frame = first_frame(path)
        assert frame[5, 150].max() < 30 and frame[60, 50].max() > 60, "people on black"


@pytest.mark.usefixtures("short_segments")
def test_a_run_without_videos_is_interrupted_and_goes_on(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PredictOptions(format=("json", "trc", "openpose"))
    record_video(people(), clip, tmp_path / "whole", "clip", settings)
    folder = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(video, "predicted_frames", stopping_at(10, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            record_video(people(), clip, folder, "clip", settings)
    assert len(read(folder)["images"]) == 10 and not read(folder)["info"]["complete"]
    record_video(people(), clip, folder, "clip", replace(settings, resume=True))
    assert not list(folder.rglob("*.mp4")) and not (folder / "clip_segments").exists()
    whole, broken = (
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "whole", folder)
    )
    assert whole == broken and len(whole) == 1 + 2 + FRAMES
