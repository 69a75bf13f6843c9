"""The libraries of the extra "export", imported where they are needed."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def installed(library: str) -> Any:
    """The library of the extra "export", imported. Raises ModuleNotFoundError with what to install."""
    # OpenVINO reports what it converts, unless this package of its cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        message = f"this runtime or format needs {library}: pip install 'opensapiens[export]'"
        raise ModuleNotFoundError(message, name=library) from error
