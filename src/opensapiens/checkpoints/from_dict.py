"""Dataclasses from parsed JSON; every key and value is checked."""

import reprlib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .strict_loading import CheckpointError

T = TypeVar("T")
Families = Mapping[Any, Mapping[str, Any]]
"""Type of a field -> the dataclasses that it may hold, by the value of their key "family"."""


def from_dict(kind: type[T], content: object, where: str, families: Families = MappingProxyType({})) -> T:
    """An instance of a dataclass whose fields are numbers, text, tuples, dicts and dataclasses of these.

    Raises:
        CheckpointError: not an object, an unknown or missing key, or an invalid value; it says which.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{where} must be an object, not {reprlib.repr(content)}")
    assert is_dataclass(kind)
    known = {field.name: field for field in fields(kind)}
    required = [name for name, field in known.items() if field.default is field.default_factory is MISSING]
    for problem, keys in (
        ("unknown", [key for key in content if key not in known]),
        ("missing", [key for key in required if key not in content]),
    ):
        if keys:
            listed = ", ".join(map(repr, keys))
            raise CheckpointError(f"{where}: {problem} key {listed}; known are {', '.join(known)}")
    types_of = get_type_hints(kind)
    values = {key: _value(types_of[key], value, f"{where}, {key}", families) for key, value in content.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _value(kind: Any, value: object, where: str, families: Families) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if kind in families:
        return _of_family(families[kind], value, where, families)
    if origin in (Union, types.UnionType):
        problems = []
        for option in arguments:
            try:
                return None if option is type(None) and value is None else _value(option, value, where, families)
            except CheckpointError as error:
                problems.append(error)
        raise problems[0]
    if is_dataclass(kind) and isinstance(kind, type):
        return from_dict(kind, value, where, families)
    if origin is Literal and value in arguments:
        return value
    if origin is dict and isinstance(value, Mapping):
        return {key: _value(arguments[1], item, f"{where}, {key}", families) for key, item in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        inner = (arguments[0],) * len(value) if arguments[1:] == (...,) else arguments
        if len(inner) == len(value):
            return tuple(_value(option, item, where, families) for option, item in zip(inner, value, strict=True))
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    key = where.rpartition(", ")[2]
    raise CheckpointError(f"{where.rpartition(', ')[0] or where}: {key} cannot be {reprlib.repr(value)}")


def _of_family(known: Mapping[str, Any], value: object, where: str, families: Families) -> Any:
    family = value.get("family") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(family, str) or family not in known:
        raise CheckpointError(f"{where}: no family {reprlib.repr(family)}; known are {', '.join(known)}")
    return from_dict(known[family], {key: item for key, item in value.items() if key != "family"}, where, families)
