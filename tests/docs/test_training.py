"""Every command of docs/training.md runs, at toy size."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from opensapiens.cli.arguments import option_fields
from opensapiens.cli.main import main
from opensapiens.cli.train import find_recipes

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "training.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip()
    for language, text in BLOCKS
    for line in text.splitlines()
    if language == "bash" and line.strip()
]
TOY = {
    "--size": ["toy"],
    "--steps": ["2"],
    "--batch-size": ["2"],
    "--workers": ["0"],
    "--input-size": ["64", "48"],
    "--device": ["cpu"],
    "--micro-batch": ["1"],
    "--embed-dim": ["24"],
    "--layers": ["2"],
    "--heads": ["2"],
}


def at_toy_size(words: list[str]) -> list[str]:
    """The words of a command with the sizes of a toy; those that its recipe has no option for are left out."""
    words = words[words.index("opensapiens") + 1 :]
    if words[0] != "train" or "--help" in words:
        return words
    own = {f"--{name.replace('_', '-')}" for name, _ in option_fields(find_recipes()[words[1]])}
    toy = {name: value for name, value in TOY.items() if name in own or name in ("--device",) or name in words}
    if words[1] == "pretrain":
        toy["--input-size"] = ["96", "96"]
    for name, value in toy.items():
        if name in words:
            at = words.index(name)
            del words[at : at + 2]
        words += [name, *value]
    return words


def write_labeled_folders(folder: Path) -> None:
    """`photos`, `people` with every dense label, and `annotations.json` for the photos."""
    generator = np.random.default_rng(0)
    images, persons = [], []
    for number in range(3):
        picture = generator.integers(0, 256, (80, 72, 3), dtype=np.uint8)
        parts = np.zeros((80, 72), np.uint8)
        parts[10:70, 15:60] = generator.integers(1, 28, (60, 45))
        for name in ("photos", "people/images", "people/parts", "people/masks", "people/depth", "people/normals"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"photos/{number}.jpg"), picture)
        cv2.imwrite(str(folder / f"people/images/{number}.png"), picture)
        cv2.imwrite(str(folder / f"people/parts/{number}.png"), parts)
        cv2.imwrite(str(folder / f"people/masks/{number}.png"), (parts > 0) * np.uint8(255))
        np.save(folder / f"people/depth/{number}.npy", generator.uniform(1, 2, (80, 72)).astype(np.float32))
        normals = generator.normal(size=(80, 72, 3)).astype(np.float32)
        np.save(folder / f"people/normals/{number}.npy", normals / np.linalg.norm(normals, axis=-1, keepdims=True))
        images.append({"id": number, "file_name": f"{number}.jpg", "height": 80, "width": 72})
        points = np.column_stack([generator.uniform(15, 60, (17, 2)), np.full(17, 2)]).round(1).ravel().tolist()
        box = {"bbox": [15, 10, 45, 60], "area": 2700, "iscrowd": 0, "category_id": 1}
        persons.append({"id": number, "image_id": number, "keypoints": points, **box})
    content = {"images": images, "annotations": persons}
    (folder / "annotations.json").write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path, people_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_labeled_folders(tmp_path)
    shutil.copytree(people_shards, tmp_path / "shards")
    shutil.copy(ROOT / "examples" / "photos" / "grace_hopper.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run(folder: Path) -> None:
    """In their order: later ones take what earlier ones wrote."""
    assert len(COMMANDS) > 10
    for command in COMMANDS:
        words = shlex.split(command)
        if words[0] == "torchrun":  # what it does with two processes is tested where the ranks are
            assert words[:5] == ["torchrun", "--nproc-per-node", "8", "-m", "opensapiens"]
        assert main(at_toy_size(words)) == 0, command
    for made in ("pretrain", "pose", "segmentation", "depth", "normals", "lora", "heads", "nano", "eight", "large"):
        assert (folder / "runs" / made / "model" / "model.safetensors").exists()
    assert (folder / "reconstruction.png").exists() and any((folder / "out").iterdir())
    assert len((folder / "runs" / "nano" / "log.jsonl").read_text().splitlines()) == 2


def test_the_python_runs(folder: Path) -> None:
    (code,) = [text for language, text in BLOCKS if language == "python"]
    toy = code.replace('"0.3b"', '"toy", input_size=(64, 64), workers=0').replace("64, steps=1000", "2, steps=1")
    assert toy != code
    exec(toy, {})
    assert (folder / "runs" / "from_python" / "model" / "config.json").exists()
