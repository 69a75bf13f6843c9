"""Images that kill the process that works on them: a journal on disk tells the next process which to give up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TOGETHER = 2  # tries of a whole batch, before one image at a time
ALONE = 2  # tries of one image, before it is given up

GIVEN_UP = f"given up: it ended the process that looked at it {ALONE} times (a crash, or too little memory)"


class Tries:
    """The tries of one batch of images. The journal gets a line for each try and, if the images are taken one at a
    time, the place of each before the work on it begins: the last place of a try is the one that ended it."""

    def __init__(self, journal: Path) -> None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        earlier = journal.read_text().split("try\n")[1:] if journal.exists() else []
        self._journal = journal
        self._one_by_one = len(earlier) >= TOGETHER
        self._ended = Counter(int(noted[-1]) for places in earlier if (noted := re.findall(r"\d+", places)))
        self._note("try")

    def groups(self, count: int) -> Iterator[range]:
        """The places 0 … count - 1, all together, or one by one after tries that ended early."""
        if not self._one_by_one:
            yield range(count)
            return
        for place in range(count):
            if not self.given_up(place):
                self._note(str(place))
            yield range(place, place + 1)

    def given_up(self, place: int) -> bool:
        """Whether the image at this place has ended enough processes."""
        return self._ended[place] >= ALONE

    def done(self) -> None:
        """Remove the journal, once the work is stored."""
        self._journal.unlink()

    def _note(self, line: str) -> None:
        with self._journal.open("a") as file:
            file.write(f"{line}\n")
