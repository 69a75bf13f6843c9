"""Points in space as files: JSON, and TRC as biomechanics tools read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opensapiens.annotation.agreement import REASONS
from opensapiens.annotation.multiview import Views
from opensapiens.annotation.options import Unit, Up
from opensapiens.storage.files import write_json, write_text

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
    agreement = views.agreement
    rows = []
    for i, instance in enumerate(views.instances):
        known = np.isfinite(agreement.points[i]).all(-1)
        points, deviation = _rounded(agreement.points[i], 6), _rounded(agreement.deviation[i], 6)
        rows.append(
            {
                "frame": views.rig.frames[instance.frame],
                "person_id": instance.person,
                "points": [point if placed else None for point, placed in zip(points, known, strict=True)],
                "scores": _rounded(agreement.scores[i], 4),
                "deviation": [value if np.isfinite(value) else None for value in deviation],
                "views": agreement.agreeing[i].sum(0).tolist(),
                "review": [REASONS[reason] for reason in agreement.reason[i]],
            }
        )
    content = {"keypoints": list(views.keypoint_set.names), "unit": unit, "people": rows}
    write_json(path, content, indent=None)


def _rounded(values: np.ndarray, digits: int) -> list:
    return np.round(values.astype(float), digits).tolist()


def write_trc(path: Path, points_FK3: np.ndarray, names: Sequence[str], rate: float, unit: Unit, up: Up) -> None:
    """One person's points as a TRC file (Motion Analysis; OpenSim reads it): y up, one row per frame.

    points_FK3: in the world's axes, of which `up` is the one that points up, in `unit`; NaN becomes an empty cell.
    rate: frames per second.
    """
    turned = points_FK3 @ TURNS[up].T
    count = len(turned)
    header = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames"
    values = (f"{rate:g}", f"{rate:g}", count, len(names), unit, f"{rate:g}", 1, count)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "\t".join(header.split()),
        "\t".join(map(str, values)),
        "\t".join(["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))]),
        "\t".join(["", "", *(f"{axis}{k}" for k in range(1, len(names) + 1) for axis in "XYZ")]),
        "",
    ]
    for number, points in enumerate(turned, start=1):
        cells = [f"{value:.6f}" if np.isfinite(value) else "" for value in points.ravel()]
        lines.append("\t".join([str(number), f"{(number - 1) / rate:.6f}", *cells]))
    write_text(path, "\n".join(lines) + "\n")
