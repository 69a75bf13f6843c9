import numpy as np
import pytest
import torch
from PIL import Image

from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_description import ModelDescription
from opensapiens.checkpoints.model_folder import build_model
from opensapiens.geometry.view import Interpolation, Preprocessing, Resize
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.pipeline import People, PipelineError

from .conftest import paint

IMAGE = paint([(70, 20, 130, 100)])


def backbone(resize: Resize, class_token: bool, interpolation: Interpolation = "linear") -> LoadedModel:
    torch.manual_seed(0)
    preprocessing = Preprocessing((64, 48), resize=resize, interpolation=interpolation)
    description = ModelDescription("bare", SapiensConfig((64, 48), 8, 1, 2, class_token=class_token), {}, preprocessing)
    return LoadedModel(build_model(description).eval(), description)


def test_features_of_a_whole_image() -> None:
    loaded = backbone("squash", class_token=True)
    features = People([loaded]).encode(IMAGE)
    assert features.tokens.shape == (1, 12, 8) and features.grid == (4, 3) and features.class_token.shape == (1, 8)
    assert features.map.shape == (1, 8, 4, 3) and (features.map[0, :, 1, 2] == features.tokens[0, 1 * 3 + 2]).all()
    assert np.allclose(features.pooled[0], features.map[0].mean(axis=(1, 2)), atol=1e-6)
    assert np.abs(features.class_token - features.tokens[:, 0]).max() > 1e-3


def test_features_of_people_are_those_of_their_crops() -> None:
    people = People([backbone("person_crop", class_token=False)], batch_size=1)
    boxes = np.array([[70, 20, 130, 100], [10, 10, 40, 60]])
    both, second = people.encode(IMAGE, boxes), people.encode(IMAGE, boxes[1:])
    assert both.tokens.shape == (2, 12, 8) and both.class_token is None
    assert np.allclose(both.tokens[1], second.tokens[0], atol=1e-6)
    assert people.encode([IMAGE], boxes=[np.empty((0, 4))])[0].pooled.shape == (0, 8)


def test_the_bicubic_resize_of_the_published_extractor() -> None:
    linear, bicubic = (
        People([backbone("squash", True, interpolation)]).encode(IMAGE) for interpolation in ("linear", "bicubic")
    )
    expected = np.asarray(Image.fromarray(IMAGE).resize((48, 64), Image.Resampling.BICUBIC))
    resized = People([backbone("squash", class_token=True)]).encode(expected)
    assert np.abs(bicubic.pooled - resized.pooled).max() < 1e-6
    assert np.abs(bicubic.pooled - linear.pooled).max() > 1e-4


def test_without_heads_there_is_nothing_to_predict() -> None:
    with pytest.raises(PipelineError, match="features"):
        People([backbone("squash", class_token=True)])(IMAGE)
