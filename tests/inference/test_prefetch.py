import threading
from collections.abc import Iterator

import pytest

from opensapiens.inference.prefetch import prefetch


def test_items_come_in_order_and_not_too_far_ahead() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    got = []
    for number in prefetch(numbers(), ahead=3):
        got.append(number)
        assert len(made) <= len(got) + 3 + 1, "three wait, one is in the making"
    assert got == list(range(20))


def test_an_error_comes_after_the_items_before_it() -> None:
    def breaks() -> Iterator[int]:
        yield 1
        raise OSError("torn")

    got = []
    with pytest.raises(OSError, match="torn"):
        for number in prefetch(breaks(), ahead=2):
            got.append(number)
    assert got == [1]


def test_the_thread_stops_with_the_consumer() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.set()

    before = threading.active_count()
    items = prefetch(prefetch(endless(), ahead=1), ahead=1)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert closed.is_set() and threading.active_count() == before
