"""Poses: legs and trunk from a table of postures, arms that reach for places given by gestures, no limb inside another.

A pose is one rotation per bone of the body model, relative to the parent and in the axes of the world at rest
(+x the person's left, -y the front, +z up). At rest the arms hang at 45 degrees, the elbows are bent.

The tables are ours: `postures.csv` has ranges of joint angles (degrees, see PoseSampler._leg and _bend);
`gestures.csv` says where a wrist goes (meters beside a bone of the average adult at rest, x outward from the person's
middle), where the elbow points and where the palm faces (axes of the breast bone; of the leg for gestures on it);
`hands.csv` says how far the fingers bend.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from opensapiens.synthetic.anatomy import read_rows
from opensapiens.synthetic.capsules import ALLOWED_DEPTH, capsules_of
from opensapiens.synthetic.rotations import (
    AXIS_X,
    AXIS_Y,
    AXIS_Z,
    clipped,
    cross,
    length_of,
    rotation_about,
    rotation_between,
)

ATTEMPTS = 12
"""Attempts to draw a pose without overlapping limbs; after the last one the best is taken."""
LEVEL = {"up", "seat"}
"""Attitudes with the soles on the ground, as far as the ankles bend."""
AHEAD = np.array([0.0, -1.0, 0.0])
SPINE, NECK = ("spine05", "spine04", "spine03", "spine02", "spine01"), ("neck01", "neck02", "head")
FINGERS = range(1, 6)
Hand = tuple[str, list[float], float]
"""Side, bend of the five fingers and spread of the four; see PoseSampler._close_hand."""


@functools.cache
def _tables() -> tuple[list[dict[str, str]], np.ndarray, dict[str, dict[str, str]], dict[str, list[float]]]:
    """Postures, their chances, gestures by name, hands by name."""
    postures, gestures = read_rows("postures.csv"), read_rows("gestures.csv")
    weights = np.array([float(row["weight"]) for row in postures])
    hands = {row.pop("hand"): [float(angle) for angle in row.values()] for row in read_rows("hands.csv")}
    return postures, weights / weights.sum(), {row["gesture"]: row for row in gestures}, hands


class PoseSampler:
    """Draws poses for a skeleton, given bone names, parents (J,) and joints at rest (J, 3) in meters."""

    def __init__(self, bones: Sequence[str], parents: Sequence[int], joints: np.ndarray):
        self.index = {name: i for i, name in enumerate(bones)}
        self.joints = joints = np.asarray(joints, float)
        self._directions: dict[tuple[str, str], np.ndarray] = {}
        self.parents = list(parents)
        self._offsets = np.array([joints[b] - joints[max(p, 0)] for b, p in enumerate(self.parents)])
        needed = {self.index[b] for b in self.index if not b.startswith(("toe", "metacarpal", "eye", "finger"))}
        needed |= {self.index[f"finger3-1.{side}"] for side in "LR"}
        for bone in sorted(needed):  # and their ancestors
            while (bone := self.parents[bone]) >= 0:
                needed.add(bone)
        self._order = sorted(needed)  # parents come before their children
        self._arm_order = {side: self._below(f"clavicle.{side}") for side in "LR"}
        self._spine_order = self._above("spine01")
        self._leg_orders = [self._above(f"lowerleg02.{side}") for side in "LR"]
        self._arms_at_rest = {side: self._arm_at_rest(side) for side in "LR"}
        self._hand_axes = {side: self._hand_axes_of(side) for side in "LR"}
        self.capsules = capsules_of(self.index)

    def _below(self, bone: str) -> list[int]:
        """A bone and those that move with it."""
        chain = [self.index[bone]]
        for other in self._order:
            if self.parents[other] in chain:
                chain.append(other)
        return chain

    def _above(self, bone: str) -> list[int]:
        """The chain of bones from the root to a bone."""
        chain = [self.index[bone]]
        while (parent := self.parents[chain[0]]) >= 0:
            chain.insert(0, parent)
        return chain

    def draw(self, rng: np.random.Generator) -> tuple[str, str, np.ndarray]:
        """The activity, the attitude (up, seat, floor, back, front, side) and rotations (J, 3, 3); the root's is the
        attitude of the whole body."""
        postures, weights, _, _ = _tables()
        least = np.inf
        row = postures[rng.choice(len(postures), p=weights)]
        for attempt in range(ATTEMPTS):
            pose = np.repeat(np.eye(3)[None], len(self.index), 0)
            self._lower_body(pose, row, rng)
            self._look(pose, rng)
            places, hands = self._gesture_arms(pose, row["gestures"].split(), rng)
            depth = self.capsules.overlap(places)
            if depth < least:
                least, best_pose, best_hands = depth, pose, hands
            if depth < ALLOWED_DEPTH:
                break
            if attempt == ATTEMPTS // 2:
                row = {**row, "gestures": "hang side"}
        for side, curls, spread in best_hands:
            self._close_hand(best_pose, side, curls, spread)
        return row["activity"], row["attitude"], best_pose

    # --- legs, trunk, head

    def _lower_body(self, pose: np.ndarray, row: dict[str, str], rng: np.random.Generator) -> None:
        def draw(name: str) -> float:
            low, high = row[name].split(":")
            return float(rng.uniform(float(low), float(high)))

        hinge = draw("hinge")  # the hips bend while the legs stay in place
        first, second = rng.permutation(["L", "R"])
        angles = [draw(name) for name in ("flexion", "abduction", "twist", "knee")]
        if row["other_flexion"]:
            others = [draw(f"other_{name}") for name in ("flexion", "abduction", "twist", "knee")]
        else:
            others = [angle + rng.normal(0, 4) for angle in angles]
        seated = row["attitude"] in ("seat", "floor")
        for side, (flexion, abduction, twist, knee) in ((first, angles), (second, others)):
            self._leg(pose, side, flexion + (0.0 if seated else hinge), abduction, twist, clipped(knee, 0, 150))
        self._bend(pose, SPINE, draw("forward"), draw("sideways"), draw("turn"))
        lean = rotation_about(AXIS_X, hinge)
        if row["attitude"] in ("back", "front", "side"):
            around = {"back": 0.0, "front": 180.0, "side": float(rng.choice([-90.0, 90.0]))}[row["attitude"]]
            roll = rotation_about(AXIS_Z, around + rng.normal(0, 8))
            lean = rotation_about(AXIS_X, -90 + rng.normal(0, 4)) @ roll
        self._turn(pose, "root", lean)
        if row["attitude"] in LEVEL:
            self._level_feet(pose, rng)
        else:
            for side in "LR":
                self._turn(pose, f"foot.{side}", rotation_about(AXIS_X, rng.uniform(-5, 32)))

    def _level_feet(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        for side, order in zip("LR", self._leg_orders, strict=True):
            toes = self._turn_of(pose, order) @ AHEAD
            pitch = np.rad2deg(np.arcsin(clipped(toes[2], -1, 1)))
            angle = clipped(pitch, -28, 40) + rng.normal(0, 2)
            self._turn(pose, f"foot.{side}", rotation_about(AXIS_X, angle))

    def _look(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        """Neck and head; even people who lean or lie look more or less straight ahead."""
        ahead = self._turn_of(pose, self._spine_order).T @ AHEAD
        back_up = 0.6 * np.rad2deg(np.arcsin(clipped(ahead[2], -0.8, 0.8)))
        nod = clipped(rng.normal(4, 11) - back_up, -40, 38)
        tilt, turn = clipped(rng.normal(0, 7), -22, 22), clipped(rng.normal(0, 22), -62, 62)
        self._bend(pose, NECK, nod, tilt, turn)

    # --- arms

    def _gesture_arms(
        self, pose: np.ndarray, choices: list[str], rng: np.random.Generator
    ) -> tuple[np.ndarray, list[Hand]]:
        """Poses both arms; returns the positions of all bones then, as forward does, and how the hands close."""
        _, _, gestures, _ = _tables()
        first = str(rng.choice(choices))
        second = first if rng.random() < float(gestures[first]["both"]) else str(rng.choice(choices))
        if second != first and float(gestures[second]["both"]) > 0.95:
            second = "hang" if "hang" in choices else first
        names = [first, second]
        if first in ("swing", "run"):
            names = [first, f"{first}_back"]
        turns, places = self.forward(pose)
        sides = rng.permutation(["L", "R"])
        hands = [
            self._reach_for(pose, str(side), turns, places, gestures[name], rng)
            for side, name in zip(sides, names, strict=True)
        ]
        return places, hands

    def _reach_for(
        self,
        pose: np.ndarray,
        side: str,
        turns: np.ndarray,
        places: np.ndarray,
        gesture: dict[str, Any],
        rng: np.random.Generator,
    ) -> Hand:
        """Bends an arm so that its wrist is where a gesture wants it, and turns the palm; updates turns and positions.

        Returns how the hand closes, which moves none of the bones that matter here.
        """
        sign = 1.0 if side == "L" else -1.0
        bone = gesture["bone"] if gesture["bone"] in self.index else f"{gesture['bone']}.{side}"
        offset = np.array([float(gesture[axis]) for axis in "xyz"]) + rng.normal(0, float(gesture["spread"]), 3)
        on_leg = "leg" in gesture["bone"]
        axes = turns[self.index[bone if on_leg else "spine01"]]
        goal = places[self.index[bone]] + turns[self.index[bone]] @ (offset * [sign, 1, 1])
        pole = turns[self.index["spine01"]] @ (_vector(gesture, "pole", sign) + rng.normal(0, 0.12, 3))
        self._lift_shoulder(pose, side, turns, places, goal)
        self._follow(pose, turns, places, self._arm_order[side][:3])  # as far as the upper arm
        forearm_turn = self._two_bones(pose, side, turns, places, goal, pole)
        palm = axes @ (_vector(gesture, "palm", sign) + rng.normal(0, 0.15, 3))
        self._turn_palm(pose, side, forearm_turn, palm, rng)
        hand = self._draw_hand(side, gesture["hand"], rng)
        self._follow(pose, turns, places, self._arm_order[side])
        return hand

    def _lift_shoulder(
        self, pose: np.ndarray, side: str, turns: np.ndarray, places: np.ndarray, goal: np.ndarray
    ) -> None:
        sign = 1.0 if side == "L" else -1.0
        toward = turns[self.index["spine01"]].T @ (goal - places[self.index[f"upperarm01.{side}"]])
        raised = np.rad2deg(np.arctan2(np.hypot(toward[0], toward[1]), -toward[2]))
        lift = rotation_about(AXIS_Y, -sign * clipped(0.12 * (raised - 40), -4, 15))
        forward = rotation_about(AXIS_Z, -sign * clipped(-25 * toward[1], -6, 14))
        self._turn(pose, f"clavicle.{side}", lift @ forward)
        self._turn(pose, f"shoulder01.{side}", lift)

    def _two_bones(
        self, pose: np.ndarray, side: str, turns: np.ndarray, places: np.ndarray, goal: np.ndarray, pole: np.ndarray
    ) -> np.ndarray:
        """Sets shoulder and elbow; returns the world rotation of the forearm."""
        shoulder = self.index[f"upperarm01.{side}"]
        elbow = self.index[f"lowerarm01.{side}"]
        a, b, upper_at_rest, lower_at_rest = self._arms_at_rest[side]
        toward = goal - places[shoulder]
        length = length_of(toward)
        distance = clipped(length, 0.42 * (a + b), 0.985 * (a + b))
        toward /= max(length, 1e-6)
        aside = pole - (pole @ toward) * toward
        aside /= max(length_of(aside), 1e-6)
        cosine = clipped((a * a + distance * distance - b * b) / (2 * a * distance), -1, 1)
        bend = a * (cosine * toward + math.sqrt(1 - cosine * cosine) * aside)
        straight = distance * toward - bend
        hinge = cross(bend, straight)
        upper_turn = _axes(bend, hinge) @ upper_at_rest.T
        lower_turn = _axes(straight, hinge) @ lower_at_rest.T
        pose[shoulder] = turns[self.parents[shoulder]].T @ upper_turn
        pose[elbow] = upper_turn.T @ lower_turn
        return lower_turn

    def _arm_at_rest(self, side: str) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Lengths of upper arm and forearm, and their frames as _axes gives them."""
        shoulder, elbow, wrist = (self.joints[self.index[f"{b}.{side}"]] for b in ("upperarm01", "lowerarm01", "wrist"))
        upper, lower = elbow - shoulder, wrist - elbow
        hinge = cross(upper, lower)
        return length_of(upper), length_of(lower), _axes(upper, hinge), _axes(lower, hinge)

    def _turn_palm(
        self, pose: np.ndarray, side: str, forearm_turn: np.ndarray, palm: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Rolls the forearm, as far as it goes, until the palm faces the wanted direction; the wrist bends a little."""
        axis = self._direction(f"lowerarm01.{side}", f"wrist.{side}")
        across = self._direction(f"finger2-1.{side}", f"finger5-1.{side}")
        along = self._direction(f"wrist.{side}", f"finger3-1.{side}")
        at_rest = cross(along, across) * (1.0 if side == "L" else -1.0)
        want = forearm_turn.T @ palm
        flat_rest, flat_want = at_rest - (at_rest @ axis) * axis, want - (want @ axis) * axis
        angle = np.rad2deg(np.arctan2(cross(flat_rest, flat_want) @ axis, flat_rest @ flat_want))
        angle = clipped(angle, -95, 80) if side == "L" else clipped(angle, -80, 95)
        self._turn(pose, f"lowerarm02.{side}", rotation_about(axis, 0.6 * angle))
        rolled = rotation_about(axis, 0.4 * angle)
        bend = rotation_about(across, clipped(rng.normal(0, 14), -40, 40))
        self._turn(pose, f"wrist.{side}", rolled @ bend @ rotation_about(at_rest, float(rng.normal(0, 6))))

    def _draw_hand(self, side: str, name: str, rng: np.random.Generator) -> Hand:
        hands = _tables()[3]
        if name == "any" or rng.random() < 0.2:
            name = str(rng.choice(list(hands)))
        *curls, spread = hands[name]
        share = rng.uniform(0.75, 1.15)
        bent = [clipped(curl * share + rng.normal(0, 5), -8, 95) for curl in curls]
        return side, bent, spread + rng.normal(0, 1.5)

    # --- single joints

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

    def _bend(self, pose: np.ndarray, bones: Sequence[str], forward: float, sideways: float, twist: float) -> None:
        """Bends a chain of bones; total degrees, shared equally."""
        count = len(bones)
        share = rotation_about(AXIS_X, forward / count) @ rotation_about(AXIS_Y, sideways / count)
        share = share @ rotation_about(AXIS_Z, twist / count)
        for bone in bones:
            self._turn(pose, bone, share)

    def _close_hand(self, pose: np.ndarray, side: str, curls: Sequence[float], spread: float) -> None:
        """Bends the joints of the five fingers, thumb first, and spreads the four; degrees."""
        palm, towards_palm, thumb_towards_palm = self._hand_axes[side]
        for finger, curl in zip(FINGERS, curls, strict=True):
            if finger > 1:
                self._turn(pose, f"finger{finger}-1.{side}", rotation_about(palm, spread * (finger - 3)))
            axis = towards_palm if finger > 1 else thumb_towards_palm
            first, other = rotation_about(axis, curl * 0.75), rotation_about(axis, curl)
            for joint, turn in ((1, first), (2, other), (3, other)):
                self._turn(pose, f"finger{finger}-{joint}.{side}", turn)

    def _hand_axes_of(self, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The direction the palm faces at rest, and the axes that fingers and thumb bend about."""
        across = self._direction(f"finger2-1.{side}", f"finger5-1.{side}")
        palm = np.cross(self._direction(f"wrist.{side}", f"finger3-1.{side}"), across)
        return palm, -across, np.cross(self._direction(f"finger1-1.{side}", f"finger1-3.{side}"), palm)

    # --- where bones are

    def forward(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World rotations (J, 3, 3) and positions (J, 3) of the bones that matter here; the root stays in place."""
        turns, places = np.empty_like(pose), np.empty((len(pose), 3))
        turns[self._order[0]], places[self._order[0]] = pose[self._order[0]], self.joints[self._order[0]]
        self._follow(pose, turns, places, self._order[1:])
        return turns, places

    def _follow(self, pose: np.ndarray, turns: np.ndarray, places: np.ndarray, order: list[int]) -> None:
        """Updates turns and positions of some bones, parents before children."""
        for bone in order:
            parent = self.parents[bone]
            turn = turns[parent]
            np.dot(turn, pose[bone], turns[bone])
            np.add(places[parent], turn.dot(self._offsets[bone]), places[bone])

    def _turn_of(self, pose: np.ndarray, order: list[int]) -> np.ndarray:
        """World rotation (3, 3) of the last bone of a chain that starts at the root."""
        turn: np.ndarray = pose[order[0]]
        for bone in order[1:]:
            turn = turn.dot(pose[bone])
        return turn


def _vector(row: dict[str, Any], name: str, sign: float) -> np.ndarray:
    return np.array([float(row[f"{name}_{axis}"]) for axis in "xyz"]) * [sign, 1, 1]


def _axes(along: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    """An orthonormal frame (3, 3) with its first column along a bone and its third along the hinge."""
    first = along / length_of(along)
    third = hinge - (hinge @ first) * first
    length = length_of(third)
    if length < 1e-9:
        return rotation_between(AXIS_X, first)
    third = third / length
    return np.array([first, cross(third, first), third]).T.copy()
