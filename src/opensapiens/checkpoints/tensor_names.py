"""Renames tensors by name templates."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from .strict_loading import CheckpointError

Value = TypeVar("Value")
Rules = Sequence[tuple[str, str]]
"""(source, target) name templates. {i} is a number in both; {3i} is three times it, since a step of a published head is
a convolution, a norm and an activation, of which only the first has tensors."""


class UnmappedNamesError(CheckpointError):
    """Tensors whose names a layout does not have. `names` lists them all."""

    def __init__(self, names: Iterable[str], layout: str, source: str = "") -> None:
        self.names, self.layout = sorted(names), layout
        where = f"{source}: " if source else ""
        super().__init__(f"{where}{len(self.names)} tensors are not of the layout {layout!r}: {', '.join(self.names)}")


_NUMBERS = {"{i}": 1, "{3i}": 3}


def _translate(name: str, source: str, target: str) -> str | None:
    """The name by the target template if it matches the source template, else None."""
    pattern = re.escape(source).replace(r"\{i\}", r"(\d+)").replace(r"\{3i\}", r"(\d+)")
    match = re.fullmatch(pattern, name)
    if match is None:
        return None
    if not match.groups():
        return target
    source_step, target_step = (
        next(step for mark, step in _NUMBERS.items() if mark in template) for template in (source, target)
    )
    index, rest = divmod(int(match[1]), source_step)
    return None if rest else re.sub(r"\{3?i\}", str(index * target_step), target)


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
