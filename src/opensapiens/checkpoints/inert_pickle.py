"""Reads untrusted pickles without running anything.

A pickle names Python functions and calls them. Here every such name becomes an inert record of that name, and a call a
record of its arguments.
"""

import pickle
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

from .strict_loading import CheckpointError

MOST_NAMES = 10_000
LARGEST_KEY = 1000  # values in a dict key or set element, nested ones counted


class PickledObject:
    """The record of an object in a pickle.

    Attributes:
        called: the dotted name of what makes it, for example "collections.OrderedDict".
        arguments: of the call.
        state: its attributes, or None.
        items: what was set by key, as in a dict.
    """

    called: ClassVar[str]

    def __new__(cls, *arguments: Any, **named: Any) -> "PickledObject":
        """Stores the arguments."""
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
        """Ignored: elements of list-like objects are of no use to a reader of tensors."""

    def extend(self, values: Iterable[Any]) -> None:
        """See append."""

    add = append


@dataclass(frozen=True, eq=False)
class Outside:
    """A pickle's reference to data outside of it."""

    key: Any


class _InertUnpickler(pickle._Unpickler):
    # The Python version, since the C version allocates whatever memo size a file claims.

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
    """Makes an operation check the stack slots that it hashes first."""
    plain = pickle._Unpickler.dispatch[operation[0]]

    def checked(unpickler: Any) -> None:
        for key in unpickler.stack[hashed]:
            _check_key(key)
        plain(unpickler)

    _InertUnpickler.dispatch[operation[0]] = checked


def _check_key(key: Any) -> None:
    """Limits nested tuples: they are hashed again at each reference, so that a few bytes could take a year."""
    left, count = [key], 0
    while left:
        value = left.pop()
        count += 1
        if count > LARGEST_KEY:
            raise pickle.UnpicklingError("a key is too deeply nested")
        if isinstance(value, tuple):
            left += value[: LARGEST_KEY + 1]


def _read_bytearray(unpickler: Any) -> None:
    """BYTEARRAY8, which Python's version fills with zeros to the length that the file claims before it reads."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    unpickler.append(bytearray(unpickler.read(length)))


_InertUnpickler.dispatch[pickle.BYTEARRAY8[0]] = _read_bytearray
for _operation, _hashed in (
    (pickle.SETITEM, slice(-2, -1)),
    (pickle.SETITEMS, slice(None, None, 2)),
    (pickle.DICT, slice(None, None, 2)),
    (pickle.ADDITEMS, slice(None)),
    (pickle.FROZENSET, slice(None)),
):
    _checked(_operation, _hashed)


def read_pickle(stream: BinaryIO, source: str) -> Any:
    """The next pickle of a stream: numbers, text, containers, PickledObject, Outside. Raises CheckpointError."""
    try:
        return _InertUnpickler(stream).load()
    except Exception as error:  # a damaged program can fail in any way
        raise CheckpointError(f"{source} is damaged: {type(error).__name__}: {error}") from error
