from pathlib import Path

import numpy as np
import pytest
import torch

import opensapiens
from opensapiens.backbones.sapiens import SapiensConfig
from opensapiens.checkpoints.model_description import HeadDescription, ModelDescription
from opensapiens.checkpoints.model_folder import build_model, save_model
from opensapiens.checkpoints.strict_loading import CheckpointError
from opensapiens.geometry.view import Preprocessing
from opensapiens.inference.detection import WholeImage
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.loading import LoadError
from opensapiens.inference.pipeline import People
from opensapiens.tasks.depth import DepthTask


def test_a_model_folder_is_loaded_and_predicts(tiny_model: Path) -> None:
    people = opensapiens.load(tiny_model, device="cpu")
    result = people(np.zeros((90, 70, 3), np.uint8), boxes=[[10, 10, 60, 80]])
    (person,) = result.persons
    assert person.keypoints.shape == (308, 2) and person.scores.shape == (308,) and len(person.names) == 308
    assert result.parts.labels.shape == result.depth.values.shape == (90, 70)
    assert result.normals.values.shape == (90, 70, 3)


def test_dtype_and_lists(tiny_model: Path) -> None:
    people = opensapiens.load([tiny_model, str(tiny_model)], dtype=torch.bfloat16)
    assert len(people.models) == 2 and next(people.models[0].network.parameters()).dtype == torch.bfloat16
    assert {id(loaded) for loaded in people.model_of_task.values()} == {id(people.models[0])}, (
        "the first that can does it"
    )
    assert people(np.zeros((50, 50, 3), np.uint8), boxes=[[0, 0, 50, 50]]).depth.values.dtype == np.float32


def test_the_package_has_no_other_names() -> None:
    assert set(dir(opensapiens)) == {
        "PredictOptions", "VideoOptions", "__version__", "list_models", "load", "predict_files", "predict_video",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        opensapiens.lod  # noqa: B018


def test_what_cannot_be_had_is_one_sentence(tiny_model: Path) -> None:
    with pytest.raises(LoadError, match="no device cuda:99"):
        opensapiens.load(tiny_model, device="cuda:99")
    with pytest.raises(LoadError, match="no device 'gpu'"):
        opensapiens.load(tiny_model, device="gpu")
    with pytest.raises(LoadError, match="no dtype 'int8'"):
        opensapiens.load(tiny_model, dtype="int8")
    with pytest.raises(LoadError, match="multiples of 16"):
        opensapiens.load(tiny_model, input_size=(100, 64))
    with pytest.raises(LoadError, match="without a pose head"):
        opensapiens.load(tiny_model, resize="letterbox")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_the_bits_say_nearly_the_same(tiny_model: Path, dtype: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    full, half = (
        opensapiens.load(tiny_model, device="cpu", dtype=one)(image, boxes=[[5, 5, 60, 80]]) for one in (None, dtype)
    )
    assert np.abs(half.persons[0].scores - full.persons[0].scores).max() < 0.02
    difference = np.abs(half.depth.values - full.depth.values)  # NaN where one of the two sees nobody
    assert np.isfinite(difference).any() and 0 < np.nanmedian(difference) < 0.02


def test_another_input_size_resizes_the_positions(tiny_model: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    sizes: list[tuple[int, ...]] = []
    people = opensapiens.load(tiny_model, device="cpu", input_size=(128, 80))
    people.models[0].network.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape)))
    result = people(image, boxes=[[5, 5, 60, 80]], flip=False)
    assert sizes == [(1, 3, 128, 80)] and result.persons[0].keypoints.shape == (308, 2)
    assert people.encode(image, boxes=[[5, 5, 60, 80]]).grid == (8, 5)


def test_models_too_large_together_are_read_in_turn(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = opensapiens.load([tiny_model, tiny_model], device="cpu")
    assert all(loaded.network is not None for loaded in kept.models)
    monkeypatch.setattr("opensapiens.inference.loading.free_memory", lambda device: 100_000)
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    in_turn = opensapiens.load([tiny_model, tiny_model], device="cpu")
    assert all(loaded.network is None for loaded in in_turn.models)
    one, other = (people(image, boxes=[[5, 5, 60, 80]]) for people in (kept, in_turn))
    assert (one.persons[0].keypoints == other.persons[0].keypoints).all()
    assert all(loaded.network is None for loaded in in_turn.models), "dropped again"


class DepthOfHair(DepthTask):
    """A task of one's own."""

    name = "hair"
    title = "depth of hair"


@pytest.fixture
def hair_model(tmp_path: Path) -> Path:
    """A folder with a head that no task of ours is for."""
    description = ModelDescription(
        "bald", SapiensConfig((64, 48), 8, 1, 1), {"hair": HeadDescription(1, (4,), (4,))}, Preprocessing((64, 48))
    )
    save_model(tmp_path, build_model(description), description)
    return tmp_path


def test_a_head_without_a_known_task_is_named(hair_model: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match="'bald': no task is known for the head hair; there are pose, segmentation, depth, normals",
    ):
        opensapiens.load(hair_model, device="cpu")


def test_a_task_of_ones_own_is_predicted(hair_model: Path, tmp_path: Path) -> None:
    people = opensapiens.load(hair_model, device="cpu", tasks={"hair": DepthOfHair}, detector=WholeImage())
    result = people(np.zeros((50, 40, 3), np.uint8))
    assert result.tasks() == ["hair"] and result.titles == {"hair": "depth of hair"}
    assert np.isfinite(result.maps["hair"].values).all() and result.depth is None
    assert (tmp_path / "out" / "image_hair.jpg") in result.save(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "head", "sentence"),
    [
        ("pose", HeadDescription(28, (4,), (4,), "sapiens_28"), "a pose head needs a keypoint set"),
        ("segmentation", HeadDescription(28, (4,), (4,)), "a segmentation head needs a part set"),
        ("depth", HeadDescription(3, (4,), (4,)), "a depth head has one output channel"),
    ],
)
def test_a_head_that_does_not_fit_its_task_is_named(name: str, head: HeadDescription, sentence: str) -> None:
    description = ModelDescription("odd", SapiensConfig((64, 48), 8, 1, 1), {name: head}, Preprocessing((64, 48)))
    with pytest.raises(CheckpointError, match=f"'odd': {sentence}"):
        People([LoadedModel(None, description)])
