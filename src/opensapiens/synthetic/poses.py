"""Poses that people take, as joint angles drawn around named activities.

A pose is one rotation per bone of the body model, relative to the parent and in the axes of the world at rest
(+x the person's left, -y the front, +z up). At rest the arms hang at 45 degrees, the elbows are bent.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

ACTIVITIES = {
    "standing": 0.2,
    "walking": 0.14,
    "running": 0.08,
    "sitting": 0.18,
    "crouching": 0.1,
    "kneeling": 0.05,
    "lying": 0.06,
    "bending": 0.07,
    "sport": 0.12,
}
Angles = tuple[float, float]
AXIS_X, AXIS_Y, AXIS_Z = np.eye(3)
_FINGERS = range(1, 6)


def rotation_about(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation matrix (3, 3) by an angle about an axis (3,) that need not have unit length."""
    x, y, z = axis.tolist()
    length = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, y / length, z / length
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    rest = 1 - cosine
    xy, xz, yz = x * y * rest, x * z * rest, y * z * rest
    return np.array(
        [
            [cosine + x * x * rest, xy - z * sine, xz + y * sine],
            [xy + z * sine, cosine + y * y * rest, yz - x * sine],
            [xz - y * sine, yz + x * sine, cosine + z * z * rest],
        ]
    )


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of vectors (..., 3): numpy's takes several times as long for few of them."""
    if a.ndim == b.ndim == 1:
        (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
        return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    x, y, z = (a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1)))
    return np.stack([x, y, z], -1)


def length_of(vector: np.ndarray) -> float:
    """What np.linalg.norm says of a vector (3,), in half the time."""
    return math.sqrt(vector.dot(vector))


def lengths_of(vectors: np.ndarray) -> np.ndarray:
    """What np.linalg.norm says of vectors (N, 3), in half the time."""
    x, y, z = (vectors * vectors).T
    return np.sqrt(x + y + z)


def clipped(value: float, low: float, high: float) -> float:
    """What np.clip says of a number, in a tenth of the time."""
    return min(max(value, low), high)


def rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Smallest rotation (3, 3) that turns one direction (3,) into another."""
    source, target = source / length_of(source), target / length_of(target)
    axis = cross(source, target)
    if length_of(axis) < 1e-9:
        return np.eye(3) if source @ target > 0 else rotation_about(np.array([source[1], -source[0], 1e-6]), 180)
    return rotation_about(axis, np.rad2deg(np.arccos(clipped(float(source @ target), -1, 1))))


class PoseSampler:
    """Draws poses for a skeleton given by its bone names and the joints' places at rest (J, 3) in metres."""

    def __init__(self, bones: Sequence[str], joints: np.ndarray):
        self.index = {name: i for i, name in enumerate(bones)}
        self.joints = joints
        self._directions: dict[tuple[str, str], np.ndarray] = {}
        self._hands: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def draw(self, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        """One pose: the activity's name and rotations (J, 3, 3); the root's is the whole body's attitude."""
        name = str(rng.choice(list(ACTIVITIES), p=list(ACTIVITIES.values())))
        pose = np.repeat(np.eye(3)[None], len(self.index), 0)
        _LEGS_AND_TRUNK[name](self, pose, rng)
        self._arms(pose, name, rng)
        self._head(pose, rng)
        for side in "LR":
            self._hand(pose, side, rng)
        return name, pose

    def _direction(self, start: str, end: str) -> np.ndarray:
        if (start, end) not in self._directions:
            direction = self.joints[self.index[end]] - self.joints[self.index[start]]
            self._directions[start, end] = direction / np.linalg.norm(direction)
        return self._directions[start, end]

    def _turn(self, pose: np.ndarray, bone: str, rotation: np.ndarray) -> None:
        turned = pose[self.index[bone]]
        turned[:] = turned.dot(rotation)

    def _leg(self, pose: np.ndarray, side: str, flexion: float, abduction: float, twist: float, knee: float) -> None:
        """Angles in degrees, positive: thigh forward, thigh outward, toes outward, knee bent."""
        sign = 1.0 if side == "L" else -1.0
        thigh = self._direction(f"upperleg01.{side}", f"lowerleg01.{side}")
        outward = rotation_about(AXIS_Y, -sign * abduction)
        forward = rotation_about(AXIS_X, -flexion)
        self._turn(pose, f"upperleg01.{side}", forward @ outward @ rotation_about(-thigh, -sign * twist))
        self._turn(pose, f"lowerleg01.{side}", rotation_about(AXIS_X, knee))

    def _feet(self, pose: np.ndarray, rng: np.random.Generator, spread: float) -> None:
        for side in "LR":
            self._turn(pose, f"foot.{side}", rotation_about(AXIS_X, rng.normal(0, spread)))
            self._turn(pose, f"foot.{side}", rotation_about(AXIS_Y, rng.normal(0, 0.4 * spread)))

    def _trunk(self, pose: np.ndarray, forward: float, sideways: float, twist: float) -> None:
        """Bends the spine; degrees in all, shared by its bones."""
        share = rotation_about(AXIS_X, forward / 5) @ rotation_about(AXIS_Y, sideways / 5)
        share = share @ rotation_about(AXIS_Z, twist / 5)
        for bone in ("spine05", "spine04", "spine03", "spine02", "spine01"):
            self._turn(pose, bone, share)

    def _head(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        nod, tilt, turn = rng.normal(0, 14), rng.normal(0, 9), rng.normal(0, 25)
        self._turn_head(pose, nod, tilt, clipped(turn, -65, 65))

    def _turn_head(self, pose: np.ndarray, nod: float, tilt: float, turn: float) -> None:
        """Turns neck and head; degrees in all, shared by their bones."""
        share = rotation_about(AXIS_X, nod / 3) @ rotation_about(AXIS_Y, tilt / 3) @ rotation_about(AXIS_Z, turn / 3)
        for bone in ("neck01", "neck02", "head"):
            self._turn(pose, bone, share)

    def _arm(self, pose: np.ndarray, side: str, raised: float, azimuth: float, elbow: float, twist: float) -> None:
        """Upper arm raised from hanging (0) over level (90) to overhead (180), towards the side (azimuth 0) or the
        front (90); elbow straight at 0; twist turns the upper arm about itself. Degrees."""
        sign = 1.0 if side == "L" else -1.0
        up, around = np.deg2rad(raised), np.deg2rad(azimuth)
        target = np.array([sign * np.sin(up) * np.cos(around), -np.sin(up) * np.sin(around), -np.cos(up)])
        rest = self._direction(f"upperarm01.{side}", f"lowerarm01.{side}")
        girdle = np.clip(0.25 * (raised - 40), -8, 30)
        lift = rotation_about(AXIS_Y, -sign * girdle * 0.5)
        self._turn(pose, f"clavicle.{side}", lift)
        self._turn(pose, f"shoulder01.{side}", lift)
        local_target = (lift @ lift).T @ target
        self._turn(
            pose, f"upperarm01.{side}", rotation_between(rest, local_target) @ rotation_about(rest, sign * twist)
        )
        forearm = self._direction(f"lowerarm01.{side}", f"wrist.{side}")
        hinge = np.cross(rest, forearm)
        at_rest = np.rad2deg(np.arccos(np.clip(rest @ forearm, -1, 1)))
        self._turn(pose, f"lowerarm01.{side}", rotation_about(hinge, elbow - at_rest))

    def _arms(self, pose: np.ndarray, activity: str, rng: np.random.Generator) -> None:
        options: dict[str, Sequence[str]] = {
            "standing": ("hang", "hang", "hang", "hips", "hold", "reach", "face", "random"),
            "walking": ("swing", "swing", "hang", "hold", "reach"),
            "running": ("run", "run", "swing"),
            "sitting": ("lap", "lap", "hold", "hold", "reach", "face", "hang"),
            "crouching": ("hold", "reach", "lap", "random", "hang"),
            "kneeling": ("hold", "reach", "lap", "hang", "random"),
            "lying": ("hang", "random", "reach", "face"),
            "bending": ("hang", "reach", "hold", "random"),
            "sport": ("random", "reach", "random", "run"),
        }
        both = str(rng.choice(options[activity]))
        phase = rng.choice([-1.0, 1.0])
        for side in "LR":
            gesture = both if rng.random() < 0.7 else str(rng.choice(options[activity]))
            raised, azimuth, elbow, twist = self._gesture(gesture, phase if side == "L" else -phase, rng)
            self._arm(pose, side, raised, azimuth, elbow, twist)
            self._turn(
                pose,
                f"lowerarm02.{side}",
                rotation_about(self._direction(f"lowerarm01.{side}", f"wrist.{side}"), rng.normal(0, 25)),
            )
            self._turn(pose, f"wrist.{side}", rotation_about(rng.normal(size=3), clipped(rng.normal(0, 18), -45, 45)))

    @staticmethod
    def _gesture(name: str, phase: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """Raised, azimuth, elbow and twist in degrees; phase +1 for the arm that swings forward."""
        u = rng.uniform
        if name == "hang":
            return u(4, 24), u(-20, 70), u(3, 35), u(-25, 25)
        if name == "hips":
            return u(35, 55), u(-25, 10), u(85, 115), u(-85, -55)
        if name == "hold":
            return u(8, 45), u(40, 95), u(60, 115), u(-35, 25)
        if name == "lap":
            return u(10, 35), u(50, 95), u(20, 75), u(-25, 20)
        if name == "reach":
            return u(50, 170), u(-5, 100), u(0, 60), u(-40, 40)
        if name == "face":
            return u(25, 85), u(40, 95), u(110, 145), u(-30, 20)
        if name == "swing":
            return (
                (u(8, 35), u(75, 100), u(8, 50), u(-15, 15))
                if phase > 0
                else (u(8, 32), u(-100, -65), u(3, 30), u(-15, 15))
            )
        if name == "run":
            return (
                (u(20, 55), u(70, 100), u(60, 110), u(-15, 15))
                if phase > 0
                else (u(25, 60), u(-100, -70), u(60, 110), u(-15, 15))
            )
        return u(0, 160), u(-35, 115), u(0, 135), u(-50, 50)

    def _hand(self, pose: np.ndarray, side: str, rng: np.random.Generator) -> None:
        curl_all = rng.choice([rng.uniform(0, 15), rng.uniform(10, 45), rng.uniform(45, 85)])
        spread = rng.uniform(-3, 9)
        curls = []
        for finger in _FINGERS:
            curl = clipped(curl_all + rng.normal(0, 10), -8, 95)
            if rng.random() < 0.1:
                curl = rng.uniform(0, 10)
            curls.append(curl * 0.45 if finger == 1 else curl)
        self.close_hand(pose, side, curls, spread)

    def close_hand(self, pose: np.ndarray, side: str, curls: Sequence[float], spread: float) -> None:
        """Bends the joints of the five fingers, thumb first, and spreads the four; degrees."""
        palm, towards_palm, thumb_towards_palm = self._hand_axes(side)
        for finger, curl in zip(_FINGERS, curls, strict=True):
            if finger > 1:
                self._turn(pose, f"finger{finger}-1.{side}", rotation_about(palm, spread * (finger - 3)))
            axis = towards_palm if finger > 1 else thumb_towards_palm
            first, other = rotation_about(axis, curl * 0.75), rotation_about(axis, curl)
            for joint, turn in ((1, first), (2, other), (3, other)):
                self._turn(pose, f"finger{finger}-{joint}.{side}", turn)

    def _hand_axes(self, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which way the palm looks at rest, and about what fingers and thumb bend."""
        if side not in self._hands:
            across = self._direction(f"finger2-1.{side}", f"finger5-1.{side}")
            palm = np.cross(self._direction(f"wrist.{side}", f"finger3-1.{side}"), across)
            self._hands[side] = palm, -across, np.cross(self._direction(f"finger1-1.{side}", f"finger1-3.{side}"), palm)
        return self._hands[side]

    def _standing(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        for side in "LR":
            self._leg(pose, side, rng.uniform(-6, 12), rng.uniform(-5, 12), rng.uniform(-8, 20), rng.uniform(0, 14))
        if rng.random() < 0.25:
            self._leg(pose, str(rng.choice(["L", "R"])), rng.uniform(0, 25), rng.uniform(-4, 8), 0, rng.uniform(0, 45))
        self._trunk(pose, rng.normal(0, 6), rng.normal(0, 5), rng.normal(0, 8))
        self._feet(pose, rng, 6)

    def _walking(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        front, back = rng.permutation(["L", "R"])
        self._leg(pose, front, rng.uniform(5, 40), rng.uniform(-6, 4), rng.uniform(-5, 12), rng.uniform(0, 35))
        self._leg(pose, back, rng.uniform(-25, 5), rng.uniform(-6, 4), rng.uniform(-5, 12), rng.uniform(0, 60))
        self._trunk(pose, rng.uniform(-2, 14), rng.normal(0, 4), rng.normal(0, 10))
        self._feet(pose, rng, 12)

    def _running(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        front, back = rng.permutation(["L", "R"])
        self._leg(pose, front, rng.uniform(25, 85), rng.uniform(-4, 8), rng.uniform(-5, 10), rng.uniform(20, 110))
        self._leg(pose, back, rng.uniform(-35, 5), rng.uniform(-4, 6), rng.uniform(-5, 10), rng.uniform(10, 110))
        self._trunk(pose, rng.uniform(0, 25), rng.normal(0, 5), rng.normal(0, 12))
        self._feet(pose, rng, 16)

    def _sitting(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        flexion, knee = rng.uniform(65, 105), rng.uniform(35, 105)
        for side in "LR":
            self._leg(
                pose,
                side,
                flexion + rng.normal(0, 7),
                rng.uniform(-7, 25),
                rng.uniform(-10, 15),
                max(knee + rng.normal(0, 12), 0),
            )
        self._trunk(pose, rng.normal(8, 14), rng.normal(0, 7), rng.normal(0, 10))
        self._turn(pose, "root", rotation_about(AXIS_X, rng.normal(-4, 10)))
        self._feet(pose, rng, 12)

    def _crouching(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        flexion, knee = rng.uniform(65, 130), rng.uniform(75, 140)
        for side in "LR":
            self._leg(
                pose,
                side,
                flexion + rng.normal(0, 10),
                rng.uniform(0, 35),
                rng.uniform(-5, 25),
                clipped(knee + rng.normal(0, 12), 30, 148),
            )
        self._trunk(pose, rng.uniform(0, 40), rng.normal(0, 7), rng.normal(0, 12))
        self._turn(pose, "root", rotation_about(AXIS_X, rng.uniform(0, 45)))
        self._feet(pose, rng, 16)

    def _kneeling(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        one = rng.random() < 0.5
        for i, side in enumerate(rng.permutation(["L", "R"])):
            if one and i == 0:
                self._leg(
                    pose, side, rng.uniform(75, 105), rng.uniform(-5, 20), rng.uniform(-5, 15), rng.uniform(70, 110)
                )
            else:
                self._leg(
                    pose, side, rng.uniform(-8, 35), rng.uniform(-5, 15), rng.uniform(-8, 8), rng.uniform(85, 140)
                )
        self._trunk(pose, rng.uniform(-5, 30), rng.normal(0, 7), rng.normal(0, 10))
        self._feet(pose, rng, 25)

    def _lying(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        for side in "LR":
            self._leg(pose, side, rng.uniform(-10, 70), rng.uniform(-6, 25), rng.uniform(-10, 25), rng.uniform(0, 100))
        self._trunk(pose, rng.normal(5, 12), rng.normal(0, 8), rng.normal(0, 10))
        roll = rotation_about(AXIS_Z, float(rng.choice([0.0, 90.0, -90.0, 180.0])) + rng.normal(0, 20))
        self._turn(pose, "root", rotation_about(AXIS_X, -90 + rng.normal(0, 8)) @ roll)
        self._feet(pose, rng, 18)

    def _bending(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        lean = rng.uniform(20, 75)
        for side in "LR":
            self._leg(
                pose, side, lean + rng.uniform(-10, 20), rng.uniform(-4, 14), rng.uniform(-5, 15), rng.uniform(0, 45)
            )
        self._trunk(pose, rng.uniform(5, 50), rng.normal(0, 8), rng.normal(0, 15))
        self._turn(pose, "root", rotation_about(AXIS_X, lean))
        self._feet(pose, rng, 10)

    def _sport(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        for side in "LR":
            self._leg(pose, side, rng.uniform(-30, 100), rng.uniform(-8, 45), rng.uniform(-15, 30), rng.uniform(0, 120))
        self._trunk(pose, rng.uniform(-15, 40), rng.normal(0, 14), rng.normal(0, 20))
        self._turn(pose, "root", rotation_about(rng.normal(size=3) * [1, 1, 0.1], rng.normal(0, 22)))
        self._feet(pose, rng, 22)


_LEGS_AND_TRUNK: dict[str, Callable[[PoseSampler, np.ndarray, np.random.Generator], None]] = {
    name: getattr(PoseSampler, f"_{name}") for name in ACTIVITIES
}
