"""Options and inputs in any order, for every command with inputs."""

from pathlib import Path
from typing import Any

import pytest

from opensapiens import __version__
from opensapiens.cli import main
from opensapiens.cli.arguments import inputs_last
from opensapiens.cli.curate import COMMANDS as CURATE
from opensapiens.cli.main import COMMANDS

ORDERS = [
    # command, words, the same in the order that tyro reads
    ("predict", "a.jpg --output o", "--output o -- a.jpg"),
    ("predict", "--output o a.jpg", "--output o -- a.jpg"),
    ("predict", "a.jpg --output o --flip b.jpg", "--output o --flip -- a.jpg b.jpg"),
    ("predict", "a.jpg --input-size 32 48 b.jpg --output=o", "--input-size 32 48 --output o -- a.jpg b.jpg"),
    ("predict", "--model x --model y z --output o -- a.jpg -b.jpg", "--model x y --output o -- z a.jpg -b.jpg"),
    ("predict", "--model x a.jpg --output o", "--model x --output o -- a.jpg"),
    ("predict", "--point-cloud 1200 -2 3 a.jpg --batch_size 2", "--point-cloud 1200 -2 3 --batch-size 2 -- a.jpg"),
    ("predict", "a.jpg b.mp4 --format npz trc --no-smooth", "--format npz trc --no-smooth -- a.jpg b.mp4"),
    ("predict", "a.jpg --oputput o", "a.jpg --oputput o"),
    ("predict", "a.jpg --output", "--output -- a.jpg"),
    ("evaluate", "--images x --flip pose --limit 3", "--images x --flip --limit 3 -- pose"),
    ("convert", "a.pth models/a", "-- a.pth models/a"),
    ("average", "--output o a b --shares .3 .7", "--output o --shares .3 .7 -- a b"),
    ("annotate", "--up -y photos --output o", "--up -y --output o -- photos"),
    ("bench", "--device cpu", "--device cpu"),
    ("score", "--out o a b --block x --block y", "--out o --block x y -- a b"),
    ("pack", "--blur-faces s --out o", "--blur-faces --out o -- s"),
]


@pytest.mark.parametrize(("command", "words", "expected"), ORDERS, ids=[f"{row[0]} {row[1]}" for row in ORDERS])
def test_options_and_inputs_in_any_order(command: str, words: str, expected: str) -> None:
    assert inputs_last((CURATE | COMMANDS)[command], words.split()) == expected.split()


@pytest.mark.parametrize(
    "words",
    ["a.jpg b.jpg --output o --flip", "--output o a.jpg b.jpg --flip", "a.jpg --output o --flip b.jpg",
     "--flip --output o -- a.jpg b.jpg"],
)  # fmt: skip
def test_predict_is_called_alike(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def predict_files(*arguments: Any) -> None:
        called.extend(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("opensapiens.inference.job.predict_files", predict_files)
    assert main(["predict", *words.split()]) == 130
    inputs, output, options = called
    assert (inputs, output, options.flip) == ((Path("a.jpg"), Path("b.jpg")), Path("o"), True)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"opensapiens {__version__}\n"
