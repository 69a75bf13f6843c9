"""Renames tensors by name templates."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from .strict_loading import CheckpointError

Value = TypeVar("Value")
Rules = Sequence[tuple[str, str]]
"""(source, target) name templates. {i} is a number in both; {3i}, {3i+1} and {2i+1} are counted from it, since a step
of a published head is a convolution, a norm and an activation, of which not all have tensors."""


class UnmappedNamesError(CheckpointError):
    """Tensors whose names a layout does not have. `names` lists them all."""

    def __init__(self, names: Iterable[str], layout: str, source: str = "") -> None:
        self.names, self.layout = sorted(names), layout
        where = f"{source}: " if source else ""
        super().__init__(f"{where}{len(self.names)} tensors are not of the layout {layout!r}: {', '.join(self.names)}")


_NUMBERS = {"{i}": (1, 0), "{3i}": (3, 0), "{3i+1}": (3, 1), "{2i+1}": (2, 1)}


def _translate(name: str, source: str, target: str) -> str | None:
    """The name by the target template if it matches the source template, else None."""
    mark = next((mark for mark in _NUMBERS if mark in source), None)
    if mark is None:
        return target if name == source else None
    before, after = source.split(mark)
    match = re.fullmatch(re.escape(before) + r"(\d+)" + re.escape(after), name)
    if match is None:
        return None
    step, offset = _NUMBERS[mark]
    index, rest = divmod(int(match[1]) - offset, step)
    mark = next(mark for mark in _NUMBERS if mark in target)
    step, offset = _NUMBERS[mark]
    return None if rest else target.replace(mark, str(index * step + offset))


def renamed(tensors: Mapping[str, Value], rules: Rules, layout: str) -> dict[str, Value]:
    """The tensors (or shapes, anything) by their target names.

    Raises:
        UnmappedNamesError: lists every name that matches no rule; `layout` is what to call the rules.
    """
    result: dict[str, Value] = {}
    unmapped = []
    for name, value in tensors.items():
        translations = [new for source, target in rules if (new := _translate(name, source, target)) is not None]
        if translations:
            result[translations[0]] = value
        else:
            unmapped.append(name)
    if unmapped:
        raise UnmappedNamesError(unmapped, layout)
    return result
