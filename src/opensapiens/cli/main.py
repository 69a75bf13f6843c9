"""The command and its subcommands, and what becomes of their errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import tyro

from opensapiens.cli.annotate import annotate
from opensapiens.cli.bench import bench
from opensapiens.cli.convert import convert
from opensapiens.cli.curate import curate
from opensapiens.cli.evaluate import evaluate
from opensapiens.cli.export import export
from opensapiens.cli.models import models
from opensapiens.cli.plan import plan
from opensapiens.cli.predict import predict
from opensapiens.cli.reconstruct import reconstruct
from opensapiens.cli.synthesize import synthesize
from opensapiens.cli.train import train

DESCRIPTION = """Human vision foundation models: 2D pose, body parts, depth and surface normals of the people in images.

Start with:
$ opensapiens predict photo.jpg --output out

Each subcommand explains itself:
$ opensapiens predict --help"""

COMMANDS: dict[str, Callable[..., int]] = {
    "predict": predict,
    "annotate": annotate,
    "evaluate": evaluate,
    "models": models,
    "convert": convert,
    "export": export,
    "bench": bench,
    "plan": plan,
    "synthesize": synthesize,
    "reconstruct": reconstruct,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the arguments of the process or those given.

    Returns the exit code: 0 done, 1 some of the work failed, 2 misuse, 130 interrupted. An expected error becomes one
    sentence.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given and given[0] == "train":
            return train(given[1:])  # which options it has depends on the recipe
        if given and given[0] == "curate":
            return curate(given[1:])
        commands = {**COMMANDS, "curate": _curate_placeholder, "train": _train_placeholder}
        code = tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="opensapiens",
            description=DESCRIPTION,
            args=given,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
        )
        return int(code or 0)
    except SystemExit as stop:  # tyro has printed what was wrong, or the help
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("opensapiens: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_expected(error):
            raise
        print(f"opensapiens: error: {describe(error)}", file=sys.stderr)
        return 2 if isinstance(error, ValueError | FileNotFoundError | ModuleNotFoundError) else 1


def is_expected(error: Exception) -> bool:
    """Whether an error is one with a sentence for the user, ours or the disk's: anything else is a bug."""
    ours = type(error).__module__.startswith("opensapiens.")
    return (
        ours or isinstance(error, OSError) or (isinstance(error, ModuleNotFoundError) and "pip install" in str(error))
    )


def describe(error: Exception) -> str:
    """One line for the user."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _train_placeholder() -> int:
    """Train a model by a recipe: opensapiens train RECIPE --help"""
    return 2


def _curate_placeholder() -> int:
    """From a pile of images to pretraining shards: opensapiens curate --help"""
    return 2
