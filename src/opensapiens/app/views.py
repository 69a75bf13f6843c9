"""What the page shows of a photo's prediction: pictures, a drawing to point at, lists and legends."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import cv2
import numpy as np

from opensapiens import drawing
from opensapiens.inference.results import SCORE_THRESHOLD, Person, Result, ResultError
from opensapiens.tasks.depth import DepthMap, DepthTask
from opensapiens.tasks.pointmap import PointMap, PointmapTask
from opensapiens.tasks.pose import PoseTask

DIMMED = 0.3  # brightness of what is not the chosen person
JPEG_QUALITY = 88
CLOUD_POINTS = 150_000  # of the turnable cloud; more do not turn smoothly on a phone
FOCAL_LENGTH = 1.2  # of a usual camera, in the longer side of its pictures
RELIEF = 0.6  # depth of people, in the shorter side of what they fill; a guess, since depth is relative


@dataclass(frozen=True)
class Look:
    """How a visitor looks at a photo.

    task: whose map is shown. tasks: those that are shown and downloaded at all. point_score, person_score: the least
    scores of points that are drawn and of people. person: the number of the one who is picked out, None for everybody.
    """

    task: str
    tasks: tuple[str, ...]
    point_score: float = SCORE_THRESHOLD
    person_score: float = 0.0
    person: int | None = None


def only_tasks(result: Result, tasks: Sequence[str]) -> Result:
    """A result without what other tasks predicted."""
    maps = {task: task_map for task, task_map in result.maps.items() if task in tasks}
    if PoseTask.name in tasks:
        return replace(result, maps=maps)
    persons = [Person(person.id, person.box, person.score, person.mask) for person in result.persons]
    return replace(result, persons=persons, maps=maps, keypoint_set=None)


def picture(result: Result, look: Look) -> np.ndarray:
    """The map of a task over the photo, with everybody's box and number: H×W×3 uint8 RGB; the others dimmed if somebody
    is picked out."""
    shown = result.overlay(look.task, look.point_score) if look.task in result.tasks() else result.image
    tags = {person.id: person.box for person in result.persons}
    drawn = drawing.draw_tags(shown, tags.items())
    if look.person not in tags:
        return drawn
    bright = drawing.draw_tags(shown, [(look.person, tags[look.person])])
    dark = cv2.convertScaleAbs(drawn, alpha=DIMMED)
    return np.where(_region(result, look.person)[..., None], bright, dark)


def _region(result: Result, number: int) -> np.ndarray:
    """H×W bool: the person, and what of the box is nobody else."""
    height, width = result.image.shape[:2]
    region = np.zeros((height, width), bool)
    (person,) = (person for person in result.persons if person.id == number)
    x1, y1, x2, y2 = (round(float(value)) for value in person.box)
    # As wide as the frame and the tag of the box.
    edge = max(height, width) // 200 + 2
    region[max(y1 - edge, 0) : y2 + edge, max(x1 - edge, 0) : x2 + edge] = True
    for other in result.persons:
        if other.id != number:
            region &= ~other.mask
    return region | person.mask


def people_drawing(result: Result, look: Look) -> str:
    """The same picture as an SVG to point at: each person is a box to click on (data-person), each point that scores
    enough has a name and a score."""
    height, width = result.image.shape[:2]
    encoded = cv2.imencode(".jpg", picture(result, look)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    jpeg = base64.b64encode(encoded.tobytes()).decode()
    # The smallest first: whoever comes last lies on top and takes the click.
    people = sorted(result.persons, key=lambda person: -_area(person.box))
    groups = "".join(_person_group(result, person, look) for person in people)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="people and points">'
        f'<image href="data:image/jpeg;base64,{jpeg}" width="{width}" height="{height}"/>{groups}</svg>'
        '<p class="told" aria-live="polite">Click on a person to pick them out; point at a dot to read its name.</p>'
    )


def _person_group(result: Result, person: Person, look: Look) -> str:
    x1, y1, x2, y2 = (float(value) for value in person.box)
    box = f'<rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>'
    title = f"<title>person {person.id}, score {person.score:.2f}</title>"
    points = result.keypoint_set
    circles = []
    if points is not None and PoseTask.name in look.tasks and look.person in (None, person.id):
        radius = max(1.5, max(x2 - x1, y2 - y1) / 150)
        found = (person.scores >= look.point_score) & np.isfinite(person.keypoints).all(axis=1)
        for index in np.flatnonzero(found):
            x, y = person.keypoints[index]
            red, green, blue = (int(value) for value in points.colors[index])
            name = f"{escape(points.names[index].replace('_', ' '))}, score {person.scores[index]:.2f}"
            circles.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="rgb({red},{green},{blue})" '
                f'data-name="{name}"><title>{name}</title></circle>'
            )
    return f'<g data-person="{person.id}">{box}{title}{"".join(circles)}</g>'


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def person_choices(result: Result) -> list[tuple[str, int]]:
    """A line for everybody and one for each person, with the number that it stands for; 0 is everybody."""
    lines = [(_person_line(person), person.id) for person in result.persons]
    return [("everybody", 0), *lines] if lines else []


def _person_line(person: Person) -> str:
    x1, y1, x2, y2 = (round(float(value)) for value in person.box)
    points = f", {int((person.scores >= SCORE_THRESHOLD).sum())} points" if len(person.scores) else ""
    return f"{person.id}: score {person.score:.2f}, x {x1}–{x2}, y {y1}–{y2}{points}"


def legend(result: Result, task: str) -> str:
    """HTML that explains the colors of a task's map; nothing for a pose, whose points tell their names."""
    if task not in result.maps:
        return ""
    title = escape(result.titles.get(task, task))
    parts = result.parts
    if parts is None or result.maps[task] is not parts:
        return f"<p>{title}</p>"
    swatches = []
    for name in parts.present():
        red, green, blue = (int(value) for value in parts.part_set.colors[parts.part_set.index(name)])
        swatches.append(
            f'<li><span style="background: rgb({red},{green},{blue})"></span>{escape(name.replace("_", " "))}</li>'
        )
    return f"<p>{title}</p><ul class='legend'>{''.join(swatches)}</ul>"


def camera(result: Result) -> tuple[float, float, float]:
    """A focal length in pixels, and distances of the nearest and the farthest point, that make relative depth look
    plausible: a usual camera at a distance of 1, and people about as deep as they are wide."""
    focal = FOCAL_LENGTH * max(result.image.shape[:2])
    assert result.depth is not None
    rows, columns = np.nonzero(np.isfinite(result.depth.values))
    narrow = min(np.ptp(rows), np.ptp(columns)) + 1 if len(rows) else 1
    return focal, 1.0, 1.0 + RELIEF * float(narrow) / focal


def save_cloud(result: Result, path: Path) -> int:
    """Write the turnable cloud, a .glb of at most about CLOUD_POINTS points; returns how many there are.

    Raises ModuleNotFoundError without trimesh, ResultError without depth.
    """
    if result.depth is None:
        raise ResultError("a point cloud needs depth, which was not predicted")
    known = int(np.isfinite(result.depth.values).sum())
    step = max(1, math.ceil(math.sqrt(known / CLOUD_POINTS)))
    picked = np.s_[::step, ::step]
    if result.points is not None:
        points = PointMap(result.points.values[picked])
        return replace(result, image=result.image[picked], maps={PointmapTask.name: points}).save_point_cloud(path)
    depth = DepthMap(result.depth.values[picked])
    focal, near, far = camera(result)
    thinned = replace(result, image=result.image[picked], maps={DepthTask.name: depth})
    return thinned.save_point_cloud(path, focal / step, near, far)
