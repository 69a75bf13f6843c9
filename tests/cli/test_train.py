from pathlib import Path

import pytest

import opensapiens
from opensapiens.cli import main
from opensapiens.cli.train import find_recipes, read_run


def test_recipes_are_the_functions_that_return_a_run() -> None:
    assert {"nano", "nano_smoke"} <= set(find_recipes())
    assert "describe" not in find_recipes()


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


def test_training_gives_a_folder_that_predicts(
    people_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(people_shards), "--output", str(tmp_path / "run"), "--steps", "2", "--device", "cpu"]
    assert main(["train", "nano_smoke", *options]) == 0
    folder = capsys.readouterr().out.split("the model is in ")[1].split(";")[0]
    assert set(opensapiens.load(folder, device="cpu").model_of_task) == {"pose", "segmentation", "depth", "normals"}


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
