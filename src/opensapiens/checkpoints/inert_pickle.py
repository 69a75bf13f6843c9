"""Pickles of strangers, read without running anything.

A pickle is a program: it names Python functions and has them called. Here every name it asks for becomes an inert
record of that name, and a call becomes a record of its arguments. What they mean is decided by the reader afterwards.
"""

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from .strict_loading import CheckpointError

MOST_NAMES = 10_000
LARGEST_KEY = 1000
"""Parts of what something is found by, those of its parts counted."""


class PickledObject:
    """What stands where a pickle wanted an object: what it called, with which arguments, and what it filled in.

    Attributes:
        called: the dotted name, for example "collections.OrderedDict".
        arguments: of the call.
        state: what was to become the object's attributes, None without.
        items: what was set by key, as in a dict.
    """

    called: ClassVar[str]

    def __new__(cls, *arguments: Any, **named: Any) -> "PickledObject":
        """Takes any arguments: nothing is done with them."""
        record = super().__new__(cls)
        record.arguments, record.state, record.items = arguments, None, {}
        return record

    arguments: tuple[Any, ...]
    state: Any
    items: dict[Any, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        """Elements of a list-like object are of no use to a reader of tensors."""

    def extend(self, values: Iterable[Any]) -> None:
        """See append."""

    add = append


@dataclass(frozen=True, eq=False)
class Outside:
    """What stands where a pickle refers to data outside of it; key is whatever it says to find them by."""

    key: Any


class _InertUnpickler(pickle._Unpickler):
    # The version in Python: the one in C allocates whatever number of places a file claims to need.

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch.items())

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="utf-8")
        self.records: dict[str, type[PickledObject]] = {}

    def find_class(self, module: str, name: str) -> type[PickledObject]:
        called = f"{module}.{name}"
        if called not in self.records:
            if len(self.records) == MOST_NAMES:
                raise pickle.UnpicklingError(f"it names more than {MOST_NAMES:,} functions")
            self.records[called] = type("PickledObject", (PickledObject,), {"called": called})
        return self.records[called]

    def persistent_load(self, key: Any) -> Outside:
        return Outside(key)

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"extension {code}")


def _checked(operation: bytes, hashed: slice) -> None:
    """Let an operation that hashes these places of the stack look at them first."""
    plain = pickle._Unpickler.dispatch[operation[0]]

    def checked(unpickler: Any) -> None:
        for key in unpickler.stack[hashed]:
            _check_key(key)
        plain(unpickler)

    _InertUnpickler.dispatch[operation[0]] = checked


def _check_key(key: Any) -> None:
    """Tuples hash all that they hold, again at each reference: a few bytes could stand for a year of work."""
    left, count = [key], 0
    while left:
        value = left.pop()
        count += 1
        if count > LARGEST_KEY:
            raise pickle.UnpicklingError("a key is too deeply nested")
        if isinstance(value, tuple):
            left += value[: LARGEST_KEY + 1]


for _operation, _hashed in (
    (pickle.SETITEM, slice(-2, -1)),
    (pickle.SETITEMS, slice(None, None, 2)),
    (pickle.DICT, slice(None, None, 2)),
    (pickle.ADDITEMS, slice(None)),
    (pickle.FROZENSET, slice(None)),
):
    _checked(_operation, _hashed)


def read_pickle(stream: BinaryIO, source: str) -> Any:
    """One pickle from where the stream stands, left at its end: numbers, text, containers, PickledObject, Outside.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        return _InertUnpickler(stream).load()
    except Exception as error:  # a damaged program can fail in any way
        raise CheckpointError(f"{source} is damaged: {type(error).__name__}: {error}") from error
