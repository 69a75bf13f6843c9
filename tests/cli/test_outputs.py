"""Nothing of the user's is removed or replaced, whatever the output folder; what is there is told by our marker."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.cli import main
from opensapiens.data.shards import write_shard
from opensapiens.inference.results import Result
from opensapiens.labels.keypoints import COCO_17, SAPIENS_308
from opensapiens.labels.own_labels import label_entry
from opensapiens.recipes.nano import nano_smoke
from opensapiens.storage.folders import FolderError, claim
from opensapiens.training.loop import train
from opensapiens.training.state import claim_output

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
        "exported/opensapiens-nano.onnx.json", "frames/000000.tar", "labels.json",
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
            monkeypatch.setattr("opensapiens.synthetic.synthesize.write_shards", lambda out, *_: made_up(out))
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
    assert "photos/a_pose.jpg exists, and opensapiens predict did not write it" in printed.err
    assert "2 photos" in printed.out and (project / "photos" / "a_pose.jpg").read_bytes() == original


def test_predict_does_not_take_its_overlays_for_photos(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(project, "photos", "--output", "photos") == 0
    made = sorted(path.name for path in (project / "photos").iterdir())
    capsys.readouterr()
    assert predict(project, "photos", "--output", "photos") == 0
    printed = capsys.readouterr().out
    assert "1 photo, 1 person;" in printed and "8 files that an earlier run wrote are skipped" in printed
    assert sorted(path.name for path in (project / "photos").iterdir()) == made


def test_a_link_in_the_output_folder_is_not_followed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "results").mkdir()
    (project / "diary.json").write_bytes(THEIRS)
    (project / "results" / "a_keypoints.json").symlink_to(project / "diary.json")
    assert predict(project, "photos/a.jpg", "--output", "results") == 1
    assert "a_keypoints.json exists" in capsys.readouterr().err
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
    assert predict(project, "clip.mp4", "--output", "results", "--format", "png") == 1
    assert f"{name} exists" in capsys.readouterr().err
    assert (project / "results" / name / "000000.json").read_bytes() == THEIRS


def test_results_of_another_photo_of_the_same_name_stay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(project, "photos", "--output", "results", "--resume") == 0
    before = files(project / "results")
    assert predict(project, "inputs", "--output", "results", "--resume") == 1
    assert "results holds the results of" in capsys.readouterr().err
    assert files(project / "results") == before


def test_a_foreign_folder_among_checkpoints_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "train nano_smoke --data people --output new --checkpoint-steps 1 --device cpu --steps"
    command = words.split(" ")
    assert main([*command, "4"]) == 0
    for name in ("9-mine", "99999999-best"):
        (project / "new" / "checkpoints" / name).mkdir()
        (project / "new" / "checkpoints" / name / "a").write_bytes(THEIRS)
    assert main([*command, "6"]) == 0
    kept = sorted(path.name for path in (project / "new" / "checkpoints").iterdir())
    assert kept == ["00000005", "00000006", "9-mine", "99999999-best"]
    (project / "new" / "checkpoints" / "9-mine").rename(project / "new" / "checkpoints" / "9")
    assert main([*command, "8"]) == 1
    assert "checkpoints/9 is not a checkpoint of opensapiens" in capsys.readouterr().err
    assert (project / "new" / "checkpoints" / "9" / "a").read_bytes() == THEIRS


def test_a_full_disk_while_training_is_one_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("torch.distributed.checkpoint.hf_storage.HuggingFaceStorageWriter.write_data", full)
    assert main(["train", "nano_smoke", "--data", "people", "--output", "new", "--steps", "2", "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "new/checkpoints/.00000002.part: No space left on device" in said and "Traceback" not in said
    assert not list((project / "new" / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"last_point": "heel"}, "of another heads"),
        ({"input_size": (96, 80)}, "of another preprocessing"),
        ({"ema_decay": 0.0}, "of another averaging"),
    ],
)
def test_a_training_run_is_not_resumed_as_another(project: Path, changes: dict[str, Any], message: str) -> None:
    run = dataclasses.replace(nano_smoke(project / "people", project / "new", steps=1), device="cpu")
    run = dataclasses.replace(run, model=with_last_point(run.model, "toe"))
    claim_output(run)
    if "ema_decay" in changes:
        run = dataclasses.replace(run, **changes)
    elif "input_size" in changes:
        preprocessing = dataclasses.replace(run.model.preprocessing, **changes)
        run = dataclasses.replace(run, model=dataclasses.replace(run.model, preprocessing=preprocessing))
    else:
        run = dataclasses.replace(run, model=with_last_point(run.model, changes["last_point"]))
    with pytest.raises(FolderError, match=message):
        train(run)


def with_last_point(model: ModelDescription, name: str) -> ModelDescription:
    points = dataclasses.replace(COCO_17, name="own", names=(*COCO_17.names[:-1], name))
    head = dataclasses.replace(model.heads["pose"], out_channels=len(points), labels=label_entry(points))
    return dataclasses.replace(model, heads={**model.heads, "pose": head})


@pytest.mark.parametrize(
    "then",
    ["--features", "--point-cloud 200 2 3", "--format csv", "--no-flip", "--boxes boxes.json", "--input-size 48 32"],
)
def test_other_options_are_not_done_before(project: Path, then: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "boxes.json").write_text(json.dumps({"a.jpg": [[5, 5, 40, 80]]}))
    command = ["predict", "photos", "--output", "results", "--model", "tiny", "--resume", "--runtime", "torch"]
    command += ["--device", "cpu"]
    assert main(command) == 0 and "1 photo" in capsys.readouterr().out
    assert main([*command, *then.split()]) == 0 and "1 photo" in capsys.readouterr().out
    assert main([*command, *then.split()]) == 0 and "0 photos, 1 done before" in capsys.readouterr().out


def test_another_model_of_the_same_name_is_not_done_before(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(project / "tiny", project / "other")
    tensors = load_file(project / "other" / "model.safetensors")
    save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, project / "other" / "model.safetensors")
    command = ["predict", "photos", "--output", "results", "--resume", "--whole-image", "--device", "cpu", "--model"]
    assert main([*command, "tiny"]) == 0 and "1 photo, 1 person;" in capsys.readouterr().out
    assert main([*command, "other"]) == 0 and "1 photo, 1 person;" in capsys.readouterr().out


@pytest.mark.parametrize("killed_at", ["save_point_cloud", "to_coco"])
def test_what_was_killed_between_two_files_is_made(
    project: Path, killed_at: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", "photos", "--output", "results", "--model", "tiny", "--whole-image", "--device", "cpu"]
    command += ["--point-cloud", "200", "2", "3", "--resume"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Result, killed_at, killed)
        assert main(command) == 130
    (project / "results" / "a_keypoints.json").write_text("{" + 4095 * " ")
    assert main(command) == 0
    assert (project / "results" / "a_points.ply").is_file()
    assert json.loads((project / "results" / "a_keypoints.json").read_text())["annotations"]


def test_a_photo_of_a_long_name(project: Path) -> None:
    names = [("ä" * 123) + f"{number}.jpg" for number in range(2)]
    for name in names:
        picture(project / "long" / name)
    assert predict(project, "long", "--output", "results", "--format", "json", "csv") == 0
    made = [path.name for path in (project / "results").glob("*_keypoints.json")]
    assert len(made) == 2 and all(name.startswith("ää") for name in made)


def test_boxes_by_the_longest_path(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for camera in ("cam1", "cam2", "cam3"):
        picture(project / camera / "1.jpg")
    boxes: dict[str, list] = {"cam1/1.jpg": [[0, 0, 9, 9]], "cam2/1.jpg": [[20, 5, 60, 80]]}
    boxes[f"{project.name}/cam1/1.jpg"] = [[5, 5, 40, 80]]
    (project / "boxes.json").write_text(json.dumps(boxes))
    command = ["predict", "cam1", "cam2", "cam3", "--output", "results", "--model", "tiny", "--boxes", "boxes.json"]
    assert main(command) == 1
    assert "cam3/1.jpg: no boxes for it in the file of boxes (there are some for cam1/1.jpg" in capsys.readouterr().err
    found = [json.loads((project / "results" / f"{name}_keypoints.json").read_text()) for name in ("cam1_1", "cam2_1")]
    assert [one["annotations"][0]["bbox"] for one in found] == [[5, 5, 35, 75], [20, 5, 40, 75]]
    assert [one["images"][0]["file_name"] for one in found] == ["cam1/1.jpg", "cam2/1.jpg"]
    (project / "boxes.json").write_text(json.dumps({"1.jpg": [[5, 5, 40, 80]]}))
    assert main(["predict", "cam1", "cam2", *command[4:5], "more", *command[6:]]) == 1
    assert "cam1/1.jpg: the boxes of '1.jpg' could be those of cam2/1.jpg too" in capsys.readouterr().err


def test_annotating_is_not_resumed_with_other_points(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same number, in the same weights."""
    shutil.copytree(project / "tiny", project / "other")
    config = json.loads((project / "other" / "config.json").read_text())
    renamed = dataclasses.replace(SAPIENS_308, name="own", names=("tip", *SAPIENS_308.names[1:]))
    config["heads"]["pose"]["labels"] = label_entry(renamed)
    (project / "other" / "config.json").write_text(json.dumps(config))
    command = ["annotate", "photos", "--output", "labels", "--whole-image", "--device", "cpu", "--model"]
    assert main([*command, "tiny"]) == 0
    assert main([*command, "other", "--resume"]) == 2
    assert "holds predictions of another heads" in capsys.readouterr().err
