"""A head for new labels takes over what has the same name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from opensapiens.checkpoints.head_transfer import shared_channels, start_head
from opensapiens.checkpoints.model_description import ModelDescription, label_entry, standard_preprocessing
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.labels.keypoints import COCO_17, KeypointSet
from opensapiens.labels.own_labels import keypoint_set_of_category, part_set_of_categories
from opensapiens.labels.parts import PartSet
from opensapiens.models.vit import ViTConfig

HAT = keypoint_set_of_category("hat", {"keypoints": ["tip", "right_ear", "left_ear", "nose"]})
CLOTHES = part_set_of_categories("clothes", [{"id": 1, "name": "hat"}, {"id": 2, "name": "coat"}])
CAPS = part_set_of_categories("caps", [{"id": 1, "name": "cap"}, {"id": 2, "name": "Hat"}])


def described(points: KeypointSet, parts: PartSet, width: int = 6) -> ModelDescription:
    def head(channels: int, labels: Any = None) -> Any:
        return {"out_channels": channels, "deconv_channels": [width], "conv_channels": [4], "labels": labels}

    heads = {"pose": head(len(points), label_entry(points)), "segmentation": head(len(parts), label_entry(parts)),
             "normals": head(3)}  # fmt: skip
    return ModelDescription("some", ViTConfig((32, 32), 8, 1, 2), heads, standard_preprocessing((32, 32)))


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
    start_head(fresh, trained, shared_channels(old, new, "pose"))
    features = torch.randn(1, 8, 2, 2)
    channels = np.array([COCO_17.index("right_ear"), COCO_17.index("left_ear"), 0])
    torch.testing.assert_close(fresh(features)[:, 1:], trained(features)[:, channels])
    torch.testing.assert_close(fresh.output.weight[0], before)


def test_a_located_head_starts_from_one_that_is_not_and_the_other_way_round() -> None:
    plain = described(COCO_17, CLOTHES)
    located = replace(plain, heads={**plain.heads, "normals": {**plain.heads["normals"], "located": True}})
    assert shared_channels(plain, located, "normals").tolist() == [0, 1, 2, -1]
    assert shared_channels(located, located, "normals").tolist() == [0, 1, 2, 3]
    assert shared_channels(located, plain, "normals").tolist() == [0, 1, 2]
    head: Any = build_model(located).heads["normals"]
    assert head.output.bias.shape == (4,) and head.output.bias[3] == 1
    with pytest.raises(CheckpointError, match="located cannot be True"):
        replace(plain, heads={**plain.heads, "pose": {**plain.heads["pose"], "located": True}})


def test_a_description_carries_labels_of_its_own() -> None:
    description = described(HAT, CAPS)
    back = ModelDescription.from_json(description.to_json())
    assert back == description
    assert back.keypoint_set is not None and back.keypoint_set.names == HAT.names
    assert back.keypoint_set.flip_indices.tolist() == HAT.flip_indices.tolist()
    assert back.part_set is not None and back.part_set.names == CAPS.names
    assert described(COCO_17, CAPS).heads["pose"]["labels"] == "coco_17"
    content = description.to_json()
    content["heads"]["pose"]["labels"]["keypoints"][0]["sigma"] = "-1"
    with pytest.raises(CheckpointError, match="sigma"):
        ModelDescription.from_json(content)
