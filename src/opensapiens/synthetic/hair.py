"""Hair as geometry: caps on the scalp, sheets that hang, ponytails, buns; also eyebrows."""

from dataclasses import dataclass

import numpy as np

from opensapiens.synthetic.anatomy import FACE, HAIR, Anatomy
from opensapiens.synthetic.materials import KNIT, STRANDS, Material, draw_hair_color
from opensapiens.synthetic.props import ball, tube
from opensapiens.synthetic.rotations import cross, length_of, lengths_of
from opensapiens.synthetic.surfaces import Surface, grid_triangles, thing

STYLES = {  # chances for women, men
    "bald": (0.01, 0.09), "buzz": (0.02, 0.14), "short": (0.12, 0.55), "curly": (0.07, 0.07), "afro": (0.06, 0.05),
    "bob": (0.14, 0.03), "long": (0.3, 0.035), "ponytail": (0.16, 0.015), "bun": (0.1, 0.01), "pigtails": (0.02, 0.0),
}  # fmt: skip
Capsule = tuple[np.ndarray, np.ndarray, float]
"""Start (3,), end (3,) and radius in meters."""
SECTORS, ARC, HANG = 36, 8, 9
"""Rows and columns of a sheet of hair: around the head, down to the ears, and below."""


@dataclass(frozen=True)
class Hair:
    """A hair style and its parameters; lengths in meters."""

    style: str
    material: Material
    thickness: float
    hairline: float
    length: float
    opening: float
    fringe: float
    receding: float
    waves: np.ndarray


@dataclass(frozen=True)
class HeadFrame:
    """The frame of a head: origin between the ears, axes (3, 3) in rows (left, back, up), size relative to the
    average."""

    origin: np.ndarray
    axes: np.ndarray
    size: float

    def world(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) from the head's frame to the world."""
        return self.origin + self.size * points @ self.axes

    def local(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) from the world to the head's frame."""
        return (points - self.origin) @ self.axes.T / self.size


def head_of(points: dict[str, np.ndarray]) -> HeadFrame:
    """The head frame of a body, from its keypoints by name."""
    left, right = points["left_ear"], points["right_ear"]
    across = left - right
    x = across / np.linalg.norm(across)
    front = points["center_of_glabella"] - 0.5 * (left + right)
    up = cross(x, -front)
    up /= np.linalg.norm(up)
    # the glabella is 2 cm above the line between the ears, seen from the side
    y = cross(up, x)
    tilt = np.deg2rad(16.0)
    y, up = np.cos(tilt) * y + np.sin(tilt) * up, np.cos(tilt) * up - np.sin(tilt) * y
    return HeadFrame(0.5 * (left + right), np.stack([x, y, up]), float(np.linalg.norm(across) / 0.15))


def draw_hair(rng: np.random.Generator, age: float, gender: float) -> Hair:
    """Draws hair for an age and gender (Anny's scales, gender 0 male)."""
    chances = np.array([pair[0 if gender > 0.5 else 1] for pair in STYLES.values()])
    style = str(rng.choice(list(STYLES), p=chances / chances.sum()))
    if age < 0.5 and style == "bald":
        style = "short"
    color = np.maximum(draw_hair_color(rng, age), 0.004)
    curls = style in ("curly", "afro")
    material = Material(
        color * rng.uniform(0.3, 0.8),
        color * rng.uniform(1.0, 2.2),
        KNIT if curls else STRANDS,
        rng.uniform(90, 250) if curls else rng.uniform(400, 900),
        0.02 if curls else float(rng.uniform(0.01, 0.12)),
        relief=(0.012, 60.0, 0.004) if curls else (float(rng.uniform(0.003, 0.012)), 32.0, 0.0006),
    )
    thickness = {"buzz": 0.003, "afro": rng.uniform(0.04, 0.11), "curly": rng.uniform(0.025, 0.06)}.get(
        style, rng.uniform(0.008, 0.035) if style == "short" else rng.uniform(0.008, 0.022)
    )
    length = {"bob": rng.uniform(0.01, 0.13), "long": rng.uniform(0.15, 0.5), "ponytail": rng.uniform(0.12, 0.45)}
    return Hair(
        style,
        material,
        float(thickness),
        float(rng.normal(0.0, 0.006)),
        float(length.get(style, rng.uniform(0.1, 0.35))),
        float(rng.uniform(0.85, 1.25)),
        float(rng.uniform(0.4, 0.5)) if rng.random() < 0.3 else float(rng.uniform(0.22, 0.33)),
        float(rng.uniform(0.2, 1.0)) if gender < 0.5 and age > 0.62 and rng.random() < 0.35 else 0.0,
        rng.uniform(0, 2 * np.pi, (6, 3)),
    )


