"""Scenes of generator version 2: people who do not stand in each other, what goes with them, and a camera."""

import numpy as np

from opensapiens.synthetic import props
from opensapiens.synthetic.atlas import atlas
from opensapiens.synthetic.body import TIGHTS, BodyModel
from opensapiens.synthetic.clothing import Surface
from opensapiens.synthetic.poses import AXIS_X, cross, rotation_about
from opensapiens.synthetic.rasterizer import Camera, Casters
from opensapiens.synthetic.scene import VIEWS as FRAMINGS
from opensapiens.synthetic.scene import Scene, ScenePlan, extent_of, merge, things_in_front
from opensapiens.synthetic.settings import Setting, draw_setting
from opensapiens.synthetic.style import Style
from opensapiens.synthetic.tailor import Tailor

UP = np.array([0.0, 0.0, 1.0])
SKIN_VERTICES = TIGHTS[0]


def plan_party(rng: np.random.Generator, style: Style, model: BodyModel, tailor: Tailor) -> ScenePlan:
    """Draws who is there; the first person is the one the camera is set up for."""
    count = 1 + int(rng.choice(len(style.people), p=style.people))
    people = [model.draw_posed(rng) for _ in range(count)]
    outfits = [tailor.draw(rng, p.phenotype["age"], p.phenotype["gender"]) for p in people]
    return ScenePlan(people, outfits, np.zeros((count, 2)))


