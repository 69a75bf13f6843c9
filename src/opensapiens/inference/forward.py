"""Views through a network: pixels in, one prediction in image coordinates per view out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.data.batch import stack_images
from opensapiens.geometry.location import moved_picture, whole_picture
from opensapiens.geometry.view import View
from opensapiens.inference.runtimes import Runtime, place_of
from opensapiens.models.human_model import HumanModel
from opensapiens.tasks import TASKS
from opensapiens.tasks.forward import maps
from opensapiens.tasks.task import HeadTask

ImageView = tuple[np.ndarray, View]
"""An H×W×3 uint8 image, and what a network is shown of it."""


@dataclass(eq=False)
class LoadedModel:
    """A network with the description that says how to feed it and how to read it.

    network: None for one that `read` reads each time it is needed. weights: a digest of the weights, see
    weights_digest; empty if they are not from a folder. known_tasks: name of a head -> its task.
    """

    network: HumanModel | Runtime | None
    description: ModelDescription
    read: Callable[[], HumanModel | Runtime] | None = None
    weights: str = ""
    known_tasks: Mapping[str, type[HeadTask]] = field(default_factory=lambda: TASKS)

    @cached_property
    def tasks(self) -> dict[str, HeadTask]:
        """Head -> its task. Raises CheckpointError for a head whose task is not known, or that it does not fit."""
        heads, where = self.description.heads, f"model {self.description.name!r}"
        unknown = [name for name in heads if name not in self.known_tasks]
        if unknown:
            known = ", ".join(self.known_tasks)
            raise CheckpointError(f"{where}: no task is known for the head {', '.join(unknown)}; there are {known}")
        try:
            return {
                name: self.known_tasks[name].of_head(head.label_set, head.out_channels, head.kind)
                for name, head in heads.items()
            }
        except ValueError as error:
            raise CheckpointError(f"{where}: {error}") from error

    @contextmanager
    def ready(self) -> Iterator[HumanModel | Runtime]:
        """The network, in memory for as long as the context lasts."""
        network = self.network
        if network is None:
            if self.read is None:
                raise ValueError(f"{self.description.name} has neither a network nor a way to read it")
            network = self.read()
        yield network

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        return self.description.preprocessing.input_size

    @property
    def takes_people(self) -> bool:
        """True if the network sees one person's crop, False if it sees the whole image."""
        return self.description.preprocessing.takes_people

    @property
    def flip_test(self) -> bool:
        """Whether the weights ask to be averaged with the mirrored image, as the published pose models do."""
        return self.description.preprocessing.flip_test

    def views(self, boxes: np.ndarray, image_size: tuple[int, int]) -> list[View]:
        """One view per xyxy box, or a single one of the whole image, as the network takes them."""
        return self.description.preprocessing.views(boxes, image_size)


@dataclass(eq=False)
class Prediction:
    """The prediction of a network for one view, in the coordinates of the image.

    decoded: head -> the output of its task's `decode`, not masked.
    """

    view: View
    decoded: dict[str, Any]


def network_inputs(loaded: LoadedModel, network: HumanModel | Runtime, shown: Sequence[ImageView]) -> Tensor:
    """The normalized batch of some views, on the network's device and of its type."""
    device, dtype = place_of(network)
    pixels = stack_images([view.pixels(image) for image, view in shown]).to(device)
    return loaded.description.preprocessing.normalize(pixels).to(dtype)


def raw_maps(
    loaded: LoadedModel,
    shown: Sequence[ImageView],
    heads: Sequence[str] | None = None,
    flip: bool = False,
    batch_size: int = 8,
) -> Iterator[dict[str, Tensor]]:
    """For each view the maps of the heads (default: all), float32 C×h×w on the network's device, by batches."""
    if not shown:
        return
    rules = {head: task.flip_rule for head, task in loaded.tasks.items()} if flip else None
    with loaded.ready() as network:
        for start in range(0, len(shown), batch_size):
            batch = shown[start : start + batch_size]
            images = network_inputs(loaded, network, batch)
            inputs = view_inputs(loaded, batch, images.device)
            mirrored = loaded.description.backbone.mirrored(inputs)
            with torch.inference_mode():
                maps_of_head = maps(network, images, flip, rules, heads, inputs, mirrored)
            for index in range(len(images)):
                yield {head: tensor[index].float() for head, tensor in maps_of_head.items()}


def view_inputs(loaded: LoadedModel, shown: Sequence[ImageView], device: torch.device) -> dict[str, Tensor]:
    """The inputs of the backbone for some views, other than their pixels, float32, by name."""
    inputs = [
        loaded.description.backbone.view_inputs(
            moved_picture(whole_picture(view.image_size), view.matrix), view.input_size
        )
        for _, view in shown
    ]
    return {name: torch.from_numpy(np.stack([of_view[name] for of_view in inputs])).to(device) for name in inputs[0]}


def predict(
    loaded: LoadedModel, shown: Sequence[ImageView], flip: bool | None = None, batch_size: int = 8
) -> list[Prediction]:
    """One prediction per view, from all heads of the network in one pass. flip: None = as the weights ask for."""
    maps_by_view = raw_maps(loaded, shown, flip=loaded.flip_test if flip is None else flip, batch_size=batch_size)
    return [read_maps(loaded, maps_of_head, view) for maps_of_head, (_, view) in zip(maps_by_view, shown, strict=True)]


def read_maps(loaded: LoadedModel, maps_of_head: dict[str, Tensor], view: View) -> Prediction:
    """The maps C×h×w of one view, decoded into image coordinates."""
    with torch.inference_mode():
        decoded = {head: loaded.tasks[head].decode(head_maps, view) for head, head_maps in maps_of_head.items()}
    return Prediction(view, decoded)
