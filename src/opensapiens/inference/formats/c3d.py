"""C3D: points in space over time, as biomechanics tools read them (Visual3D, Mokka, Vicon, OpenSim); written by ezc3d.

Only calibrated rigs give such points: `opensapiens annotate --c3d`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from opensapiens.inference.formats.format import missing_library
from opensapiens.storage.files import written

LONGEST_LIST = 255  # values of a parameter; the names of further points are in LABELS2, …


def c3d_library() -> ModuleType:
    """ezc3d. Raises ModuleNotFoundError that says how to install it."""
    try:
        import ezc3d
    except ModuleNotFoundError as error:
        raise missing_library("ezc3d", "C3D files", error) from error
    return ezc3d


def write_c3d(path: Path, points_FK3: np.ndarray, names: Sequence[str], rate: float, unit: str) -> None:
    """One person's points, z up, as float32; ezc3d writes NaN as missing (residual -1).

    rate: frames per second. unit: "m" or "mm". Raises ModuleNotFoundError without ezc3d.
    """
    content = c3d_library().c3d()
    parameters = content["parameters"]
    parameters["POINT"]["RATE"]["value"] = [float(rate)]
    parameters["POINT"]["UNITS"]["value"] = [unit]
    parameters["POINT"]["LABELS"]["value"] = list(names[:LONGEST_LIST])
    for start in range(LONGEST_LIST, len(names), LONGEST_LIST):
        labels = list(names[start : start + LONGEST_LIST])
        content.add_parameter("POINT", f"LABELS{start // LONGEST_LIST + 1}", labels)
    content.add_parameter("POINT", "X_SCREEN", "+X")
    content.add_parameter("POINT", "Y_SCREEN", "+Z")
    homogeneous = np.ones((4, points_FK3.shape[1], len(points_FK3)))
    homogeneous[:3] = points_FK3.transpose(2, 1, 0)
    content["data"]["points"] = homogeneous
    with written(path) as temporary:
        named = temporary.with_suffix(".c3d")  # ezc3d appends the ending where it is not there
        try:
            content.write(str(named))
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)
