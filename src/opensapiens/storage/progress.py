"""Progress of long loops: a bar in a terminal, elsewhere (a log, a pipe, a cluster's console) occasional lines."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

SECONDS = 20.0  # between lines; shorter loops print nothing
LINE = "{desc}: {n_fmt} of {total_fmt}{unit}, {elapsed} passed, {remaining} to go{postfix}"
CONTROL = re.compile(r"\x1b\[[A-Z]|[\r\n]")  # cursor movements of a bar


class _Lines:
    """A text stream on which each refresh of a bar is a line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.last = stream, ""

    def write(self, text: str) -> None:
        line = CONTROL.sub("", text).strip()
        if line and line != self.last:  # the last line is often repeated
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
    """The same items, with progress on standard error; without items a bar to `update`, as in tqdm.

    Args:
        what: description, such as "scoring".
        unit: of the items, in the plural.
        initial: number of items that are already done.
        shown: False prints nothing.
        terminal: further settings of tqdm, for a terminal.
    """
    settings: dict[str, Any] = {"iterable": items, "desc": what, "total": total, "initial": initial}
    settings |= {"unit": f" {unit}" if unit else "", "disable": not shown}
    if sys.stderr.isatty():
        return tqdm(**settings, **terminal)
    return tqdm(
        **settings, file=_Lines(sys.stderr), bar_format=LINE, mininterval=SECONDS, delay=SECONDS, miniters=1, position=0
    )