def build_stage(
    rng: np.random.Generator,
    style: Style,
    plan: ScenePlan,
    vertices: np.ndarray,
    tailor: Tailor,
    surrounded: bool = False,
) -> tuple[Scene, Setting]:
    """The scene of a plan, given the people's posed vertices (N, V, 3) as BodyModel.vertices returns them.

    surrounded: something else will stand behind the people, so there is no room or street; people and camera are the
    same.
    """
    bodies = vertices.copy()
    for body, place in zip(bodies[1:], _spread_out(rng, bodies)[1:], strict=True):
        body[:, :2] += place
    surfaces: list[tuple[Surface, int]] = []
    named = [dict(zip(tailor.anatomy.keypoint_names, tailor.anatomy.keypoints(body), strict=True)) for body in bodies]
    for i, (body, attire, points) in enumerate(zip(bodies, plan.outfits, named, strict=True)):
        surfaces += [(surface, i + 1) for surface in tailor.dress(body, attire, points)]
    camera = _place_camera(rng, style, bodies, tailor)
    own = np.random.default_rng(rng.integers(2**62))
    things: list[Surface] = []
    for body, points, person in zip(bodies, named, plan.people, strict=True):
        things += _things_of(own, body, points, person.attitude, person.yaw, tailor)
    skin = bodies[:, :SKIN_VERTICES:5]
    low, high = _bounds(skin.reshape(-1, 3))
    distance = float(np.linalg.norm(camera.position[:2] - skin[0, :, :2].mean(0)))
    deep, wide = float(high[1]), float(max(-low[0], high[0]))
    setting = draw_setting(own, camera, deep, wide, distance, surrounded)
    if own.random() < 0.2 * style.occluders:
        things += things_in_front(own, camera, bodies[0])
    if own.random() < 0.6 * style.occluders:
        things += _furniture_in_front(own, camera, bodies[0])
    surfaces += [(thing, 0) for thing in things + setting.things]
    count = sum(len(surface.triangles) for surface, _ in surfaces)
    surfaces += [(surface, 0) for surface in setting.shell]
    mesh, materials = merge(surfaces, setting.floor, atlas())
    casters = Casters(count, low - [0.7, 0.7, 0.1], high + [0.7, 0.7, 0.2], 256 if style.size[0] < 700 else 512)
    return Scene(mesh, materials, camera, setting.light, setting.ground, bodies, casters), setting


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest coordinates (3,) of points (N, 3): numpy is slow along an axis of three."""
    columns = points.T.copy()
    return columns.min(1), columns.max(1)


def _spread_out(rng: np.random.Generator, bodies: np.ndarray) -> np.ndarray:
    """Places on the floor (N, 2) where nobody is in anybody else; the first is the origin."""
    reach = 0.5 * np.ptp(bodies[:, :SKIN_VERTICES:5, :2].transpose(0, 2, 1).copy(), axis=2).mean(1)
    places = np.zeros((len(bodies), 2))
    close = rng.uniform(0.75, 1.05)
    for i in range(1, len(bodies)):
        for attempt in range(40):
            wide = 0.35 + 0.18 * len(bodies) + 0.06 * attempt
            place = np.array([rng.normal(0, wide), rng.uniform(-0.6 - 0.02 * attempt, 1.2 + 0.5 * wide)])
            distance = np.linalg.norm(places[:i] - place, axis=1)
            if (distance > close * (reach[:i] + reach[i])).all():
                break
        places[i] = place
    return places


def _place_camera(rng: np.random.Generator, style: Style, bodies: np.ndarray, tailor: Tailor) -> Camera:
    """A camera south of the people, with a lens of 18 to 200 mm, most often at the height of somebody's eyes."""
    skin = bodies[0, :SKIN_VERTICES]
    view = str(rng.choice(FRAMINGS, p=style.framing))
    low, high = _bounds(skin)
    extent = extent_of(low, high)
    if view == "whole":
        fraction = float(np.exp(rng.uniform(*np.log(style.height))))
        if 1 < len(bodies) < (5 if style.size[0] > style.size[1] else 4) and rng.random() < 0.6:
            low, high = _bounds(bodies[:, :SKIN_VERTICES:5].reshape(-1, 3))
            wide = (high[0] - low[0]) * style.size[0] / style.size[1]
            extent = max(extent_of(low, high) * 0.8, float(wide) * 0.9)
            fraction = max(fraction, 0.6)
        target = (low + high) / 2
    elif view == "upper":
        chest = skin[tailor.torso_vertices].mean(0)
        target, fraction = 0.5 * (_head(skin, tailor) + chest), rng.uniform(1.3, 2.6) * extent / 1.7
    elif view == "face":
        target, fraction = _head(skin, tailor) - [0, 0, 0.05], rng.uniform(2.4, 5.0) * extent / 1.7
    else:
        target, fraction = skin[rng.integers(len(skin) - 2000)], rng.uniform(1.0, 2.2) * extent / 1.7
    height, width = style.size
    lens = np.exp(rng.normal(np.log(48), 0.6)).clip(18, 200)
    focal = lens / 36 * max(height, width)
    distance = max(focal * extent / (fraction * height), 0.4 + 0.2 * extent)
    focal = distance * fraction * height / extent
    if rng.random() < 0.75:
        eye = rng.normal(1.45, 0.25) if rng.random() < 0.8 else rng.uniform(0.3, 2.4)
        elevation = np.rad2deg(np.arcsin(np.clip((eye - target[2]) / distance, -0.5, 0.8)))
    else:
        elevation = float(np.rad2deg(np.arcsin(np.clip(rng.normal(0.1, 0.3), -0.35, 0.85))))
    elevation = max(elevation, float(np.rad2deg(np.arcsin(np.clip((0.12 - target[2]) / distance, -1, 1)))))
    roll = rng.normal(0, 2.5) if rng.random() < 0.85 else rng.normal(0, 15)
    flat = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    rotation = rotation_about(UP, roll) @ rotation_about(AXIS_X, float(elevation)) @ flat
    jitter = rng.uniform(-0.06, 0.06, 2)
    if rng.random() < style.off_center:
        jitter = rng.uniform(-0.4, 0.4, 2)
    elif view == "whole":
        jitter = rng.uniform(-0.4, 0.4, 2) * max(1 - fraction, 0.05)
    center = ((width - 1) / 2, (height - 1) / 2)
    shift = np.array([jitter[0] * width, -jitter[1] * height, 0]) * distance / focal
    position = target + rotation[2] * distance - shift @ rotation
    position[2] = max(position[2], 0.06)
    return Camera(rotation, position, float(focal), center, style.size)


def _head(skin: np.ndarray, tailor: Tailor) -> np.ndarray:
    """The middle of the scalp (3,)."""
    return np.asarray(skin[: len(tailor.anatomy.scalp)][tailor.anatomy.scalp > 0].mean(0))


# --- what goes with a person: a seat, a table, things in the hands


def _things_of(
    rng: np.random.Generator,
    body: np.ndarray,
    points: dict[str, np.ndarray],
    attitude: str,
    yaw: float,
    tailor: Tailor,
) -> list[Surface]:
    things = []
    if attitude == "seat":
        top = max(float(np.quantile(body[tailor.seat_vertices][:, 2], 0.1)) + 0.005, 0.08)
        middle = body[tailor.seat_vertices].mean(0)
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
            things += props.held(
                rng, 0.35 * knuckle + 0.4 * points[f"{side}_middle_finger3"] + 0.25 * wrist, along, facing
            )
    return things


def _furniture_in_front(rng: np.random.Generator, camera: Camera, body: np.ndarray) -> list[Surface]:
    """A table, chair, plant or pole between the camera and the person, to one side or before the legs."""
    toward = body[:SKIN_VERTICES].mean(0)[:2] - camera.position[:2]
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
