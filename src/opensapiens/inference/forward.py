"""Views through a network: pixels in, one prediction in image coordinates per view out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.data.batch import normalize_images, stack_images
from opensapiens.geometry.heatmaps import decode_heatmaps
from opensapiens.geometry.normals import normalize
from opensapiens.geometry.person_crop import crop_points_to_image
from opensapiens.inference.views import View, person_view, squashed_view
from opensapiens.labels.keypoints import KEYPOINT_SETS, KeypointSet
from opensapiens.labels.parts import PART_SETS, PartSet
from opensapiens.models.human_model import HumanModel
from opensapiens.tasks.forward import FlipRule, maps


@dataclass(eq=False)
class LoadedModel:
    """A network with the description that says how to feed it and how to read it."""

    network: HumanModel
    description: ModelDescription

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        height, width = self.description.preprocessing["input_size"]
        return int(height), int(width)

    @property
    def takes_people(self) -> bool:
        """True if the network sees one person's crop, False if it sees the whole image squashed."""
        return self.description.preprocessing["resize"] == "person_crop"

    @property
    def keypoint_set(self) -> KeypointSet | None:
        """What the pose head's channels are."""
        labels = self.description.heads["pose"]["labels"] if "pose" in self.description.heads else None
        return KEYPOINT_SETS[labels] if labels else None

    @property
    def part_set(self) -> PartSet | None:
        """What the segmentation head's channels are."""
        labels = self.description.heads["segmentation"]["labels"] if "segmentation" in self.description.heads else None
        return PART_SETS[labels] if labels else None

    def views(self, boxes: np.ndarray, image_size: tuple[int, int]) -> list[View]:
        """One view per xyxy box, or a single one of the whole image, as the network takes them."""
        if not self.takes_people:
            return [squashed_view(image_size, self.input_size)]
        padding = float(self.description.preprocessing["box_padding"])
        return [person_view(box, image_size, self.input_size, padding) for box in boxes]


@dataclass(eq=False)
class Prediction:
    """What a network says about one view, in the coordinates of the image; None for a head that it does not have.

    keypoints: K×2 image pixels; scores: K. The maps cover view.window: parts uint8 class ids (0 outside the view),
    depth float32 and normals float32 unit vectors (NaN outside the view). They are not masked.
    """

    view: View
    keypoints: np.ndarray | None = None
    scores: np.ndarray | None = None
    parts: np.ndarray | None = None
    depth: np.ndarray | None = None
    normals: np.ndarray | None = None


def raw_maps(
    loaded: LoadedModel,
    image: np.ndarray,
    views: Sequence[View],
    heads: Sequence[str] | None = None,
    flip: bool = False,
    batch_size: int = 8,
) -> list[dict[str, Tensor]]:
    """For each view the maps of the heads (default: all), float32 C×h×w on the CPU, in batches of the given size."""
    parameter = next(loaded.network.parameters())
    preprocessing = loaded.description.preprocessing
    results: list[dict[str, Tensor]] = []
    for start in range(0, len(views), batch_size):
        pixels = stack_images([view.pixels(image) for view in views[start : start + batch_size]]).to(parameter.device)
        images = normalize_images(pixels, preprocessing["mean"], preprocessing["std"]).to(parameter.dtype)
        with torch.inference_mode():
            batch = maps(loaded.network, images, flip, _flip_rules(loaded) if flip else None, heads)
        batch = {head: tensor.float().cpu() for head, tensor in batch.items()}
        results += [{head: tensor[i] for head, tensor in batch.items()} for i in range(len(pixels))]
    return results


def predict(
    loaded: LoadedModel, image: np.ndarray, views: Sequence[View], flip: bool = False, batch_size: int = 8
) -> list[Prediction]:
    """One prediction per view of the H×W×3 uint8 image, from all heads of the network in one pass."""
    per_view = raw_maps(loaded, image, views, flip=flip, batch_size=batch_size)
    return [read_maps(one, view) for one, view in zip(per_view, views, strict=True)]


def read_maps(maps_of_head: dict[str, Tensor], view: View) -> Prediction:
    """The maps C×h×w of one view, decoded and brought to image coordinates."""
    prediction = Prediction(view)
    arrays = {head: tensor.numpy() for head, tensor in maps_of_head.items()}
    if "pose" in arrays:
        points, scores = decode_heatmaps(arrays["pose"][None], view.input_size)
        prediction.keypoints = crop_points_to_image(points[0], view.center, view.scale, view.input_size).astype(
            np.float32
        )
        prediction.scores = scores[0].astype(np.float32)
    if "segmentation" in arrays:
        prediction.parts = view.classes(arrays["segmentation"])
    if "depth" in arrays:
        prediction.depth = view.to_window(arrays["depth"])[..., 0]
    if "normals" in arrays:
        prediction.normals = normalize(view.to_window(arrays["normals"]))
    return prediction


def foreground(logits_CHW: Tensor) -> np.ndarray:
    """Probability (h, w) float32 that a pixel is any part of a person: 1 − softmax of class 0."""
    return (1 - torch.softmax(logits_CHW, dim=0)[0]).numpy()


def _flip_rules(loaded: LoadedModel) -> dict[str, FlipRule]:
    rules = {"depth": FlipRule(), "normals": FlipRule(negated=(0,))}
    if loaded.keypoint_set is not None:
        rules["pose"] = FlipRule(permutation=loaded.keypoint_set.flip_indices.tolist())
    if loaded.part_set is not None:
        rules["segmentation"] = FlipRule(permutation=loaded.part_set.flip_indices.tolist())
    return rules
