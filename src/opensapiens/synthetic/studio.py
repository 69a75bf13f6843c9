"""Frames of a seed, one after another, in this process."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from opensapiens.synthetic.body import BATCH, BodyModel
from opensapiens.synthetic.clothing import Wardrobe
from opensapiens.synthetic.develop import develop as develop_photo
from opensapiens.synthetic.environment import Surroundings
from opensapiens.synthetic.frame import Develop, Frame, describe_people, photograph
from opensapiens.synthetic.scene import build_scene, plan_scene
from opensapiens.synthetic.stage import build_stage, plan_party
from opensapiens.synthetic.style import Style
from opensapiens.synthetic.tailor import Tailor


class Studio:
    """The body model, and the wardrobe of the generator's version, loaded once per process.

    surroundings: light and backdrops in place of the procedural ones; the people are the same with and without.
    parameters: the records also say where the camera stands, what bodies the people have and where their points are.
    """

    def __init__(self, surroundings: Surroundings | None = None, parameters: bool = False) -> None:
        self.model = BodyModel()
        self.surroundings = surroundings
        self.parameters = parameters

    @functools.cached_property
    def wardrobe(self) -> Wardrobe:
        """Version 1's."""
        return Wardrobe(self.model)

    @functools.cached_property
    def tailor(self) -> Tailor:
        """Version 2's."""
        return Tailor(self.model)

    def frames(self, seed: int, first: int, count: int, style: Style) -> Iterator[Frame]:
        """Frames first .. first + count - 1 of a seed.

        Whole batches of style.FRAMES_PER_BATCH give the same bits every time.
        """
        return self.frames_of([(seed, index) for index in range(first, first + count)], style)

    def frames_of(self, seeds: Sequence[tuple[int, ...]], style: Style, batch: int = BATCH) -> Iterator[Frame]:
        """One frame for each seed; their bodies are evaluated `batch` at a time, of which their last bits depend."""
        plans = []
        second = style.version > 1
        wardrobe: Wardrobe = self.tailor if second else self.wardrobe
        for numbers in seeds:
            rng = np.random.default_rng(list(numbers))
            if second:
                plans.append((rng, plan_party(rng, style, self.model, self.tailor)))
            else:
                plans.append((rng, plan_scene(rng, style, self.model, self.wardrobe)))
        vertices = self.model.vertices([person for _, plan in plans for person in plan.people], batch)
        start = 0
        for numbers, (rng, plan) in zip(seeds, plans, strict=True):
            bodies = vertices[start : start + len(plan.people)]
            start += len(plan.people)
            develop: Develop | None = None
            if second:
                scene, setting = build_stage(rng, style, plan, bodies, self.tailor, self.surroundings is not None)
                develop = functools.partial(develop_photo, setting, scene.camera)
            else:
                scene = build_scene(rng, style, plan, bodies, wardrobe)
            backdrop = None
            if self.surroundings is not None:  # its own generator, so that it does not change who is drawn
                own = np.random.default_rng([*numbers, 1])
                light, backdrop = self.surroundings.draw(own, scene.camera)
                scene = replace(scene, light=light or scene.light)
            describe = functools.partial(describe_people, scene, plan, wardrobe, self.parameters)
            frame = photograph(rng, scene, describe, backdrop, develop=develop)
            if self.parameters:
                frame.record["camera"] |= scene.camera.pose()
            yield frame
