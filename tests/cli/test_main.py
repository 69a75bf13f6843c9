import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensapiens.cli import main
from opensapiens.cli.failures import exit_code
from opensapiens.cli.main import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: opensapiens" in out
    assert command == "models" or "$ opensapiens " in out, "with an example"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_overview_has_a_sentence_for_each_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == (0 if arguments else 2)
    lines = capsys.readouterr().out.splitlines()
    for command in (*COMMANDS, "train", "curate"):
        (line,) = (line for line in lines if line.split()[:1] == [command])
        assert line.endswith(".") and len(line) < 130


@pytest.mark.parametrize(("word", "answer"), [("predic", "did you mean predict?"), ("xyz", "See opensapiens --help")])
def test_a_command_that_does_not_exist(word: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert answer in capsys.readouterr().err


def test_it_runs_as_a_module_and_help_does_not_wait_for_torch() -> None:
    code = "import sys; from opensapiens.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=os.environ)
    done = subprocess.run(
        [sys.executable, "-m", "opensapiens", "predic"], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and "predict" in done.stderr + done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"]])  # less and more than a buffer holds
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_reader_who_has_enough_is_no_error(arguments: list[str], encoding: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "opensapiens", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_evaluate_writes_a_flat_object(
    people_shards: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "depth.json"
    arguments = ["--images", str(people_shards), "--model", str(tiny_model), "--limit", "1", "--json", str(path)]
    assert main(["evaluate", "depth", *arguments]) == 0
    figures = json.loads(path.read_text())
    assert figures["task"] == "depth" and figures["people"] == 2 and isinstance(figures["r2"], float)
    assert "constant_rmse" in capsys.readouterr().out
    assert figures["flip"]  # as nano's weights ask for
    assert main(["evaluate", "depth", *arguments, "--no-flip"]) == 0
    assert not json.loads(path.read_text())["flip"] and json.loads(path.read_text())["r2"] != figures["r2"]


def test_evaluate_says_what_is_wrong(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "depth", "--images", str(tmp_path), "--model", str(tiny_model)]) == 2
    assert "holds no shards" in capsys.readouterr().err
    assert main(["evaluate", "hair", "--images", str(tmp_path)]) == 2
    assert main(["evaluate", "depth", "--images", str(tmp_path), "--flip", "--no-flip"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_models_lists_what_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["NAME", "TASKS", "PARAMETERS"]
    assert [row.split()[:2] for row in rows[:2]] == [
        ["detector", "detection"], ["nano", "pose,segmentation,depth,normals"],
    ]  # fmt: skip
    assert all(row.endswith("yes") for row in rows[:2])
    published = {row.split()[0]: row for row in rows if row.startswith("sapiens-")}
    assert len(published) == 28 and "1024x768" in published["sapiens-1b-pose308"]


def test_an_interruption_is_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("opensapiens.inference.job.find_inputs", interrupted)
    assert main(["predict", "a.jpg", "--output", str(tmp_path)]) == 130


def test_what_names_in_files_could_tell_a_terminal_is_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "a\x1b[2Jb.pth"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert exit_code(["é.jpg\x1b[2J: damaged\x07"], "1 picture") == 1
    assert capsys.readouterr().err == "  é.jpg\\x1b[2J: damaged\\x07\n1 picture\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("opensapiens.inference.job.find_inputs", broken)
    with pytest.raises(KeyError):
        main(["predict", "a.jpg", "--output", str(tmp_path)])


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_do_not_spin(set_by_user: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", set_by_user or "")
    if set_by_user is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main(["--version"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == expected
