import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.cli import main


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
    assert "3 of 7 files could not be processed" in err and "Traceback" not in err
    assert all(name in err.partition("processed:")[2] for name in ("b_text.jpg", "empty.png", "cut.jpg"))
    for name in ("a", "c", "moving", "pixel"):
        content = json.loads((tmp_path / "out" / f"{name}_keypoints.json").read_text())
        assert len(content["annotations"][0]["keypoints"]) == 308 * 3
        assert Image.open(tmp_path / "out" / f"{name}_sheet.jpg").size[0] > 100


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
        "--output": [photo, *model],
        "--outpt": [photo, "--outpt", "x", *model],
    }


@pytest.mark.parametrize(
    "message",
    [
        "no such file or folder", "no photo or video in", "at least one photo", "no model named", "not JSON",
        "exclude each other", "--output", "--outpt",
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
    assert code == 1 and "1 photos, 1 videos" in out and "broken.mov" in err
    assert (tmp_path / "out" / "clip_overlay.mp4").stat().st_size > 0
    assert len(json.loads((tmp_path / "out" / "clip_keypoints.json").read_text())) == 2
