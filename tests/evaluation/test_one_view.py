"""A network is shown the same of a person in training's validation, in evaluation and in inference."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.data.batch import stack_images
from opensapiens.data.shards import ShardDataset
from opensapiens.evaluation.dense import evaluate_dense
from opensapiens.evaluation.frozen import _crops
from opensapiens.evaluation.people import read_shard_images
from opensapiens.geometry.view import Preprocessing, Resize
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.pipeline import People
from opensapiens.training.loader import plain_crop

SIZE = (64, 48)


@pytest.mark.parametrize("resize", ["person_crop", "squash", "letterbox"])
def test_all_show_the_network_the_same(resize: Resize, people_shards: Path) -> None:
    preprocessing, heads = (
        Preprocessing(SIZE, resize=resize, box_padding=1.1),
        {"depth": HeadDescription(1, (4,), (4,))},
    )
    description = ModelDescription("seeing", SapiensConfig(SIZE, 8, 1, 1), heads, preprocessing)
    loaded, sample = LoadedModel(build_model(description).eval(), description), ShardDataset(people_shards)[0]
    shown: list[Tensor] = []
    first = next(module for module in loaded.network.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    run: Any = SimpleNamespace(model=description)
    crop = plain_crop(run, sample, SIZE)
    expected = preprocessing.normalize(stack_images([crop.image]))

    people = People([loaded])
    people(sample.image, boxes=[sample.box])
    evaluate_dense(people, read_shard_images(people_shards, limit=1), "depth")
    if resize == "person_crop":
        of_probe = next(iter(_crops(loaded, people_shards, 1)))[0]
        np.testing.assert_array_equal(of_probe.image, crop.image)
        np.testing.assert_array_equal(of_probe.parts, crop.parts)
    assert len(shown) == 2 + (resize == "person_crop")
    assert all(torch.equal(images[:1], expected) for images in shown)
