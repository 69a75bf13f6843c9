"""What the page keeps for each visitor, until they close it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

from opensapiens.app.predicting import Predicted


@dataclass(eq=False)
class Session:
    """One visitor. folder: of their files. working: held while anything is predicted, for anybody. items: what is
    predicted; shown: the index of the one that is looked at. stop: set to end the prediction that is running.
    problems: sentences about what could not be done. turns: whether they look at the cloud."""

    folder: Path
    working: Lock = field(default_factory=Lock)
    items: list[Predicted] = field(default_factory=list)
    shown: int = 0
    stop: Event = field(default_factory=Event)
    problems: list[str] = field(default_factory=list)
    turns: bool = False

    def item(self) -> Predicted | None:
        """What is looked at; None before anything is predicted."""
        return self.items[self.shown] if self.shown < len(self.items) else None

    def each(self, found: Iterator[Predicted | str]) -> Iterator[Predicted | str]:
        """The same, with `working` held while the next one is computed."""
        while True:
            with self.working:
                item = next(found, None)
            if item is None:
                return
            yield item

    def begin(self) -> None:
        """Forget what was predicted, its files too."""
        self.stop.set()
        self.items, self.problems, self.shown, self.stop = [], [], 0, Event()
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class Sessions:
    """Visitors by the name that the page has for them, and their folders inside of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock, self._working = folder, Lock(), Lock()
        self._sessions: dict[str, Session] = {}

    def of(self, visitor: str) -> Session:
        """Theirs; a new one for somebody new."""
        with self._lock:
            if visitor not in self._sessions:
                self._sessions[visitor] = Session(Path(tempfile.mkdtemp(dir=self._folder)), self._working)
            return self._sessions[visitor]

    def close(self, visitor: str) -> None:
        """Stop what is running for a visitor, and delete everything of theirs."""
        with self._lock:
            session = self._sessions.pop(visitor, None)
        if session is not None:
            session.stop.set()
            shutil.rmtree(session.folder, ignore_errors=True)

    def end(self) -> None:
        """Stop what is running, also for somebody who has just left, and wait until it has: Python cannot exit while
        threads compute."""
        for session in list(self._sessions.values()):
            session.stop.set()
        with self._working:
            pass