def inside_hairline(hair: Hair, anatomy: Anatomy, rest: np.ndarray) -> np.ndarray:
    """Distance inside the hairline in meters (V,); it recedes at the temples and the crown for some."""
    inside = anatomy.scalp + hair.hairline
    if hair.receding:
        front = np.clip((0.02 - rest[:, 1]) / 0.12, 0, 1) * np.clip((rest[:, 2] - 0.72) / 0.05, 0, 1)
        temples = 0.6 + 0.4 * np.abs(np.sin(rest[:, 0] / 0.075 * np.pi / 2))
        inside = inside - hair.receding * 0.1 * front * temples
        crown = np.exp(-((rest - [0, 0.04, 0.84]) ** 2).sum(1) / 0.002)
        inside = inside - hair.receding * 0.05 * crown
    return inside


def grow(
    hair: Hair,
    body: np.ndarray,
    normals: np.ndarray,
    rest: np.ndarray,
    scalp: tuple[np.ndarray, np.ndarray],
    inside: np.ndarray,
    points: dict[str, np.ndarray],
) -> list[Surface]:
    """Surfaces of hair on a posed body (V, 3), its scalp given as vertices and triangles; inside: see
    inside_hairline."""
    if hair.style in ("bald", "buzz"):
        return []
    head = head_of(points)
    surfaces = [_cap(hair, body, normals, rest, scalp, inside[scalp[0]])]
    hollow = _capsules(points)
    if hair.style in ("bob", "long"):
        surfaces.append(_shell(hair, head, hollow))
    elif hair.style == "bun":
        place = head.world(np.array([0, 0.1 + 0.02 * np.sin(hair.waves[0, 0]), 0.03 + 0.06 * np.sin(hair.waves[1, 0])]))
        size = head.size * (0.03 + 0.05 * hair.length)
        surfaces.append(ball(hair.material, place, np.full(3, size), part=HAIR))
    elif hair.style == "ponytail":
        start = head.world(np.array([0, 0.105, 0.02 + 0.05 * np.sin(hair.waves[0, 0])]))
        surfaces.append(_tail(hair, head, start, head.axes[1], hollow, 0.034))
    elif hair.style == "pigtails":
        for side in (-1, 1):
            start = head.world(np.array([side * 0.075, 0.05, 0.0]))
            surfaces.append(_tail(hair, head, start, side * head.axes[0], hollow, 0.022))
    return surfaces


def _cap(
    hair: Hair,
    body: np.ndarray,
    normals: np.ndarray,
    rest: np.ndarray,
    scalp: tuple[np.ndarray, np.ndarray],
    inside: np.ndarray,
) -> Surface:
    used, triangles = scalp
    at = rest[used]
    ragged = 0.005 * np.sin((90 * np.cos(hair.waves))[:3] @ at.T + hair.waves[:3, :1]).sum(0)
    rise = np.sqrt(np.clip((inside + ragged) / 0.045, 0, 1))
    frequency = 30 if hair.style in ("afro", "curly") else 55
    lumps = np.sin((frequency * np.cos(hair.waves)) @ at.T + hair.waves[:, :1]).mean(0)
    top = np.clip((at[:, 2] - 0.7) / 0.12, 0, 1)
    sides = 0.35 + 0.65 * top if hair.style == "short" else 1.0
    lift = 0.0015 + hair.thickness * rise * sides * (1 + 0.45 * lumps)
    texture = np.stack([at[:, 0], at[:, 1] * np.clip(np.abs(at[:, 0]) / 0.06, 0.1, 1), 0.5 * at[:, 1] + at[:, 2]], 1)
    if hair.style in ("afro", "curly"):
        texture = at
    points = body.take(used, 0) + normals.take(used, 0) * lift[:, None]
    return thing(points, texture, triangles, hair.material, HAIR, inside + ragged)


def _shell(hair: Hair, head: HeadFrame, hollow: list[Capsule]) -> Surface:
    """A sheet around the head, open in front of the face, that hangs below the ears and lies on neck and shoulders."""
    around = np.linspace(-np.pi, np.pi, SECTORS + 1)
    waves = np.sin(np.outer(around, np.arange(3, 9)) + hair.waves[:, 0]).mean(1)
    clumps = np.sin(np.outer(around, np.arange(11, 17)) + hair.waves[:, 1]).mean(1)
    thick = hair.thickness * (1 + 0.5 * waves)
    polar = np.linspace(0.08, 0.6, ARC) * np.pi
    direction = np.stack(
        [
            np.sin(polar)[:, None] * np.sin(around),
            -np.sin(polar)[:, None] * np.cos(around),
            np.repeat(np.cos(polar)[:, None], len(around), 1),
        ],
        -1,
    )
    radius = np.array([0.08, 0.1, 0.112])
    skull = np.array([0.0, 0.017, 0.024])
    puff = (thick + 0.006)[None, :, None] * np.linspace(0.5, 1.0, ARC)[:, None, None]
    rows = list(head.world(skull + direction * (radius + puff)))
    down = 0.8 * np.array([0, 0, -1.0]) - 0.2 * head.axes[2]
    down /= np.linalg.norm(down)
    step = hair.length * (1 + 0.12 * clumps + 0.08 * np.sin(hair.waves[0, 0])) / HANG * head.size
    outward = np.stack([np.sin(around), -np.cos(around), 0 * around], 1) @ head.axes
    for row in range(HANG):
        wave = 0.35 * np.sin(row * 1.1 + hair.waves[2, 0]) * hair.thickness / HANG * 4
        after = rows[-1] + step[:, None] * (down + 0.02 * outward) + wave * outward * 0.3
        after = _push_out(after, hollow, 0.004 + 0.35 * (thick[:, None] * (1 + 0.5 * clumps[:, None])))
        after[:, 2] = np.maximum(after[:, 2], 0.01)
        rows.append(after)
    share = np.concatenate([polar / np.pi, np.full(HANG, 0.7)])[:, None]
    below = np.concatenate([np.zeros(ARC), np.arange(1, HANG + 1) / HANG])[:, None]
    beside = (np.abs(around) - hair.opening - 0.12 * below) * 0.09
    above = (hair.fringe - 0.03 * clumps - share) * np.pi * 0.1
    keep = np.maximum(beside + 0.01 * clumps, above)
    keep = np.minimum(keep, 0.3 * (1.0 - below) + 0.02 * clumps + 0.03).ravel()
    along = np.concatenate([polar[:, None] * 0.1, 0.19 + hair.length * below[ARC:]])
    texture = np.stack(np.broadcast_arrays(around * 0.09, 0 * along, along), -1).reshape(-1, 3)
    triangles = grid_triangles(ARC + HANG - 1, SECTORS)
    return thing(np.concatenate(rows), texture, triangles, hair.material, HAIR, keep)


