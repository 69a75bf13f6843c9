"""A head for new labels takes over what has the same name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.head_transfer import shared_channels, start_head
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.geometry.view import Preprocessing
from opensapiens.labels.keypoints import COCO_17, KeypointSet
from opensapiens.labels.own_labels import keypoint_set_of_category, label_entry, part_set_of_categories
from opensapiens.labels.parts import PartSet

HAT = keypoint_set_of_category("hat", {"keypoints": ["tip", "right_ear", "left_ear", "nose"]})
CLOTHES = part_set_of_categories("clothes", [{"id": 1, "name": "hat"}, {"id": 2, "name": "coat"}])
CAPS = part_set_of_categories("caps", [{"id": 1, "name": "cap"}, {"id": 2, "name": "Hat"}])


def described(points: KeypointSet, parts: PartSet, width: int = 6) -> ModelDescription:
    def head(channels: int, labels: Any = None) -> HeadDescription:
        return HeadDescription(channels, (width,), (4,), labels)

    heads = {"pose": head(len(points), label_entry(points)), "segmentation": head(len(parts), label_entry(parts)),
             "normals": head(3)}  # fmt: skip
    return ModelDescription("some", SapiensConfig((32, 32), 8, 1, 2), heads, Preprocessing((32, 32)))


def test_channels_by_name() -> None:
    old, new = described(COCO_17, CLOTHES), described(HAT, CAPS)
    assert shared_channels(old, new, "pose").tolist() == [-1, COCO_17.index("right_ear"), COCO_17.index("left_ear"), 0]
    assert shared_channels(old, new, "segmentation").tolist() == [0, -1, 1]
    assert shared_channels(old, new, "normals").tolist() == [0, 1, 2]
    strange = replace(HAT, name="strange", names=("a", "b", "c", "d"))
    assert shared_channels(old, described(strange, CAPS), "pose").tolist() == [-1] * 4
    with pytest.raises(CheckpointError, match="other deconv_channels"):
        shared_channels(old, described(HAT, CAPS, width=8), "pose")
    without = replace(old, heads={"normals": old.heads["normals"]})
    with pytest.raises(CheckpointError, match="has no pose head to start from; it has normals"):
        shared_channels(without, new, "pose")


def test_the_new_head_answers_as_the_old_one_where_names_agree() -> None:
    old, new = described(COCO_17, CLOTHES), described(HAT, CAPS)
    trained: Any = build_model(old).heads["pose"]
    fresh: Any = build_model(new).heads["pose"]
    before = fresh.output.weight[0].clone()
    start_head(fresh, trained, shared_channels(old, new, "pose"), len(COCO_17))
    features = torch.randn(1, 8, 2, 2)
    channels = np.array([COCO_17.index("right_ear"), COCO_17.index("left_ear"), 0])
    torch.testing.assert_close(fresh(features)[:, 1:], trained(features)[:, channels])
    torch.testing.assert_close(fresh.output.weight[0], before)


def test_a_placed_head_starts_from_one_that_is_not_and_the_other_way_round() -> None:
    plain = described(COCO_17, CLOTHES)
    placed = replace(plain, heads={**plain.heads, "normals": replace(plain.heads["normals"], kind="turned")})

    def start(old: ModelDescription, new: ModelDescription) -> tuple[list[float], list[float]]:
        """Biases of the trained output, all 5, and of the one that starts from it."""
        trained: Any = build_model(old).heads["normals"]
        fresh: Any = build_model(new).heads["normals"]
        torch.nn.init.constant_(trained.output.bias, 5.0)
        start_head(fresh, trained, shared_channels(old, new, "normals"), 3)
        return trained.output.bias.tolist(), fresh.output.bias.tolist()

    assert start(plain, placed) == ([5, 5, 5], [5, 5, 5, 1])
    assert start(placed, placed) == ([5, 5, 5, 5], [5, 5, 5, 5])
    assert start(placed, plain) == ([5, 5, 5, 5], [5, 5, 5])
    more = replace(plain, heads={**plain.heads, "normals": replace(plain.heads["normals"], out_channels=4)})
    with pytest.raises(CheckpointError, match="other out_channels"):
        shared_channels(plain, more, "normals")


def test_a_description_carries_labels_of_its_own() -> None:
    description = described(HAT, CAPS)
    back = ModelDescription.from_json(description.to_json())
    assert back == description
    points, parts = back.heads["pose"].label_set, back.heads["segmentation"].label_set
    assert points is not None and points.names == HAT.names
    assert points.flip_indices.tolist() == HAT.flip_indices.tolist()
    assert parts is not None and parts.names == CAPS.names
    assert described(COCO_17, CAPS).heads["pose"].labels == "coco_17"
    content = description.to_json()
    content["heads"]["pose"]["labels"]["keypoints"][0]["sigma"] = "-1"
    with pytest.raises(CheckpointError, match="sigma"):
        ModelDescription.from_json(content)
