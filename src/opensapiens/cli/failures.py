"""How a command ends when some of its files could not be used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

NAMED = 10
"""Failures that are named where a file lists all of them."""


def printable(text: str) -> str:
    """Text for a terminal: what names in files could tell it to do, such as to clear itself, is spelled out."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def exit_code(failures: Sequence[str], count: str, see: Path | None = None) -> int:
    """Print a sentence for each failure and, as the last line, how many there are; the exit code: 1, or 0 without any.

    see: a file that lists all failures, of which only the first are then named.
    """
    if not failures:
        return 0
    sys.stdout.flush()  # or what is printed there could come last
    named = failures if see is None else failures[:NAMED]
    print("\n".join(f"  {printable(sentence)}" for sentence in named), file=sys.stderr)
    if len(failures) > len(named):
        print(f"  and {len(failures) - len(named)} more: see {see}", file=sys.stderr)
    print(count, file=sys.stderr)
    return 1