def _tail(
    hair: Hair,
    head: HeadFrame,
    start: np.ndarray,
    outward: np.ndarray,
    hollow: list[Capsule],
    radius: float,
) -> Surface:
    """A ponytail that starts outward from the head and falls."""
    path, heading = [start - 0.02 * outward, start], outward * 0.9 + head.axes[2] * 0.35
    for _ in range(9):
        heading = 0.62 * heading + 0.38 * np.array([0, 0, -1.0])
        heading /= length_of(heading)
        after = _push_out((path[-1] + heading * hair.length / 9)[None], hollow, radius * 0.9)[0]
        after[2] = max(after[2], 0.02)
        path.append(after)
    profile = np.array([0.4, 0.55, 0.85, 1.0, 1.05, 1.0, 0.95, 0.85, 0.7, 0.5, 0.1]) * radius * head.size
    return tube(hair.material, np.stack(path), profile, 12, 0.8, HAIR)


def _capsules(points: dict[str, np.ndarray]) -> list[Capsule]:
    """Neck, shoulders and trunk, which hair lies on."""
    left, right = points["left_shoulder"], points["right_shoulder"]
    hips = 0.5 * (points["left_hip"] + points["right_hip"])
    size = float(np.linalg.norm(left - right)) / 0.36
    middle = 0.5 * (left + right)
    chin = 0.5 * (points["left_ear"] + points["right_ear"])
    trunk = middle + 0.25 * (hips - middle)
    return [
        (chin, middle, 0.062 * size),
        (left + 0.1 * (right - left), right + 0.1 * (left - right), 0.068 * size),
        (trunk + 0.15 * (left - right), hips, 0.125 * size),
        (trunk + 0.15 * (right - left), hips, 0.125 * size),
    ]


def _push_out(points: np.ndarray, hollow: list[Capsule], margin: np.ndarray | float) -> np.ndarray:
    """Points (N, 3), those inside a capsule moved to its surface."""
    margin = np.broadcast_to(np.asarray(margin, float).reshape(-1, 1), (len(points), 1))
    for start, end, radius in hollow:
        axis, reach = end - start, radius + margin
        t = np.minimum(np.maximum((points - start) @ axis / (axis @ axis + 1e-9), 0), 1)
        away = points - (start + t[:, None] * axis)
        distance = lengths_of(away)[:, None] + 1e-6
        inside = distance < reach
        if inside.any():
            points = np.where(inside, points + away / distance * (reach - distance), points)
    return points


def brows(points: dict[str, np.ndarray], color: np.ndarray, thick: float) -> list[Surface]:
    """Eyebrows as strips through their keypoints."""
    head = head_of(points)
    look = Material(color * 0.6, color * 1.3, STRANDS, 900.0, 0.0)
    forward = -head.axes[1] * 0.005 * head.size
    fine = np.linspace(0, 4, 13)  # positions along the five points of an edge
    along, across = np.tile(fine * 0.015, 2), np.repeat([0.008, 0.0], 13)
    texture = np.stack([along + across, 0 * along, across], 1)
    strips = []
    for side in "lr":
        edges = []
        for edge in ("upper", "lower"):
            names = [f"{edge}_{name}" for name in ("startpoint", "midpoint_1", "midpoint_2", "midpoint_3")] + ["end"]
            corners = np.array([points[f"{name}_of_{side}_eyebrow"] for name in names])
            edges.append(np.stack([np.interp(fine, np.arange(5), column) for column in corners.T], 1))
        up, low = edges
        middle = 0.5 * (up + low)
        up, low = middle + thick * (up - middle), middle + thick * (low - middle)
        strips.append(thing(np.concatenate([up, low]) + forward, texture, grid_triangles(1, 12), look, FACE))
    return strips
