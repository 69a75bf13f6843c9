"""Calls a command's function with the arguments of a command line: options and inputs in any order."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

Options = TypeVar("Options")
IN_LINE = tyro.conf.arg(name="")
Flat = Annotated[Options, IN_LINE]
"""A dataclass of options as a command's parameter: listed under "options", like the command's other parameters."""
ONE_EACH = {"--model"}
"""Options that take any number of values, one per use: what follows the first is an input, as people type it."""
CONFIG = (tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone)


class ArgumentsError(ValueError):
    """Options that exclude each other."""


def call(command: Callable[..., int], arguments: Sequence[str], prog: str) -> int:
    """Call a command with the arguments after its name; returns its exit code.

    Raises SystemExit where tyro has printed the help or what is wrong, ArgumentsError, and what the command raises.
    """
    return int(tyro.cli(command, prog=prog, args=inputs_last(command, arguments), config=CONFIG) or 0)


def inputs_last(command: Callable[..., int], arguments: Sequence[str]) -> list[str]:
    """The options first, each with its values, then "--" and the inputs.

    An option that takes any number of values takes all up to the next option or "--", of ONE_EACH a single one; of a
    fixed list of words, those that are in it. Given twice, it has the values of both. Arguments with an unknown option
    are returned unchanged, for tyro to report it.
    """
    counts, words_of = value_counts(command), value_words(command)
    values: dict[str, list[list[str]]] = {}
    inputs: list[str] = []
    words = deque(arguments)
    while words:
        word = words.popleft()
        if word == "--":
            inputs += words
            break
        if not _is_option(word):
            inputs.append(word)
            continue
        name, is_equal, value = word.partition("=")
        name = name.replace("_", "-")
        if name not in counts:
            return list(arguments)
        count, of_option = counts[name], [value] if is_equal else []
        if (count == 1 or name in ONE_EACH) and not of_option and words:
            of_option.append(words.popleft())  # whatever it looks like: --up -y
        most = 1 if name in ONE_EACH else count
        while words and (most is None or len(of_option) < most) and not _is_option(words[0]):
            if most is None and of_option and name in words_of and words[0] not in words_of[name]:
                break
            of_option.append(words.popleft())
        if count is None and name in values:
            values[name][0] += of_option
        else:
            values.setdefault(name, []).append(of_option)
    for name in values:
        opposite = f"--no-{name[2:]}"
        if opposite in values:
            raise ArgumentsError(f"{name} and {opposite} exclude each other")
    options = [word for name, uses in values.items() for of_option in uses for word in (name, *of_option)]
    return [*options, "--", *inputs] if inputs else options


def value_counts(command: Callable[..., Any]) -> dict[str, int | None]:
    """How many values each option of a command takes; None for any number."""
    hints = get_type_hints(command)
    counts: dict[str, int | None] = {}
    for parameter in inspect.signature(command).parameters.values():
        if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            counts |= _counts(parameter.name, hints[parameter.name])
    return counts


def value_words(command: Callable[..., Any]) -> dict[str, tuple[str, ...]]:
    """The words that options of a fixed list take, each any number of them."""
    words: dict[str, tuple[str, ...]] = {}
    for name, hint in option_fields(command):
        kinds = get_args(hint) if get_origin(hint) is tuple else ()
        if len(kinds) == 2 and kinds[1] is Ellipsis and get_origin(kinds[0]) is Literal:
            words[f"--{name.replace('_', '-')}"] = get_args(kinds[0])
    return words


def option_fields(owner: Any) -> Iterator[tuple[str, Any]]:
    """The names and types of a command's parameters and of the fields of dataclasses among them."""
    for name, hint in get_type_hints(owner).items():
        if name == "return":
            continue
        if dataclasses.is_dataclass(hint):
            yield from option_fields(hint)
        else:
            yield name, hint


def _counts(name: str, hint: Any) -> dict[str, int | None]:
    if dataclasses.is_dataclass(hint):
        fields = get_type_hints(hint).items()
        return {option: count for field, kind in fields for option, count in _counts(field, kind).items()}
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not types.NoneType)
    option = name.replace("_", "-")
    if hint is bool:
        return {f"--{option}": 0, f"--no-{option}": 0}
    if get_origin(hint) is tuple:
        return {f"--{option}": None if get_args(hint)[-1] is Ellipsis else len(get_args(hint))}
    return {f"--{option}": 1}


def _is_option(word: str) -> bool:
    if not word.startswith("-") or word == "-":
        return False
    try:
        float(word)  # a negative number
    except ValueError:
        return True
    return False
