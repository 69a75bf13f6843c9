import os
import re
from pathlib import Path

import pytest
from PIL import Image

import opensapiens
from opensapiens.cli import main
from opensapiens.cli.train import find_recipes, read_run


def test_recipes_are_the_functions_that_return_a_run() -> None:
    dense = {"segmentation", "depth", "normals", "pointmap", "matting", "albedo"}
    assert set(find_recipes()) == {"pretrain", "self_distillation", "pose", "detector", "nano", "nano_smoke"} | dense


def test_the_recipes_arguments_first_then_the_runs(people_shards: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(people_shards), "--output", str(tmp_path), "--steps", "7", "--input-size", "32", "48"]
    run = read_run(
        find_recipes()["nano_smoke"], [*arguments, "--device", "cpu", "--optimizer.lr", "0.25"], prog="train"
    )
    assert (run.steps, run.output, run.final_size) == (7, tmp_path, (32, 48))
    assert (run.device, run.optimizer.lr) == ("cpu", 0.25)
    plain = read_run(find_recipes()["nano_smoke"], arguments, prog="train")
    assert run.optimizer.weight_decay == plain.optimizer.weight_decay, "what was not named stays the recipe's"
    assert run.schedule == plain.schedule


def test_the_runs_options_override_what_the_recipe_returns(people_shards: Path, tmp_path: Path) -> None:
    words = f"--micro-batch 1 --data {people_shards} --output {tmp_path} --optimizer.no-muon --schedule.decay linear"
    words += " --trackers tensorboard --pretrained None --recompute --optimizer.betas .8 .9"
    run = read_run(find_recipes()["nano_smoke"], words.split(), prog="train")
    assert (run.micro_batch, run.trackers, run.pretrained, run.recompute) == (1, ("tensorboard",), None, True)
    assert (run.optimizer.muon, run.optimizer.betas, run.schedule.decay) == (False, (0.8, 0.9), "linear")
    assert run.optimizer.lr == 1.2e-3 and run.ema_decay == 0.999, "the recipe's"


@pytest.mark.parametrize("recipe", find_recipes())
def test_help_says_what_every_option_does(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", recipe, "--help"]) == 0
    out = " ".join(word.strip("│ ") for word in capsys.readouterr().out.split())
    assert not re.findall(r"\S*[^.] \((?:default:|required\)|unset by)", out)
    assert "folder for log, checkpoints" in out and "activation checkpointing" in out and "the rest with AdamW" in out


def test_training_gives_a_folder_that_predicts(
    people_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(people_shards), "--output", str(tmp_path / "run"), "--steps", "2", "--device", "cpu"]
    assert main(["train", "nano_smoke", *options]) == 0
    folder = capsys.readouterr().out.split("the model is in ")[1].split(";")[0]
    assert set(opensapiens.load(folder, device="cpu").model_of_task) == {"pose", "segmentation", "depth", "normals"}


def test_unreadable_pictures_are_named_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(30):
        Image.new("RGB", (40, 40), (8 * number, 0, 0)).save(photos / f"{number}.png")
    for number in range(12):
        (photos / f"empty_{number:02d}.png").touch()
    (photos / os.fsdecode(b"\xff.jpg")).touch()
    toy = ["--size", "toy", "--input-size", "32", "32", "--batch-size", "6", "--workers", "0", "--device", "cpu"]
    command = ["train", "pretrain", "--data", str(photos), "--output", str(tmp_path / "run"), "--steps", "8", *toy]
    assert main(command) == 1
    said = capsys.readouterr().err.splitlines()[-12:]
    sentences = [f"  {photos}/empty_{number:02d}.png: the file is empty; copy it again" for number in range(12)]
    sentences.append(rf"  {photos}/\udcff.jpg: the file is empty; copy it again")
    assert len(set(said[:10])) == 10 and set(said[:10]) < set(sentences)
    assert said[10:] == [f"  and 3 more: see {tmp_path}/run/unreadable.txt", "13 pictures could not be read"]
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert main(command) == 1, "all is done, and nothing is read again"
    assert capsys.readouterr().err.splitlines()[-12:] == said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nanno"], "Did you mean nano?"),
        (["nano", "--data", "nowhere", "--output", "x"], "nowhere"),
        (["nano"], "--data"),
        (["nano", "--data", "nowhere", "--output", "x", "--setps", "3"], "no option --setps. Did you mean --steps"),
        (["nano_smoke", "--data", "DATA", "--output", "x", "--optimizer.rl", "3"], "optimizer.rl"),
        ([], "usage: opensapiens train RECIPE"),
    ],
)
def test_misuse(arguments: list[str], message: str, people_shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *[str(people_shards) if word == "DATA" else word for word in arguments]]) == 2
    captured = capsys.readouterr()
    assert message in captured.out + captured.err and "Traceback" not in captured.err


def test_help_names_recipes_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0 and "nano_smoke" in capsys.readouterr().out
    assert main(["train", "nano", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--data" in out and "--precision" in out
