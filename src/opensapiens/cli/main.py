"""The command and its subcommands; their errors become sentences and exit codes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path

from opensapiens import __version__
from opensapiens.cli.annotate import annotate
from opensapiens.cli.arguments import call
from opensapiens.cli.average import average
from opensapiens.cli.bench import bench
from opensapiens.cli.convert import convert
from opensapiens.cli.curate import curate
from opensapiens.cli.evaluate import evaluate
from opensapiens.cli.export import export
from opensapiens.cli.failures import printable
from opensapiens.cli.models import models
from opensapiens.cli.plan import plan
from opensapiens.cli.predict import predict
from opensapiens.cli.reconstruct import reconstruct
from opensapiens.cli.synthesize import synthesize
from opensapiens.cli.train import train

DESCRIPTION = """Human vision foundation models: 2D pose, body parts, depth and surface normals of the people in images.

Start with:
  opensapiens predict photo.jpg --output out
"""

COMMANDS: dict[str, Callable[..., int]] = {
    "predict": predict,
    "annotate": annotate,
    "evaluate": evaluate,
    "models": models,
    "convert": convert,
    "average": average,
    "export": export,
    "bench": bench,
    "plan": plan,
    "synthesize": synthesize,
    "reconstruct": reconstruct,
}
OWN_OPTIONS: dict[str, Callable[[list[str]], int]] = {"curate": curate, "train": train}
"""Commands with subcommands or recipes of their own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the given arguments, by default those of the process.

    Returns the exit code: 0 done, 1 some of the work failed, 2 misuse, 130 interrupted, 141 nobody reads the output. An
    expected error is printed as one sentence.
    """
    # Threads that busy-wait take most of the processor on small machines. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        code = run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python reports the rest at exit
        return 141  # as a shell reports it


def run(words: list[str]) -> int:
    """Run the command with these arguments; as `main`, but raises BrokenPipeError."""
    try:
        if words in ([], ["-h"], ["--help"]):
            print(overview())
            return 0 if words else 2
        if words == ["--version"]:
            print(f"opensapiens {__version__}")
            return 0
        command, *arguments = words
        if command in OWN_OPTIONS:
            return OWN_OPTIONS[command](arguments)
        if command in COMMANDS:
            return call(COMMANDS[command], arguments, prog=f"opensapiens {command}")
        matches = get_close_matches(command, COMMANDS | OWN_OPTIONS, 1)
        hint = f"; did you mean {matches[0]}?" if matches else "."
        print(f"opensapiens: there is no command {command!r}{hint} See opensapiens --help", file=sys.stderr)
        return 2
    except SystemExit as stop:  # tyro has printed what was wrong, or the help
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("opensapiens: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) or not is_expected(error):
            raise
        print(f"opensapiens: error: {printable(describe(error))}", file=sys.stderr)
        return 2 if isinstance(error, ValueError | FileNotFoundError | ModuleNotFoundError) else 1


def overview() -> str:
    """The help of `opensapiens`: one line for each command."""
    commands: dict[str, Callable[..., int]] = COMMANDS | OWN_OPTIONS
    lines = [f"  {name:<12} {(command.__doc__ or '').splitlines()[0]}" for name, command in commands.items()]
    where = pages()
    lines += ["", f"Pages that a help names as docs/NAME.md are in {where}"] if where else []
    return "\n".join([DESCRIPTION, "Commands; each has its own help, as in opensapiens predict --help:", *lines])


def pages() -> Path | None:
    """The folder of the documentation: of the installed package, or of the checkout that it runs from."""
    try:
        installed = metadata.files("opensapiens") or []
    except metadata.PackageNotFoundError:
        installed = []
    for file in installed:
        if file.match("share/doc/opensapiens/index.md"):
            return Path(str(file.locate())).resolve().parent
    checkout = Path(__file__).parents[3] / "docs"
    return checkout if (checkout / "index.md").is_file() else None


def is_expected(error: Exception) -> bool:
    """Whether an error has a message for the user: one of ours or of the disk. Anything else is a bug."""
    if isinstance(error, ModuleNotFoundError):
        return "pip install" in str(error)
    return isinstance(error, OSError) or type(error).__module__.startswith("opensapiens.")


def describe(error: Exception) -> str:
    """The message for the user, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
