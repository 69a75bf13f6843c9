"""One stage of a pipeline in a thread of its own, so that reading, predicting and writing overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")
RESULTS_AHEAD = 2  # computed before they are written; a result of a large picture is tens of megabytes
WAKE_UP = 0.1  # seconds between looks at whether the consumer is still there


def prefetch(items: Iterable[Item], ahead: int) -> Generator[Item, None, None]:
    """The same items, computed by a thread that is at most `ahead` of them ahead of the consumer.

    What the thread raises is raised here, after the items before it. When the consumer stops early, so does the thread.
    """
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not stop.is_set():
            try:
                return waiting.put((kind, value), timeout=WAKE_UP)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if stop.is_set():
                    return
            put("end", None)
        except BaseException as error:  # it is raised again in the consumer's thread
            put("error", error)
        finally:
            if isinstance(items, Generator):
                items.close()  # so that a stage before this one stops too

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join()
