"""Nothing of the user's is removed or replaced, whatever the output folder; what is there is told by our marker."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensapiens.cli import main
from opensapiens.data.shards import write_shard
from opensapiens.storage.folders import claim

THEIRS = b"the user's own"


def picture(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path, people_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of somebody's work, entered."""
    monkeypatch.chdir(tmp_path)
    for name in ("inputs/a.jpg", "photos/a.jpg", "out/predictions/anna.jpg", "out/corrected/anna.jpg"):
        picture(tmp_path / name)
    for name in (
        "run/checkpoints/2024-best/model.pt", "run/checkpoints/00000001/model.pt", "run/log.jsonl", "scored/parts/a",
        "scored/inputs/a", "selected/selection.parquet", "shards/000000.tar", "model/model.safetensors",
        "exported/opensapiens-nano.json", "frames/000000.tar", "labels.json",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(THEIRS)
    (tmp_path / "labels.json").write_text(json.dumps({"images": [], "annotations": []}))
    (tmp_path / "tiny").symlink_to(tiny_model)
    (tmp_path / "people").symlink_to(people_shards)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("curate score inputs --out .", "inputs, which is read"),
        ("curate score inputs --out inputs", "is what is read"),
        ("curate score inputs --out inputs/scored", "lies in"),
        ("curate score inputs --out scored", "is not empty"),
        ("annotate photos --output . --model tiny --whole-image", "holds photos, which is read"),
        ("annotate photos --output photos/labels --model tiny --whole-image", "lies in"),
        ("annotate photos --output out --model tiny --whole-image", "is not empty"),
        ("annotate photos --output out --corrected labels.json", "is not empty"),
        ("annotate photos --output . --corrected labels.json", "which is read"),
        ("train nano_smoke --data people --output run --device cpu", "is not empty"),
        ("synthesize --out frames --count 1", "is not empty"),
        ("synthesize --out new --count 1 --cutouts new", "not cut-out people"),
        ("average tiny tiny --output tiny", "is what is read"),
        ("average tiny tiny --output model", "holds another program's model"),
        ("export nano --output exported", "is there already"),
        ("evaluate pose --images photos --annotations labels.json --model tiny --json labels.json", "is what is read"),
        ("evaluate pose --images photos --annotations labels.json --model tiny --per-person labels.json", "is what is"),
        ("reconstruct photos/a.jpg --model tiny --output photos/a.jpg", "is what is read"),
        ("bench --photo photos/a.jpg --json photos/a.jpg", "is what is read"),
    ],
)
def test_a_folder_that_is_not_ours_is_refused(
    project: Path, command: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "synthesize" in command:
        pytest.importorskip("anny")
        if "new" in command:
            monkeypatch.setattr("opensapiens.cli.synthesize._make", lambda out, *_: made_up(out))
    before = files(project)
    assert main(command.split()) == 2
    assert message in capsys.readouterr().err
    assert {name: data for name, data in files(project).items() if not name.startswith("new/")} == before


def made_up(out: Path) -> list[str]:
    """In the place of rendering, which takes long."""
    claim(out, "synthetic frames")
    write_shard(out / "000000.tar", [])
    return []


def predict(project: Path, *more: str) -> int:
    return main(["predict", *more, "--model", "tiny", "--whole-image", "--device", "cpu", "--runtime", "torch"])


def test_predict_leaves_originals_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = picture(project / "photos" / "a_pose.jpg")
    picture(project / "photos" / "b.jpg")
    assert predict(project, "photos", "--output", "photos") == 1
    printed = capsys.readouterr()
    assert "photos/a_pose.jpg is there, and opensapiens predict did not write it" in printed.err
    assert "2 photos" in printed.out and (project / "photos" / "a_pose.jpg").read_bytes() == original


def test_predict_does_not_take_its_overlays_for_photos(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(project, "photos", "--output", "photos") == 0
    made = sorted(path.name for path in (project / "photos").iterdir())
    capsys.readouterr()
    assert predict(project, "photos", "--output", "photos") == 0
    printed = capsys.readouterr().out
    assert "1 photos" in printed and "8 pictures and videos that an earlier run has written are left out" in printed
    assert sorted(path.name for path in (project / "photos").iterdir()) == made


def test_a_link_in_the_output_folder_is_not_followed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "results").mkdir()
    (project / "diary.json").write_bytes(THEIRS)
    (project / "results" / "a_keypoints.json").symlink_to(project / "diary.json")
    assert predict(project, "photos/a.jpg", "--output", "results") == 1
    assert "a_keypoints.json is there" in capsys.readouterr().err
    (project / "results" / "a_keypoints.json").unlink()
    assert predict(project, "photos/a.jpg", "--output", "results") == 0
    (project / "results" / "a_keypoints.json").unlink()
    (project / "results" / "a_keypoints.json").symlink_to(project / "diary.json")
    assert predict(project, "photos/a.jpg", "--output", "results") == 0
    assert not (project / "results" / "a_keypoints.json").is_symlink()
    assert (project / "diary.json").read_bytes() == THEIRS


@pytest.mark.parametrize("name", ["clip_segments", "clip_maps"])
def test_folders_of_a_video_that_are_not_ours(project: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    av = pytest.importorskip("av")
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((96, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    (project / "results" / name).mkdir(parents=True)
    (project / "results" / name / "000000.json").write_bytes(THEIRS)
    assert predict(project, "clip.mp4", "--output", "results", "--video-maps", "png") == 1
    assert f"{name} is there" in capsys.readouterr().err
    assert (project / "results" / name / "000000.json").read_bytes() == THEIRS


def test_results_of_another_photo_of_the_same_name_stay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(project, "photos", "--output", "results", "--resume") == 0
    before = files(project / "results")
    assert predict(project, "inputs", "--output", "results", "--resume") == 1
    assert "results holds the results of" in capsys.readouterr().err
    assert files(project / "results") == before


def test_a_foreign_folder_among_checkpoints_stays(project: Path) -> None:
    words = "train nano_smoke --data people --output new --checkpoint-steps 1 --device cpu --steps"
    command = words.split(" ")
    assert main([*command, "4"]) == 0
    for name in ("9-mine", "99999999-best"):
        (project / "new" / "checkpoints" / name).mkdir()
        (project / "new" / "checkpoints" / name / "a").write_bytes(THEIRS)
    assert main([*command, "6"]) == 0
    kept = sorted(path.name for path in (project / "new" / "checkpoints").iterdir())
    assert kept == ["00000005", "00000006", "9-mine", "99999999-best"]
