"""Frames of a seed, one after another, in this process."""

from collections.abc import Iterator

import numpy as np

from opensapiens.synthetic.body import BodyModel
from opensapiens.synthetic.clothing import Wardrobe
from opensapiens.synthetic.frame import Frame, photograph
from opensapiens.synthetic.scene import build_scene, plan_scene
from opensapiens.synthetic.style import Style


class Studio:
    """The body model and the wardrobe, loaded once per process."""

    def __init__(self) -> None:
        self.model = BodyModel()
        self.wardrobe = Wardrobe(self.model)

    def frames(self, seed: int, first: int, count: int, style: Style) -> Iterator[Frame]:
        """Frames first .. first + count - 1 of a seed.

        Whole batches of synthesize.FRAMES_PER_BATCH give the same bits every time.
        """
        plans = []
        for index in range(first, first + count):
            rng = np.random.default_rng([seed, index])
            plans.append((rng, plan_scene(rng, style, self.model, self.wardrobe)))
        vertices = self.model.vertices([person for _, plan in plans for person in plan.people])
        start = 0
        for rng, plan in plans:
            bodies = vertices[start : start + len(plan.people)]
            start += len(plan.people)
            scene = build_scene(rng, style, plan, bodies, self.wardrobe)
            yield photograph(rng, scene, plan, self.wardrobe)
