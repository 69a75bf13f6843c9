"""Where the camera stands and what it is framed on."""

from dataclasses import dataclass

import numpy as np

from opensapiens.synthetic.rasterizer import Camera
from opensapiens.synthetic.rotations import AXIS_X, UP, rotation_about
from opensapiens.synthetic.style import Style

FRAMINGS = ("whole", "upper", "face", "part")
"""What the camera is framed on; Style.framing has their chances."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The person a camera is set up for: points (N, 3) of the body, head and chest (3,), points (M, 3) that a
    close-up may target; group: points of everybody in the scene, if the frame may show them all."""

    points: np.ndarray
    head: np.ndarray
    chest: np.ndarray
    close: np.ndarray
    group: np.ndarray | None = None


def draw_camera(rng: np.random.Generator, style: Style, subject: Subject) -> Camera:
    """A camera south of the people, with a lens of 18 to 200 mm, most often at eye height."""
    framing = str(rng.choice(FRAMINGS, p=style.framing))
    low, high = bounds(subject.points)
    extent = _apparent_length(low, high)
    if framing == "whole":
        fraction = float(np.exp(rng.uniform(*np.log(style.height))))
        if subject.group is not None and rng.random() < 0.6:
            low, high = bounds(subject.group)
            wide = (high[0] - low[0]) * style.size[0] / style.size[1]
            extent = max(_apparent_length(low, high) * 0.8, float(wide) * 0.9)
            fraction = max(fraction, 0.6)
        target = (low + high) / 2
    elif framing == "upper":
        target, fraction = 0.5 * (subject.head + subject.chest), rng.uniform(1.3, 2.6) * extent / 1.7
    elif framing == "face":
        target, fraction = subject.head - [0, 0, 0.05], rng.uniform(2.4, 5.0) * extent / 1.7
    else:
        target, fraction = subject.close[rng.integers(len(subject.close))], rng.uniform(1.0, 2.2) * extent / 1.7
    return _aim(rng, style, framing == "whole", target, float(fraction), extent)


def bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum (3,) of points (N, 3), computed by column: numpy is slow along an axis of three."""
    columns = points.T.copy()
    return columns.min(1), columns.max(1)


def _apparent_length(low: np.ndarray, high: np.ndarray) -> float:
    """Approximate visible length of a body in a box (meters) from any side."""
    return float(np.linalg.norm((high - low) * [0.7, 0.7, 1.0]))


def _aim(
    rng: np.random.Generator, style: Style, whole: bool, target: np.ndarray, fraction: float, extent: float
) -> Camera:
    """A camera with a random lens, height and roll, aimed at a target, such that `extent` meters there fill that
    fraction of the frame's height."""
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
    elif whole:
        jitter = rng.uniform(-0.4, 0.4, 2) * max(1 - fraction, 0.05)
    center = ((width - 1) / 2, (height - 1) / 2)
    shift = np.array([jitter[0] * width, -jitter[1] * height, 0]) * distance / focal
    position = target + rotation[2] * distance - shift @ rotation
    position[2] = max(position[2], 0.06)
    return Camera(rotation, position, float(focal), center, style.size)
