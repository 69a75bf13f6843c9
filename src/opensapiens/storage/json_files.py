"""Untrusted JSON and TOML: numbers must be finite and fit into 64 bits, and nesting is limited."""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from opensapiens.storage.text_files import MAX_BYTES, FileError, read_text

MAX_DEPTH = 32
MAX_ANNOTATION_BYTES = 4_000_000_000  # of a COCO file; the largest published ones take 1 to 2 GB
LOWEST, HIGHEST = -(2**63), 2**64 - 1


def read_json(source: Path | str | bytes, name: str = "", limit: int = MAX_BYTES) -> Any:
    """The content of a JSON file, or of bytes that are called `name` in errors.

    Raises FileError as `read_text` does, and for invalid JSON, NaN and infinity, integers beyond 64 bits, invalid
    Unicode, and nesting deeper than MAX_DEPTH.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "the JSON")
    text = read_text(source, name, limit)
    try:
        content = json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_constant)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # a lone surrogate could not be printed or used as a path
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise FileError(f"{name}: nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise FileError(f"{name}: not JSON that can be used ({error})") from error
    return _bounded(content, name)


def read_toml(path: Path | str, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The content of a TOML file, dates as texts. Raises FileError as `read_json` does."""
    try:
        content = tomllib.loads(read_text(path, limit=limit))
        return read_json(json.dumps(content, default=str, allow_nan=False).encode(), str(path), 10 * limit)
    except RecursionError:
        raise FileError(f"{path}: nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: not TOML that can be used ({error})") from error


def _whole(text: str) -> int:
    if len(text) > 20 or not LOWEST <= int(text) <= HIGHEST:
        raise ValueError(f"the number {text[:24]}{'…' * (len(text) > 24)} does not fit into 64 bits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:24]} is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON; write null where there is none")


def _bounded(content: Any, name: str) -> Any:
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(MAX_DEPTH + 1):
        children = (parent.values() if isinstance(parent, dict) else parent for parent in level)
        level = [value for values in children for value in values if isinstance(value, dict | list)]
        if not level:
            return content
    raise FileError(f"{name}: nested deeper than {MAX_DEPTH} levels")
