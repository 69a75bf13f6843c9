"""Points in space as files: JSON, and TRC and C3D as biomechanics tools read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opensapiens.annotation.agreement import REASONS
from opensapiens.annotation.multiview import Views
from opensapiens.annotation.options import AnnotateOptions
from opensapiens.inference.formats.c3d import write_c3d
from opensapiens.inference.formats.trc import write_trc
from opensapiens.storage.files import write_json

# All keep the axes right-handed. OpenSim, and so TRC, has y up; most tools that read C3D have z up.
Y_UP = {
    "y": np.eye(3),
    "z": np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "-y": np.diag([1.0, -1, -1]),
}
Z_UP = Y_UP["z"].T  # from y up


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


def write_tracks(folder: Path, views: Views, options: AnnotateOptions) -> None:
    """person_1.trc, … and, if asked for, person_1.c3d, …: the points of each person over all frames, without those that
    a person should look at."""
    agreement, names = views.agreement, views.keypoint_set.names
    for person in sorted({instance.person for instance in views.instances}):
        points = np.full((len(views.rig.frames), len(names), 3), np.nan)
        for i, instance in enumerate(views.instances):
            if instance.person == person:
                points[instance.frame] = np.where((agreement.reason[i] == 0)[:, None], agreement.points[i], np.nan)
        y_up = points @ Y_UP[options.up].T
        write_trc(folder / f"person_{person}.trc", y_up, names, options.rate, options.unit)
        if options.c3d:
            write_c3d(folder / f"person_{person}.c3d", y_up @ Z_UP.T, names, options.rate, options.unit)
