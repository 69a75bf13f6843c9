"""Each fine-tuning recipe of Sapiens2 on shards of people, by the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from opensapiens.cli import main
from opensapiens.data.label_kinds import ALBEDO, ALPHA, DEPTH, NORMALS, PARTS, POINTS
from opensapiens.data.shards import ShardDataset, encode_frame, write_shard
from opensapiens.geometry.cameras import PinholeCamera

TASKS = ("pose", "segmentation", "normals", "pointmap", "matting", "albedo")


@pytest.fixture(scope="module")
def shards(people_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn people with points of a camera, alpha and albedo besides."""
    folder, source = tmp_path_factory.mktemp("all_labels"), ShardDataset(people_shards)
    camera = PinholeCamera(90, 90, 39.5, 47.5)
    frames = []
    for number, key in enumerate(source.keys):
        frame = source.read_frame(number)
        somebody = frame["instances.png"] > 0
        depth = np.where(somebody, frame["depth.png"] * np.float32(0.001), np.nan)
        rows, columns = np.indices(somebody.shape)
        labels = {
            PARTS: frame["parts.png"],
            DEPTH: depth,
            NORMALS: np.where(somebody[..., None], frame["normals.png"] / 127.5 - 1, np.nan),
            POINTS: camera.unproject(np.stack([columns, rows], axis=-1), depth),
            ALPHA: somebody.astype(np.float32),
            ALBEDO: frame["jpg"] / 255,
        }
        frames.append((key, encode_frame(frame["jpg"], frame["instances.png"], labels, frame["json"])))
    write_shard(folder / "000000.tar", frames)
    return folder


@pytest.mark.parametrize("framing", ["scene", "person"])
@pytest.mark.parametrize("task", TASKS)
def test_a_recipe_trains_on_shards(task: str, framing: str, shards: Path, tmp_path: Path) -> None:
    if task == "pose":
        if framing == "scene":
            return  # poses are always of one person
        options = ["--keypoints", "coco_17"]
    else:
        options = ["--framing", framing]
    words = "--size sapiens2-toy --input-size 64 48 --steps 2 --batch-size 3 --workers 0 --device cpu --schedule paper"
    arguments = ["--data", str(shards), "--output", str(tmp_path), *words.split(), *options]
    assert main(["train", task, *arguments]) == 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    terms = {name: value for line in lines for name, value in line.items() if name.startswith(f"{task}/")}
    assert terms and all(np.isfinite(value) for value in terms.values()) and sum(terms.values()) > 0
    description = json.loads((tmp_path / "model" / "config.json").read_text())
    assert task in description["heads"]


@pytest.mark.parametrize("task", ["pointmap", "matting", "albedo"])
def test_shards_without_the_labels_are_refused(
    task: str, people_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(people_shards), "--output", str(tmp_path / "run"), "--size", "sapiens2-toy", "--steps", "1"]
    assert main(["train", task, *words, "--schedule", "paper"]) == 2
    assert "opensapiens synthesize --all-labels" in capsys.readouterr().err
