"""Points in space as files: JSON, and TRC as biomechanics tools read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from opensapiens.annotation.agreement import REASONS
from opensapiens.annotation.multiview import Views
from opensapiens.storage.files import write_json, write_text

Up = Literal["y", "z", "-y"]
# OpenSim has y up. Each keeps the axes right-handed.
TURNS = {
    "y": np.eye(3),
    "z": np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "-y": np.diag([1.0, -1, -1]),
}


def write_points_json(path: Path, views: Views, unit: str) -> None:
    """{"keypoints": names, "unit", "people": [{"frame", "person_id", "points": [[x, y, z] or null, …], "scores",
    "deviation", "views", "review"}, …]}.

    In the calibration's axes and unit. deviation: standard deviation in the worst direction; views: how many agree;
    review: why a person should look, "" where none need.
    """
    rows = []
    found = views.found
    for i, one in enumerate(views.instances):
        known = np.isfinite(found.points[i]).all(-1)
        rows.append(
            {
                "frame": views.rig.frames[one.frame],
                "person_id": one.person,
                "points": [
                    point if there else None for point, there in zip(_rounded(found.points[i], 6), known, strict=True)
                ],
                "scores": _rounded(found.scores[i], 4),
                "deviation": [value if np.isfinite(value) else None for value in _rounded(found.deviation[i], 6)],
                "views": found.agreeing[i].sum(0).tolist(),
                "review": [REASONS[reason] for reason in found.reason[i]],
            }
        )
    content = {"keypoints": list(views.keypoint_set.names), "unit": unit, "people": rows}
    write_json(path, content, indent=None)


def _rounded(values: np.ndarray, digits: int) -> list:
    return np.round(values.astype(float), digits).tolist()


def write_trc(
    path: Path,
    numbers: Sequence[int],
    points_FK3: np.ndarray,
    names: Sequence[str],
    rate: float,
    unit: Literal["m", "mm"],
    up: Up,
) -> None:
    """One person's points as a TRC file (Motion Analysis; OpenSim reads it): y up, one row per frame.

    numbers: of the frames, from 1, rising; points in the world's axes, of which `up` is the one that points up, in
    `unit`; NaN becomes an empty cell. rate: frames per second.
    """
    turned = points_FK3 @ TURNS[up].T
    first, last = (numbers[0], len(numbers)) if len(numbers) else (1, 0)
    header = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames"
    values = (f"{rate:g}", f"{rate:g}", last, len(names), unit, f"{rate:g}", first, last)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "\t".join(header.split()),
        "\t".join(map(str, values)),
        "\t".join(["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))]),
        "\t".join(["", "", *(f"{axis}{k}" for k in range(1, len(names) + 1) for axis in "XYZ")]),
        "",
    ]
    for number, points in zip(numbers, turned, strict=True):
        cells = [f"{value:.6f}" if np.isfinite(value) else "" for value in points.ravel()]
        lines.append("\t".join([str(number), f"{(number - 1) / rate:.6f}", *cells]))
    write_text(path, "\n".join(lines) + "\n")
