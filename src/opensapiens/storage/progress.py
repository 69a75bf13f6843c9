"""How far a long loop is: a bar in a terminal, elsewhere (a log, a pipe, a cluster's console) a line now and then."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

SECONDS = 20.0  # between lines; loops that are over sooner say nothing
LINE = "{desc}: {n_fmt} of {total_fmt}{unit}, {elapsed} passed, {remaining} to go{postfix}"
CONTROL = re.compile(r"\x1b\[[A-Z]|[\r\n]")  # what moves a bar to its place


class _Lines:
    """A text stream on which each refresh of a bar is a line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.last = stream, ""

    def write(self, text: str) -> None:
        line = CONTROL.sub("", text).strip()
        if line and line != self.last:  # the end is often said twice
            self.stream.write(line + "\n")
            self.last = line

    def flush(self) -> None:
        self.stream.flush()


def progress(
    items: Iterable[Any] | None = None,
    what: str = "",
    total: int | None = None,
    unit: str = "",
    initial: int = 0,
    shown: bool = True,
    **terminal: Any,
) -> tqdm:
    """The same items, counted on standard error; without items a bar to `update`, as tqdm.

    Args:
        what: is done, "scoring" say.
        unit: of the items, in the plural.
        initial: how many were done before.
        shown: False says nothing.
        terminal: further settings of tqdm, for a terminal.
    """
    settings: dict[str, Any] = {"iterable": items, "desc": what, "total": total, "initial": initial}
    settings |= {"unit": f" {unit}" if unit else "", "disable": not shown}
    if sys.stderr.isatty():
        return tqdm(**settings, **terminal)
    return tqdm(
        **settings, file=_Lines(sys.stderr), bar_format=LINE, mininterval=SECONDS, delay=SECONDS, miniters=1, position=0
    )
