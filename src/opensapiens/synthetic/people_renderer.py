"""Renders frames of synthetic people in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from opensapiens.synthetic.body import BATCH, BodyModel
from opensapiens.synthetic.environment import Surroundings
from opensapiens.synthetic.frame import Frame, describe_people, photograph
from opensapiens.synthetic.scene import build_scene, plan_scene
from opensapiens.synthetic.style import Style
from opensapiens.synthetic.wardrobe import Wardrobe


class PeopleRenderer:
    """Renders people; the body model and the wardrobe are loaded once per process.

    surroundings: light and backdrops in place of the procedural ones; the people are the same with and without.
    parameters: the records also hold the camera's pose, the body parameters and the 3D keypoints.
    """

    def __init__(self, surroundings: Surroundings | None = None, parameters: bool = False) -> None:
        self.model = BodyModel()
        self.wardrobe = Wardrobe(self.model)
        self.surroundings = surroundings
        self.parameters = parameters

    def frames(self, seed: int, first: int, count: int, style: Style) -> Iterator[Frame]:
        """Frames first .. first + count - 1 of a seed.

        Whole batches of style.FRAMES_PER_BATCH give the same bits every time.
        """
        return self.frames_of([(seed, index) for index in range(first, first + count)], style)

    def frames_of(self, seeds: Sequence[tuple[int, ...]], style: Style, batch: int = BATCH) -> Iterator[Frame]:
        """One frame for each seed. Bodies are evaluated `batch` at a time; their last bits depend on it."""
        rngs = [np.random.default_rng(list(numbers)) for numbers in seeds]
        plans = [plan_scene(rng, style, self.model) for rng in rngs]
        vertices = self.model.vertices([person for plan in plans for person in plan.people], batch)
        start = 0
        for numbers, rng, plan in zip(seeds, rngs, plans, strict=True):
            bodies = vertices[start : start + len(plan.people)]
            start += len(plan.people)
            scene = build_scene(rng, style, plan, bodies, self.wardrobe, self.surroundings is not None)
            backdrop = None
            if self.surroundings is not None:  # its own generator, so that it does not change who is drawn
                light, backdrop = self.surroundings.draw(np.random.default_rng([*numbers, 1]), scene.camera)
                scene = replace(scene, light=light or scene.light)
            frame, rendering = photograph(rng, scene, backdrop)
            persons = describe_people(scene, plan, self.wardrobe, self.parameters, frame.instances, rendering)
            frame.record["persons"] = persons
            if self.parameters:
                frame.record["camera"] |= scene.camera.pose()
            yield frame
