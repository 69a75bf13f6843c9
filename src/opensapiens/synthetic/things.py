"""Things that belong to people (seats, tables, what they hold), and things in front of people."""

from dataclasses import replace

import numpy as np

from opensapiens.synthetic import props
from opensapiens.synthetic.materials import draw_cloth
from opensapiens.synthetic.rasterizer import Camera
from opensapiens.synthetic.rotations import UP, cross, rotation_about
from opensapiens.synthetic.style import Style
from opensapiens.synthetic.surfaces import Surface, thing, unit_sphere


def things_of(
    rng: np.random.Generator, points: dict[str, np.ndarray], seat: np.ndarray | None, yaw: float
) -> list[Surface]:
    """A chair, at times with a table, for a person who sits on one (seat: the points (N, 3) that touch it), and things
    in the hands.

    points: keypoints in the world by name.
    """
    things = []
    if seat is not None:
        top = max(float(np.quantile(seat[:, 2], 0.1)) + 0.005, 0.08)
        middle = seat.mean(0)
        things += props.chair(rng, middle, yaw, top)
        if rng.random() < 0.3:
            half = np.array([rng.uniform(0.4, 0.9), rng.uniform(0.25, 0.45)])
            ahead = rotation_about(UP, yaw) @ np.array([rng.uniform(-0.2, 0.2), -half[1] - rng.uniform(0.2, 0.35), 0])
            high = top + rng.uniform(0.22, 0.3)
            things += props.table(rng, middle + ahead, yaw, high, half)
            things += props.clutter_on(rng, middle + ahead, yaw, high, half)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        wrist, knuckle = points[f"{side}_wrist"], points[f"{side}_middle_finger_third_joint"]
        tip = points[f"{side}_middle_finger4"]
        across = points[f"{side}_forefinger_third_joint"] - points[f"{side}_pinky_finger_third_joint"]
        bent = np.linalg.norm(tip - wrist) / (1.9 * np.linalg.norm(knuckle - wrist))
        if 0.5 < bent < 0.9 and rng.random() < 0.35:
            along = (knuckle - wrist) / np.linalg.norm(knuckle - wrist)
            facing = cross(across, along) * sign
            facing /= np.linalg.norm(facing)
            palm = 0.35 * knuckle + 0.4 * points[f"{side}_middle_finger3"] + 0.25 * wrist
            things += props.held(rng, palm, along, facing)
    return things


def things_in_front(
    rng: np.random.Generator, style: Style, camera: Camera, body: np.ndarray, middle: np.ndarray
) -> list[Surface]:
    """Things between the camera and a person, if any, given points (N, 3) of the body and its center (3,)."""
    things: list[Surface] = []
    if rng.random() < 0.2 * style.occluders:
        things += _floating_in_front(rng, camera, body)
    if rng.random() < 0.6 * style.occluders:
        things += _furniture_in_front(rng, camera, middle)
    return things


def _floating_in_front(rng: np.random.Generator, camera: Camera, body: np.ndarray) -> list[Surface]:
    """One to three boxes or ellipsoids between the camera and the person, each over some part of the body."""
    height, width = camera.size
    seen = camera.project(body[::37])
    inside = (seen[:, 0] > 0) & (seen[:, 0] < width) & (seen[:, 1] > 0) & (seen[:, 1] < height) & (seen[:, 2] > 0.1)
    if not inside.any():
        return []
    seen = seen[inside]
    tall = float(np.ptp(seen[:, 1])) + 1
    things = []
    for _ in range(rng.integers(1, 4)):
        spot = seen[rng.integers(len(seen))]
        depth = spot[2] * rng.uniform(0.45, 0.85)
        center = camera.position + depth * (camera.rays(spot[0], spot[1]) @ camera.rotation)
        half = tall * depth / camera.focal * rng.uniform(0.05, 0.2, 3) * np.where(rng.random(3) < 0.12, 3.0, 1.0)
        turn = camera.rotation.T @ rotation_about(rng.normal(size=3), rng.uniform(0, 180 if rng.random() < 0.5 else 15))
        corners, triangles = (props.BOX_CORNERS, props.BOX_TRIANGLES) if rng.random() < 0.6 else unit_sphere()
        cloth = draw_cloth(rng)
        look = replace(cloth, frequency=cloth.frequency * 0.5, gloss=float(rng.uniform(0, 0.6)))
        points = corners * half
        things.append(thing(center + points @ turn.T, points, triangles, look))
    return things


def _furniture_in_front(rng: np.random.Generator, camera: Camera, middle: np.ndarray) -> list[Surface]:
    """A table, chair, plant or pole between the camera and the person, to one side or in front of the legs."""
    toward = middle[:2] - camera.position[:2]
    distance = float(np.linalg.norm(toward))
    if distance < 1.5:
        return []
    at = camera.position[:2] + toward * rng.uniform(0.45, 0.75)
    at = at + np.array([rng.normal(0, 0.22 * distance * 0.5), 0])
    kind = rng.integers(4)
    if kind == 0:
        top, half = rng.uniform(0.6, 0.9), np.array([rng.uniform(0.4, 1.0), rng.uniform(0.3, 0.5)])
        return props.table(rng, at, rng.normal(0, 15), top, half) + props.clutter_on(rng, at, 0.0, top, half)
    if kind == 1:
        return props.chair(rng, at, rng.uniform(0, 360), rng.uniform(0.4, 0.5))
    if kind == 2:
        return props.plant(rng, at, rng.uniform(0.5, 1.3))
    foot = np.array([*at, 0.0])
    return [props.pole(props.paint(rng), foot, foot + UP * rng.uniform(0.8, 3.0), rng.uniform(0.02, 0.07))]
