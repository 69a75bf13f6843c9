import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens import PredictOptions, VideoOptions, predict_files
from opensapiens.cli import main
from opensapiens.inference import job
from opensapiens.inference.options import OptionsError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos, an animation, and four files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    image.save(folder / "a.jpg")
    image.save(folder / "c.png")
    image.save(folder / "moving.gif", save_all=True, append_images=[image])
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    (folder / "b_text.jpg").write_text("a text")
    (folder / "empty.png").write_bytes(b"")
    (folder / "telephone.heic").write_bytes(b"")
    (folder / "._a.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:500])
    return folder


def test_bad_files_do_not_stop_the_others(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["predict", str(photos), "--output", str(tmp_path / "out"), "--model", str(tiny_model), "--whole-image"]
    )
    out, err = capsys.readouterr()
    assert code == 1
    assert "4 photos, 4 people" in out
    assert "1 file skipped: 1 .heic (convert to JPEG or PNG)" in out
    assert "Traceback" not in err
    *_, text, cut, empty, last = err.splitlines()
    assert text.startswith(f"  {photos}/b_text.jpg: ") and cut.startswith(f"  {photos}/cut.jpg: ")
    assert (
        empty == f"  {photos}/empty.png: the file is empty; copy it again"
        and last == "3 of 7 files could not be processed"
    )
    for name in ("a", "c", "moving", "pixel"):
        content = json.loads((tmp_path / "out" / f"{name}_keypoints.json").read_text())
        assert len(content["annotations"][0]["keypoints"]) == 308 * 3
        assert Image.open(tmp_path / "out" / f"{name}_sheet.jpg").size[0] > 100


def test_pipes_and_broken_links_do_not_stop_the_others(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(photos / "pipe.jpg")
    (photos / "link.jpg").symlink_to("nowhere.jpg")
    command = ["predict", str(photos), "--output", str(tmp_path / "out"), "--model", str(tiny_model)]
    assert main([*command, "--whole-image", "--resume"]) == 1
    *_, link, pipe, last = capsys.readouterr().err.splitlines()
    assert link == f"  {photos}/link.jpg: cannot be read (No such file or directory)"
    assert pipe == f"  {photos}/pipe.jpg: cannot be read (not a regular file)"
    assert last == "5 of 9 files could not be processed"


def test_good_files_are_exit_code_0(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    arguments = ["--output", str(tmp_path / "out"), "--model", str(tiny_model), "--device", "cpu", "--flip"]
    assert main(["predict", str(photos / "a.jpg"), str(photos / "c.png"), *arguments]) == 0


def test_boxes_of_a_file(photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.jpg": [[5, 5, 40, 80], [30, 10, 65, 85]]}))
    common = ["--output", str(tmp_path / "out"), "--model", str(tiny_model), "--boxes", str(boxes)]
    assert main(["predict", str(photos / "a.jpg"), *common]) == 0
    content = json.loads((tmp_path / "out" / "a_keypoints.json").read_text())
    assert [annotation["bbox"] for annotation in content["annotations"]] == [[5, 5, 35, 75], [30, 10, 35, 75]]
    assert main(["predict", str(photos / "c.png"), *common]) == 1
    assert "no boxes for it" in capsys.readouterr().err
    boxes.write_text(json.dumps({"a.jpg": [[500, 5, 540, 80]]}))
    assert main(["predict", str(photos / "a.jpg"), *common]) == 1
    assert "no area" in capsys.readouterr().err


def misuse(folder: Path, tiny_model: Path) -> dict[str, list[str]]:
    photo, output, model = str(folder / "a.jpg"), ["--output", str(folder / "out")], ["--model", str(tiny_model)]
    (folder / "boxes.json").write_text("{")
    (folder / "nothing").mkdir()
    return {
        "no such file or folder": ["nope.jpg", *output, *model],
        "no photo or video in": [str(folder / "nothing"), *output, *model],
        "at least one photo": [*output, *model],
        "no model named": [photo, *output, "--model", "nanno"],
        "not JSON": [photo, *output, *model, "--boxes", str(folder / "boxes.json")],
        "exclude each other": [photo, *output, *model, "--boxes", str(folder / "boxes.json"), "--whole-image"],
        "--flip and --no-flip": [photo, *output, *model, "--flip", "--no-flip"],
        "multiples of 16": [photo, *output, *model, "--input-size", "100", "64"],
        "no device": [photo, *output, *model, "--device", "cuda:99"],
        "--overlay hair: the model predicts pose": [photo, *output, *model, "--overlay", "hair"],
        "needs --point-cloud": [photo, *output, *model, "--format", "glb"],
        "focal length": [photo, *output, *model, "--whole-image", "--point-cloud", "100", "3", "2"],
        "--output": [photo, *model],
        "--outpt": [photo, "--outpt", "x", *model],
    }


@pytest.mark.parametrize(
    "message",
    [
        "no such file or folder", "no photo or video in", "at least one photo", "no model named", "not JSON",
        "exclude each other", "--output", "--outpt", "--flip and --no-flip", "multiples of 16", "no device",
        "focal length", "needs --point-cloud", "--overlay hair: the model predicts pose",
    ],
)  # fmt: skip
def test_misuse_is_one_sentence_and_exit_code_2(
    message: str, photos: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *misuse(photos, tiny_model)[message]]) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out and "Traceback" not in captured.err


def test_a_folder_that_cannot_be_written(photos: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "taken").write_text("a file")
    arguments = ["--output", str(photos / "taken"), "--model", str(tiny_model), "--whole-image"]
    assert main(["predict", str(photos / "a.jpg"), *arguments]) == 1
    assert "taken" in capsys.readouterr().err


def test_videos_beside_photos(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    av = pytest.importorskip("av")
    with av.open(str(photos / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((96, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    (photos / "broken.mov").write_text("not a video")
    files = [str(photos / name) for name in ("a.jpg", "clip.mp4", "broken.mov")]
    code = main(["predict", *files, "--output", str(tmp_path / "out"), "--model", str(tiny_model), "--whole-image"])
    out, err = capsys.readouterr()
    assert code == 1 and "1 photo, 1 video" in out and "broken.mov" in err
    assert (tmp_path / "out" / "clip_overlay.mp4").stat().st_size > 0
    assert len(json.loads((tmp_path / "out" / "clip_keypoints.json").read_text())["images"]) == 2


def test_points_that_score_too_low_to_be_drawn_are_mentioned_once(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["predict", str(photos / "a.jpg"), str(photos / "c.png"), "--model", str(tiny_model), "--whole-image"]
    for threshold, times in ((-9.0, 0), (9.0, 1)):
        monkeypatch.setattr("opensapiens.inference.results.SCORE_THRESHOLD", threshold)
        assert main([*command, "--output", str(tmp_path / str(threshold))]) == 0
        assert capsys.readouterr().out.count("no keypoint scores high enough to be drawn") == times


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".npz", "")}


def test_python_does_what_the_command_does(
    photos: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    command = ["predict", "--output", str(tmp_path / "a"), "--model", str(tiny_model), "--whole-image"]
    command += ["--threads", "3", "--format", "default", "csv", "--runtime", "torch", "--no-flip"]
    assert main([*command, str(photos)]) == 1 and threads == [3]
    options = PredictOptions(
        model=(str(tiny_model),), whole_image=True, format=("default", "csv"), runtime="torch", flip=False
    )
    summary = predict_files(photos, tmp_path / "b", options)
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b") and len(outputs(tmp_path / "a")) > 20
    assert (summary.photos, summary.people, summary.files, len(summary.failures)) == (4, 4, 7, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"whole_image": True, "detector": "x"}, "--whole-image and --detector exclude each other"),
        ({"device": "cpu", "devices": ("cpu",)}, "--device and --devices"),
        ({"batch_size": 0}, "at least 1"),
        ({"threads": 0}, "at least 1"),
        ({"video": VideoOptions(detect_every=0)}, "at least 1"),
    ],
)
def test_options_that_do_not_go_together(options: dict, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        PredictOptions(**options)


def test_two_processes_write_what_one_does(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (photos / f"z{number}.png").write_bytes((photos / "c.png").read_bytes())
    command = ["predict", str(photos), "--model", str(tiny_model), "--whole-image", "--batch-size", "1"]
    command += ["--runtime", "torch", "--output"]
    assert main([*command, str(tmp_path / "one"), "--device", "cpu"]) == 1
    one = capsys.readouterr()
    assert main([*command, str(tmp_path / "two"), "--devices", "cpu", "cpu"]) == 1
    two = capsys.readouterr()
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")
    assert "7 photos, 7 people;" in one.out and "7 photos, 7 people;" in two.out
    assert one.err.partition("processed:")[2] == two.err.partition("processed:")[2], (
        "failures in the order of the files"
    )
    # As torchrun starts them.
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        main([*command, str(tmp_path / "ranks"), "--device", "cpu"])
    assert outputs(tmp_path / "one") == outputs(tmp_path / "ranks")


def ends_its_process(*_: object) -> None:
    os._exit(9)


def test_a_process_that_ends_is_a_sentence(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "run", ends_its_process)
    command = ["predict", str(photos), "--model", str(tiny_model), "--output", str(tmp_path), "--devices", "cpu", "cpu"]
    assert main(command) == 1
    assert "error: a device's process ended before its files were done" in capsys.readouterr().err


def test_what_is_done_is_left_out_with_resume(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(photos / "a.jpg"), str(photos / "c.png"), "--model", str(tiny_model), "--whole-image"]
    command += ["--output", str(tmp_path / "out"), "--resume"]
    assert main(command) == 0
    (tmp_path / "out" / "a_keypoints.json").unlink()
    (tmp_path / "out" / "c_sheet.jpg").unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert "2 photos, 2 people;" in capsys.readouterr().out
    assert (tmp_path / "out" / "a_keypoints.json").is_file() and (tmp_path / "out" / "c_sheet.jpg").exists()
    assert main(command) == 0
    assert "0 photos, 2 done before" in capsys.readouterr().out


def test_several_models_tables_points_and_features(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = ["predict", str(photos / "a.jpg"), "--whole-image", "--format", "default", "csv", "--features"]
    command += ["--point-cloud", "200", "2", "2.5", "--output", str(tmp_path / "out")]
    assert main([*command, "--model", str(tiny_model), "--model", str(tiny_model), "--no-flip"]) == 0
    assert len((tmp_path / "out" / "a_keypoints.csv").read_text().splitlines()) == 309
    assert np.load(tmp_path / "out" / "a_features.npz")["tokens"].shape == (1, 12, 24)
    assert (tmp_path / "out" / "a_points.ply").read_bytes().startswith(b"ply")


def test_only_what_was_asked_for_is_written(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = ["predict", "--model", str(tiny_model), "--whole-image", "--output", str(tmp_path / "out"), "--format"]
    assert main([*command, "json", "openpose", str(photos / "a.jpg")]) == 0, "a photo may follow the formats"
    made = sorted(path.name for path in (tmp_path / "out").iterdir() if path.name[0] != ".")
    assert made == ["a_keypoints.json", "a_openpose.json"]
    (person,) = json.loads((tmp_path / "out" / "a_openpose.json").read_text())["people"]
    assert len(person["pose_keypoints_2d"]) == 75


def test_a_video_without_any_file_to_write_is_a_failure(
    photos: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "clip.mp4").write_bytes(b"")
    command = ["predict", str(photos / "a.jpg"), str(photos / "clip.mp4"), "--model", str(tiny_model), "--whole-image"]
    assert main([*command, "--output", str(tmp_path / "out"), "--format", "sheet"]) == 1
    captured = capsys.readouterr()
    assert "clip.mp4: --format sheet is for photos" in captured.err and "1 photo, 1 person" in captured.out
    assert main([*command[:2], *command[3:], "--output", str(tmp_path / "out"), "--format", "trc"]) == 1
    assert "a.jpg: --format trc is for videos" in capsys.readouterr().err
